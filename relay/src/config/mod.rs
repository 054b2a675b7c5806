//! The configuration: one TOML file, every problem of which is found at once.
//!
//! [`check`] walks the document against the table of keys in `schema`, so that a file with five
//! mistakes yields five [`Problem`]s, each with its line; what it returns is typed and within range,
//! and nothing behind it needs to look again. Reading no files, it can check one from anywhere.

mod problem;
mod render;
mod schema;
mod setting;

use std::collections::BTreeMap;
use std::path::Path;

use toml::de::{DeTable, DeValue};

use self::problem::{Span, nearest, not_one_of, position};
use self::schema::{SECTIONS, Section};

pub use self::problem::Problem;
pub use self::render::default_file;
pub use self::schema::{Control, LimitSettings, Listen, Log, Relay, StoreSettings, Tls};
pub use self::setting::{HostPort, LogFormat, LogLevel, LoopbackAddr, Region, SocketPath};

/// Longest file that is read, in bytes.
pub const FILE_BYTES_MAX: usize = 1024 * 1024;
/// Problems that are reported at most.
pub const PROBLEMS_MAX: usize = 100;

/// A whole configuration, valid by construction when it comes from [`check`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// Where devices connect.
    pub listen: Listen,
    /// The relay itself.
    pub relay: Relay,
    /// The identity shown to devices.
    pub tls: Tls,
    /// Accounts, devices, grants and invites.
    pub store: StoreSettings,
    /// Numbers of queues, pools and rates.
    pub limits: LimitSettings,
    /// For operators.
    pub control: Control,
    /// Logs.
    pub log: Log,
}

/// Turns the text of a configuration file into a [`Config`]. Keys that are missing have their
/// defaults. `path` is only shown.
///
/// # Errors
/// Every problem of the file, in the order of lines, up to [`PROBLEMS_MAX`].
pub fn check(text: &str, path: &Path) -> Result<Config, Vec<Problem>> {
    let mut checker = Checker { text, path, problems: Vec::new(), set: BTreeMap::new() };
    if text.len() > FILE_BYTES_MAX {
        let sentence = format!("the file is longer than {FILE_BYTES_MAX} bytes");
        checker.report(0..0, sentence);
        return Err(checker.problems);
    }
    let (document, errors) = DeTable::parse_recoverable(text);
    for error in errors {
        checker.report(error.span().unwrap_or(0..0), error.message().replace('\n', ", "));
    }
    // What stands on a line that could not be parsed, or on the next, was guessed by the parser.
    let torn: Vec<usize> = checker.problems.iter().map(|problem| problem.line).collect();
    let syntax = std::mem::take(&mut checker.problems);
    let mut config = Config::default();
    checker.document(document.get_ref(), &mut config);
    if checker.problems.is_empty() && syntax.is_empty() {
        checker.contradictions(&config);
    }
    let mut problems = syntax;
    problems.extend(
        checker
            .problems
            .into_iter()
            .filter(|p| !torn.iter().any(|&line| p.line == line || p.line == line + 1)),
    );
    problems.sort_by_key(|problem| (problem.line, problem.column));
    problems.truncate(PROBLEMS_MAX);
    if problems.is_empty() { Ok(config) } else { Err(problems) }
}

struct Checker<'a> {
    text: &'a str,
    path: &'a Path,
    problems: Vec<Problem>,
    /// Where each key that is set stands.
    set: BTreeMap<(&'static str, &'static str), Span>,
}

impl Checker<'_> {
    fn report(&mut self, span: Span, sentence: impl Into<String>) {
        let (line, column) = position(self.text, span.start);
        let path = self.path.to_owned();
        self.problems.push(Problem { path, line, column, sentence: sentence.into() });
    }

    fn document(&mut self, document: &DeTable<'_>, config: &mut Config) {
        for (name, value) in document {
            let section = SECTIONS.iter().find(|section| section.name == name.get_ref().as_ref());
            match (section, value.get_ref()) {
                (Some(section), DeValue::Table(table)) => self.section(section, table, config),
                (Some(section), _) => {
                    let name = section.name;
                    self.report(value.span(), format!("`{name}` is a section: write [{name}]"));
                }
                (None, DeValue::Table(_)) => {
                    let known: Vec<&str> = SECTIONS.iter().map(|section| section.name).collect();
                    let sentence = format!("section {}", not_one_of(name.get_ref(), &known));
                    self.report(name.span(), sentence);
                }
                (None, _) => {
                    let sentence = elsewhere(name.get_ref()).unwrap_or_else(|| {
                        format!("{:?} stands outside of any section", name.get_ref())
                    });
                    self.report(name.span(), sentence);
                }
            }
        }
    }

    fn section(&mut self, section: &'static Section, table: &DeTable<'_>, config: &mut Config) {
        for (name, value) in table {
            let Some(key) = section.keys.iter().find(|key| key.name == name.get_ref().as_ref())
            else {
                let known: Vec<&str> = section.keys.iter().map(|key| key.name).collect();
                let sentence = match nearest(name.get_ref(), &known) {
                    Some(_) => None,
                    None => elsewhere(name.get_ref()),
                };
                let sentence = sentence.unwrap_or_else(|| {
                    format!("key {} of [{}]", not_one_of(name.get_ref(), &known), section.name)
                });
                self.report(name.span(), sentence);
                continue;
            };
            self.set.insert((section.name, key.name), name.span());
            if let Err(sentence) = (key.set)(config, value.get_ref()) {
                self.report(value.span(), format!("{}: {sentence}", key.name));
            }
        }
    }

    /// Values that are fine alone and not together.
    fn contradictions(&mut self, config: &Config) {
        let Config { listen, tls, store, limits, control, .. } = config;
        let at = |keys: &[(&'static str, &'static str)]| {
            keys.iter().filter_map(|key| self.set.get(key)).max_by_key(|s| s.start).cloned()
        };
        let mut found: Vec<(Option<Span>, String)> = Vec::new();
        let mut forbid = |wrong: bool, keys: &[(&'static str, &'static str)], sentence: &str| {
            if wrong {
                found.push((at(keys), sentence.to_owned()));
            }
        };
        forbid(
            tls.certificate.is_some() != tls.key.is_some(),
            &[("tls", "certificate"), ("tls", "key")],
            "certificate and key belong together: set both or neither",
        );
        forbid(
            store.map_bytes_start > store.map_bytes_max,
            &[("store", "map_bytes_start"), ("store", "map_bytes_max")],
            "map_bytes_start is larger than map_bytes_max",
        );
        forbid(
            limits.egress_bytes_max > limits.egress_pool_bytes,
            &[("limits", "egress_bytes_max"), ("limits", "egress_pool_bytes")],
            "egress_bytes_max, for one device, is larger than egress_pool_bytes, for all",
        );
        forbid(
            limits.output_held_bytes_max > limits.egress_pool_bytes,
            &[("limits", "output_held_bytes_max"), ("limits", "egress_pool_bytes")],
            "output_held_bytes_max is larger than egress_pool_bytes, of which it is a part",
        );
        forbid(
            limits.handshakes_in_progress_max > limits.unauthenticated_connections_max,
            &[
                ("limits", "handshakes_in_progress_max"),
                ("limits", "unauthenticated_connections_max"),
            ],
            "handshakes_in_progress_max is larger than unauthenticated_connections_max, of which it is a part",
        );
        forbid(
            limits.connections_max > 0
                && limits.unauthenticated_connections_max > limits.connections_max,
            &[("limits", "unauthenticated_connections_max"), ("limits", "connections_max")],
            "unauthenticated_connections_max is larger than connections_max, of which it is a part",
        );
        forbid(
            limits.unauthenticated_ms_max >= limits.idle_ms,
            &[("limits", "unauthenticated_ms_max"), ("limits", "idle_ms")],
            "unauthenticated_ms_max is not shorter than idle_ms",
        );
        let (outer, inner) = (listen.address, control.listen.get());
        forbid(
            outer.port() == inner.port()
                && outer.port() != 0
                && (outer.ip().is_unspecified() || outer.ip() == inner.ip()),
            &[("listen", "address"), ("control", "listen")],
            "[listen] address and [control] listen use the same port",
        );
        for (span, sentence) in found {
            self.report(span.unwrap_or(0..0), sentence);
        }
    }
}

/// Says where a key belongs that stands in the wrong section.
fn elsewhere(name: &str) -> Option<String> {
    let section =
        SECTIONS.iter().find(|section| section.keys.iter().any(|key| key.name == name))?;
    Some(format!("{name:?} belongs into section [{}]", section.name))
}
