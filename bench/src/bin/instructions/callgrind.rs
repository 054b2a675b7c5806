//! Counting under valgrind.

use std::process::Command;
use std::thread;

use anyhow::{Context as _, Result, ensure};

use crate::path::{CELLS_MAX, Path};

/// Cells that are counted.
const CELLS: u32 = CELLS_MAX / 2;

/// Instructions of `path` for one cell: a run of twice as many cells, less a run of as many. What both have in common,
/// which is their start, set-up and end, falls out.
pub(crate) fn instructions_a_cell(path: Path) -> Result<u64> {
    let (once, twice) = thread::scope(|scope| {
        let once = scope.spawn(|| instructions(path, CELLS));
        let twice = instructions(path, 2 * CELLS);
        (once.join().expect("the thread does not panic"), twice)
    });
    let (once, twice) = (once?, twice?);
    let cells = twice.checked_sub(once).context("the longer run took fewer instructions")?;
    Ok((cells + u64::from(CELLS) / 2) / u64::from(CELLS))
}

/// Instructions of a whole process. Its environment is empty, for that lies on the stack and moves what is above it.
fn instructions(path: Path, cells: u32) -> Result<u64> {
    let program = std::env::current_exe().context("this program does not know where it is")?;
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(program)
        .args(["run", &path.name(), &format!("{cells:08}")])
        .env_clear()
        .output()
        .context("valgrind does not start: if it is missing, .ci/packages installs it")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "`{}` fails under valgrind:\n{said}", path.name());
    collected(&said).with_context(|| format!("valgrind did not say what it counted:\n{said}"))
}

/// The number in `==1234== Collected : 5678`.
fn collected(said: &str) -> Option<u64> {
    let (_, count) = said.lines().find_map(|line| line.split_once(" Collected : "))?;
    count.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_count_is_read_from_what_valgrind_says() {
        let check = |said, expect| assert_eq!(collected(said), expect, "{said}");
        check("==7== Events    : Ir\n==7== Collected : 65172\n==7== \n", Some(65_172));
        check("==7== Collected : many\n", None);
        check("", None);
    }
}
