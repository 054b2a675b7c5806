//! The command line and the configuration, as a person meets them.

use crate::support::{Home, run};

#[test]
fn help_and_version_teach_and_succeed() {
    let check = |arguments: &[&str], words: &str| {
        let ended = run(arguments);
        assert_eq!(ended.code, Some(0), "{ended:?}");
        assert!(ended.out.contains(words), "{words:?} is not in {}", ended.out);
        assert_eq!(ended.error, "");
    };
    check(&["--help"], "hushwired default-config > hushwired.toml");
    check(&["--help"], "Exit codes");
    check(&["check", "--help"], "every problem");
    check(&["--version"], env!("CARGO_PKG_VERSION"));
}

#[test]
fn wrong_usage_has_its_own_exit_code() {
    let check = |arguments: &[&str], words: &str| {
        let ended = run(arguments);
        assert_eq!(ended.code, Some(64), "{ended:?}");
        assert!(ended.error.contains(words), "{}", ended.error);
        assert_eq!(ended.out, "");
    };
    check(&["fly"], "fly");
    check(&["--confg", "x"], "--config");
    check(&["--config"], "PATH");
}

#[test]
fn the_default_configuration_is_a_good_one() {
    let home = Home::new();
    let printed = run(&["default-config"]);
    assert_eq!(printed.code, Some(0), "{printed:?}");
    let path = home.write(&printed.out);
    let path = path.to_str().unwrap();
    for arguments in [&["check", path][..], &["check", "--config", path], &["-c", path, "check"]] {
        let ended = run(arguments);
        assert_eq!(ended.code, Some(0), "{ended:?}");
        assert!(ended.out.starts_with("configuration ok\n"), "{}", ended.out);
        assert!(ended.out.contains("total, relay"), "the memory bill: {}", ended.out);
    }
}

#[test]
fn every_problem_of_a_configuration_is_shown_with_its_line() {
    let home = Home::new();
    let text = "[listen]\nadress = \"0.0.0.0:1\"\n\n[limits]\nidle_ms = \"long\"\n[logs]\n";
    let path = home.write(text);
    let path = path.to_str().unwrap();
    // To check it and to run it are the same.
    for arguments in [&["check", path][..], &["--config", path], &["--config", path, "run"]] {
        let ended = run(arguments);
        assert_eq!(ended.code, Some(78), "{ended:?}");
        let lines: Vec<&str> = ended.error.lines().collect();
        assert_eq!(lines.len(), 3, "{}", ended.error);
        assert!(lines[0].contains(&format!("{path}:2:1: ")) && lines[0].contains("address"));
        assert!(lines[1].contains(&format!("{path}:5:")) && lines[1].contains("number"));
        assert!(lines[2].contains(&format!("{path}:6:")) && lines[2].contains("log"));
    }
}

#[test]
fn a_configuration_that_cannot_be_read_says_so() {
    let home = Home::new();
    let check = |path: &str, code| {
        let ended = run(&["--config", path]);
        ended.expect(code, "cannot be read");
        assert!(ended.error.contains(path), "{}", ended.error);
    };
    check(home.path("missing.toml").to_str().unwrap(), 78);
    check(home.path("").to_str().unwrap(), 78);
    let path = home.path("latin1.toml");
    std::fs::write(&path, b"# caf\xe9\n").unwrap();
    check(path.to_str().unwrap(), 78);
}
