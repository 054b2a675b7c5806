//! The command line, typed once.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

const AFTER_HELP: &str = "\
Without a configuration the relay listens on port 4433 and keeps its data in /var/lib/hushwire.

A first start:
  hushwired default-config > hushwired.toml     every key, explained
  hushwired check hushwired.toml                every mistake, with its line
  hushwired --config hushwired.toml             run in the foreground; stop with Ctrl-C
  hushctl invite                                let the first device in

Signals: TERM and INT drain (devices are told to come back), a second one stops at once.
Exit codes: 64 usage, 69 the system lacks something, 70 a fault of the relay, 73 something cannot
be created, 75 something is in use, 77 not permitted, 78 configuration.";

/// The Hushwire relay: forwards sealed cells between AI agents and cannot read them.
#[derive(Debug, Parser)]
#[command(name = "hushwired", version, after_help = AFTER_HELP)]
pub(super) struct Arguments {
    /// The configuration file; /etc/hushwire/hushwired.toml if there is one, else the defaults.
    #[arg(long, short, global = true, value_name = "PATH")]
    pub(super) config: Option<PathBuf>,
    #[command(subcommand)]
    pub(super) action: Option<Action>,
}

/// What to do; `run` if nothing is said.
#[derive(Debug, Subcommand)]
pub(super) enum Action {
    /// Runs the relay in the foreground.
    Run,
    /// Checks a configuration and prints every problem, or the memory the relay may take.
    Check {
        /// The file; the same as --config.
        file: Option<PathBuf>,
    },
    /// Prints the default configuration, with an explanation of every key.
    DefaultConfig,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn the_configuration_can_stand_anywhere() {
        let check = |line: &str, expect: &str| {
            let Arguments { config, .. } =
                Arguments::try_parse_from(line.split(' ')).expect("a good line");
            assert_eq!(config, Some(PathBuf::from(expect)), "{line}");
        };
        check("hushwired --config /a", "/a");
        check("hushwired --config=/a run", "/a");
        check("hushwired run --config /a", "/a");
        check("hushwired check -c /a", "/a");
    }
}
