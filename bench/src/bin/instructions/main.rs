//! Guards the hot paths by counting their instructions, which unlike their time does not depend on what else the
//! machine does.

mod baseline;
mod callgrind;
mod path;

use std::fmt::Write as _;
use std::path::Path as FilePath;
use std::process::ExitCode;

use anyhow::{Result, bail, ensure};
use clap::{Parser, Subcommand};

use baseline::{Baseline, Change};
use path::Path;

// The allocator of `hushwired`.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Where the counts stand that were found good.
const BASELINE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/instructions.toml");

/// Counts the instructions that one cell costs on each hot path, under valgrind, and compares them with those in
/// bench/instructions.toml.
///
/// Exits with 1 if one has grown by more than the tolerance in that file. Takes about a minute.
#[derive(Debug, Parser)]
#[command(name = "hush-instructions", version)]
struct Cli {
    /// Write what was counted to bench/instructions.toml: for a change that is worth its instructions, or saves some.
    #[arg(long)]
    update: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs one path, to be counted by whoever started this, such as `valgrind --tool=callgrind`.
    Run {
        /// As the table names it.
        path: Path,
        /// Cells.
        cells: u32,
    },
}

fn main() -> ExitCode {
    let Cli { update, command } = Cli::parse();
    let outcome = match command {
        Some(Command::Run { path, cells }) => {
            path.run(cells);
            Ok(())
        }
        None => guard(FilePath::new(BASELINE), update),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("hush-instructions: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn guard(file: &FilePath, update: bool) -> Result<()> {
    ensure!(
        !cfg!(debug_assertions),
        "the baselines are those of the program that ships: build with --release"
    );
    if !has_avx2() {
        ensure!(!update, "the baselines are those of an x86-64 processor with AVX2: update there");
        println!("nothing was counted: the baselines are those of an x86-64 processor with AVX2");
        return Ok(());
    }
    let baseline = Baseline::read(file)?;
    let mut counted = Vec::with_capacity(Path::ALL.len());
    println!("{:<28} {:>12} {:>12} {:>9}", "path", "baseline", "counted", "change");
    let (mut grown, mut shrunk) = (0, 0);
    for path in Path::ALL {
        let count = callgrind::instructions_a_cell(path)?;
        counted.push((path, count));
        println!("{}", row(path, baseline.of(path), count));
        match baseline.judge(path, count) {
            Change::Grown | Change::New => grown += 1,
            Change::Shrunk => shrunk += 1,
            Change::Within => {}
        }
    }
    if update {
        baseline.write(file, &counted)?;
        println!("written to bench/instructions.toml");
        return Ok(());
    }
    let how = "cargo run --release --locked --bin hush-instructions -- --update";
    if shrunk > 0 {
        println!("{shrunk} of them cheaper by more than the tolerance: keep it with `{how}`");
    }
    if grown > 0 {
        bail!(
            "{grown} of the paths cost more than their baseline and {} % allow, or have none: make them \
             cheaper, or, if the change is worth it, write the new counts with `{how}` and say in the \
             commit what they buy",
            baseline.tolerance_percent()
        );
    }
    Ok(())
}

/// valgrind shows programs one and the same processor wherever this is true.
#[cfg(target_arch = "x86_64")]
fn has_avx2() -> bool {
    std::is_x86_feature_detected!("avx2")
}

#[cfg(not(target_arch = "x86_64"))]
fn has_avx2() -> bool {
    false
}

fn row(path: Path, before: Option<u64>, count: u64) -> String {
    let mut row = format!("{:<28} ", path.name());
    // Writing to a string does not fail.
    let _ = match before {
        Some(before) => {
            let change = (count as f64 / before as f64 - 1.0) * 100.0;
            write!(row, "{before:>12} {count:>12} {change:>+7.1} %")
        }
        None => write!(row, "{:>12} {count:>12} {:>9}", "-", "new"),
    };
    row
}
