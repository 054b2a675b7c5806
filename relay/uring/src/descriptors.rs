//! The limit of open descriptors: one for each connection and a few more.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Why the process cannot have the descriptors it needs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NofileError {
    /// The hard limit is lower than what the configuration needs.
    #[error(
        "{needed} open files are needed but RLIMIT_NOFILE allows at most {hard}: raise it \
         (LimitNOFILE={needed} in the systemd unit, or `ulimit -Hn {needed}`) or configure fewer \
         connections"
    )]
    HardLimit {
        /// Descriptors needed.
        needed: u64,
        /// Descriptors allowed.
        hard: u64,
    },
    /// The soft limit is too low and may not be changed.
    #[error(
        "RLIMIT_NOFILE cannot be raised from {soft} to the {needed} open files that are needed \
         ({cause}): allow setrlimit in the sandbox, or start with LimitNOFILE={needed}"
    )]
    Refused {
        /// Descriptors needed.
        needed: u64,
        /// The soft limit as it stays.
        soft: u64,
        /// What setrlimit(2) said.
        cause: String,
    },
}

/// Makes room for `needed` open descriptors: where the soft limit is lower, raises it to the hard
/// one. Returns the soft limit in force (`u64::MAX` if there is none). Call it once, at start: the
/// limit is the whole process's.
///
/// # Errors
///
/// [`NofileError`]; the limit is then what it was.
pub fn raise_nofile(needed: u64) -> Result<u64, NofileError> {
    let limit = getrlimit(Resource::Nofile);
    let soft = limit.current.unwrap_or(u64::MAX);
    let wanted = plan(needed, soft, limit.maximum.unwrap_or(u64::MAX))?;
    if wanted > soft {
        let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
        setrlimit(Resource::Nofile, raised).map_err(|errno| NofileError::Refused {
            needed,
            soft,
            cause: errno.to_string(),
        })?;
    }
    Ok(wanted)
}

/// The soft limit to have, given the two limits in force.
fn plan(needed: u64, soft: u64, hard: u64) -> Result<u64, NofileError> {
    if needed <= soft {
        Ok(soft)
    } else if needed <= hard {
        Ok(hard)
    } else {
        Err(NofileError::HardLimit { needed, hard })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_follows_the_need() {
        #[track_caller]
        fn check(needed: u64, soft: u64, hard: u64, expect: Result<u64, NofileError>) {
            assert_eq!(plan(needed, soft, hard), expect);
        }
        check(500, 1_024, 4_096, Ok(1_024));
        check(1_024, 1_024, 4_096, Ok(1_024));
        check(1_025, 1_024, 4_096, Ok(4_096));
        check(4_096, 1_024, 4_096, Ok(4_096));
        check(4_097, 1_024, 4_096, Err(NofileError::HardLimit { needed: 4_097, hard: 4_096 }));
        check(1 << 40, 1_024, u64::MAX, Ok(u64::MAX));
        check(1 << 40, u64::MAX, u64::MAX, Ok(u64::MAX));
    }

    #[test]
    fn the_error_names_cause_and_remedy() {
        #[track_caller]
        fn check(error: &NofileError, words: &[&str]) {
            let text = error.to_string();
            for word in words {
                assert!(text.contains(word), "{word:?} is not in {text:?}");
            }
        }
        check(
            &NofileError::HardLimit { needed: 25_000, hard: 20_000 },
            &["25000 open files", "at most 20000", "LimitNOFILE=25000", "fewer connections"],
        );
        check(
            &NofileError::Refused { needed: 2_000, soft: 1_024, cause: "EPERM".into() },
            &["from 1024 to the 2000", "EPERM", "LimitNOFILE=2000"],
        );
    }
}
