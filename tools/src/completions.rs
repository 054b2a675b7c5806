//! Scripts with which a shell completes the command line of `hush` and `hushctl`.

use clap::{Command, ValueEnum};
use clap_complete::generate;
use clap_complete::shells;

/// A shell that there is a script for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Shell {
    /// GNU Bash.
    Bash,
    /// Z shell.
    Zsh,
    /// fish.
    Fish,
}

/// The script that completes `command` in `shell`.
#[must_use]
pub fn script(shell: Shell, mut command: Command) -> Vec<u8> {
    let (name, mut text) = (command.get_name().to_owned(), Vec::new());
    match shell {
        Shell::Bash => generate(shells::Bash, &mut command, name, &mut text),
        Shell::Zsh => generate(shells::Zsh, &mut command, name, &mut text),
        Shell::Fish => generate(shells::Fish, &mut command, name, &mut text),
    }
    text
}
