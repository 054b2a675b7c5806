//! What the examples share.

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};

/// The program `hush` of the same profile: an example lies one directory below the programs.
pub(crate) fn hush_beside() -> Result<PathBuf> {
    let own = std::env::current_exe()?;
    let hush = own.parent().and_then(|examples| examples.parent()).context("a place")?.join("hush");
    if !hush.is_file() {
        bail!(
            "{} is not built yet: cargo build -p hushwire-tools with the same profile",
            hush.display()
        );
    }
    Ok(hush)
}
