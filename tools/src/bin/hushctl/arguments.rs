//! The command line, typed once.

use std::path::PathBuf;
use std::str::FromStr;

use clap::{Parser, Subcommand};
use hushwire_tools::completions::Shell;

const AFTER_HELP: &str = "\
Examples:
  sudo hushctl status                     how the relay is
  sudo hushctl invite                     an invite for the first device of a new account
  sudo hushctl invite --account ACCOUNT   one more device for an account that exists
  sudo hushctl devices --json | jq -r 'select(.revoked | not) | .device'

Exit codes: 0 done, 1 refused by the relay, 2 wrong usage, 69 no relay there,
76 something else answers, 77 not permitted.";

/// Administrates a running Hushwire relay through its admin socket.
#[derive(Debug, Parser)]
#[command(name = "hushctl", version, after_help = AFTER_HELP)]
pub(crate) struct Arguments {
    /// The admin socket of the relay (`[control]` admin_socket in its configuration).
    #[arg(long, global = true, value_name = "PATH", default_value = "/run/hushwire/admin.sock")]
    pub(crate) socket: PathBuf,
    /// Prints JSON: one object, or for `devices` one object a line. Errors too, on stderr.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[command(subcommand)]
    pub(crate) action: Action,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Action {
    /// Shows how the relay is: addresses, pin, memory, what it forwarded.
    Status,
    /// Makes an invite for one device. It works once and is a secret: hand it over in private.
    Invite {
        /// The account the device joins; a new one if not given.
        #[arg(long)]
        account: Option<String>,
        /// How long the invite lives: a number with s, m, h or d.
        #[arg(long, value_name = "TIME", default_value = "24h")]
        ttl: Ttl,
    },
    /// Lists all devices, revoked ones included: all that the relay knows about them.
    Devices,
    /// Shuts a device out for good and ends its connection.
    Revoke {
        /// Its ID, 52 characters, as `hushctl devices` and `hush id` show it.
        device: String,
    },
    /// Stops the relay gently: devices are told to come back a little later.
    Drain,
    /// Prints a script that completes these commands in a shell.
    Completions {
        /// Which.
        shell: Shell,
    },
}

/// A time in seconds, written like `90s`, `30m`, `24h` or `7d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ttl(pub(crate) u32);

impl FromStr for Ttl {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const HELP: &str = "a time is a whole number with s, m, h or d, such as 24h";
        let unit = text.chars().next_back().ok_or(HELP)?;
        let seconds = match unit {
            's' => 1,
            'm' => 60,
            'h' => 60 * 60,
            'd' => 24 * 60 * 60,
            _ => return Err(HELP),
        };
        let number = text.strip_suffix(unit).ok_or(HELP)?;
        if !number.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(HELP);
        }
        let number: u32 = number.parse().map_err(|_| HELP)?;
        number.checked_mul(seconds).map(Self).ok_or("that is too long a time")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn times() {
        let check = |text: &str, expect| {
            assert_eq!(text.parse().ok().map(|Ttl(seconds)| seconds), expect, "{text}");
        };
        check("90s", Some(90));
        check("30m", Some(1_800));
        check("24h", Some(86_400));
        check("7d", Some(604_800));
        check("0h", Some(0));
        check("", None);
        check("h", None);
        check("24", None);
        check("-1h", None);
        check("+1h", None);
        check("1.5h", None);
        check("1w", None);
        check("1 h", None);
        check("7ä", None);
        check("99999999d", None);
    }

    #[test]
    fn the_command_line_is_sound() {
        Arguments::command().debug_assert();
    }
}
