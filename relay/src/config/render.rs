//! The commented default file, made from the schema.

use std::fmt::Write;

use super::Config;
use super::schema::{SECTIONS, Section};

const HEAD: &str = "\
# Configuration of hushwired, the Hushwire relay.
#
# Every key is here with its default, commented out; remove the # to change one. What stands behind
# `example:` has no default. `hushwired check FILE` prints every problem with its line.
";

/// The default file, with every key.
#[must_use]
pub fn default_file() -> String {
    let mut out = String::from(HEAD);
    let config = Config::default();
    for section in SECTIONS {
        // Writing to a String cannot fail.
        let _ = write_section(&mut out, section, &config);
    }
    out
}

fn write_section(out: &mut String, section: &Section, config: &Config) -> std::fmt::Result {
    writeln!(out)?;
    for line in section.doc {
        writeln!(out, "#{line}")?;
    }
    writeln!(out, "[{}]", section.name)?;
    for key in section.keys {
        writeln!(out)?;
        for line in key.doc {
            writeln!(out, "#{line}")?;
        }
        if let Some((low, high)) = (key.range)() {
            writeln!(out, "# From {low} to {high}.")?;
        }
        match ((key.show)(config), key.example) {
            (Some(value), _) => writeln!(out, "#{} = {value}", key.name)?,
            (None, Some(example)) => writeln!(out, "# example: {} = {example}", key.name)?,
            (None, None) => writeln!(out, "# example: {} = ", key.name)?,
        }
    }
    Ok(())
}
