//! Scripts for shells, by the real shell.

use std::process::Command;

use crate::support;

/// What bash offers behind `words`, once the script of `program` was read by it.
fn offered(program: &str, words: &str) -> Vec<String> {
    let name = std::path::Path::new(program).file_name().and_then(|name| name.to_str());
    let name = name.expect("a name");
    // The function is found as bash itself finds it: by what `complete` has registered.
    let ask = format!(
        "set -eu; source <({program} completions bash); \
         COMP_WORDS=({name} {words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); \
         function_of=$(complete -p {name} | sed 's/.*-F \\([^ ]*\\).*/\\1/'); \
         set +eu; $function_of {name} \"${{COMP_WORDS[COMP_CWORD]}}\" \"${{COMP_WORDS[COMP_CWORD-1]}}\"; \
         printf '%s\\n' \"${{COMPREPLY[@]}}\""
    );
    let ended = Command::new("bash").args(["-c", &ask]).output().expect("there is a bash");
    assert!(ended.status.success() && ended.stderr.is_empty(), "{ended:?}");
    String::from_utf8_lossy(&ended.stdout).lines().map(str::to_owned).collect()
}

#[test]
fn bash_completes_commands_and_options() {
    let (hush, hushctl) = (env!("CARGO_BIN_EXE_hush"), env!("CARGO_BIN_EXE_hushctl"));
    let check = |program, words, expect: &[&str]| {
        assert_eq!(offered(program, words), expect, "{words}");
    };
    check(hush, "tr", &["trace"]);
    check(hush, "pa", &["pair", "passphrase"]);
    check(hush, "status --off", &["--offline"]);
    check(hush, "chat --exp", &["--expires-in"]);
    check(hush, "completions zs", &["zsh"]);
    check(hushctl, "inv", &["invite"]);
    check(hushctl, "dr", &["drain"]);
}

#[test]
fn every_script_names_every_command() {
    for shell in ["bash", "zsh", "fish"] {
        let ended = Command::new(support::hush()).args(["completions", shell]).output();
        let script = String::from_utf8(ended.expect("it runs").stdout).expect("text");
        for command in ["init", "pair", "send", "trace", "status", "completions"] {
            assert!(script.contains(command), "{shell}, {command}");
        }
    }
    let ended = Command::new(support::hush()).args(["completions", "cmd.exe"]).output();
    assert_eq!(ended.expect("it runs").status.code(), Some(2));
}
