//! The relay cannot name a content key: its program contains no endpoint code.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

/// What may never be reached from the relay, and why it would be a key in the wrong place.
const FORBIDDEN: [(&str, &str); 2] = [
    ("hushwire", "the endpoint: identities, pairing, secure channel"),
    ("hushwire-tools", "it links the endpoint"),
];

/// The relay's crates, whose tests may not link the endpoint either.
const RELAY: [&str; 4] = ["hushwire-relay", "hushwire-engine", "hushwire-uring", "hushwire-wire"];

/// Every package that `roots` depend on in any way: to run, to build, to test.
fn reachable(metadata: &Value, roots: &[&str]) -> BTreeSet<String> {
    let packages = metadata["packages"].as_array().expect("packages");
    let names: BTreeMap<&str, &str> = packages
        .iter()
        .map(|package| {
            (package["id"].as_str().expect("an id"), package["name"].as_str().expect("a name"))
        })
        .collect();
    let nodes: BTreeMap<&str, &Value> = metadata["resolve"]["nodes"]
        .as_array()
        .expect("nodes")
        .iter()
        .map(|node| (node["id"].as_str().expect("an id"), node))
        .collect();
    let mut open: Vec<&str> =
        names.iter().filter(|(_, name)| roots.contains(name)).map(|(id, _)| *id).collect();
    assert_eq!(open.len(), roots.len(), "every root is a package of the workspace");
    let mut seen: BTreeSet<&str> = BTreeSet::new();
    while let Some(id) = open.pop() {
        if seen.insert(id) {
            let dependencies = nodes[id]["deps"].as_array().expect("dependencies");
            open.extend(dependencies.iter().map(|dep| dep["pkg"].as_str().expect("an id")));
        }
    }
    seen.into_iter().map(|id| names[id].to_owned()).collect()
}

/// The triple this runs on: packages for other systems need not even be downloaded.
fn host() -> String {
    let output = Command::new("rustc").arg("-vV").output().expect("rustc runs");
    let text = String::from_utf8(output.stdout).expect("text");
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    host.expect("rustc names its host").to_owned()
}

fn metadata() -> Value {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked", "--offline", "--all-features"])
        .args(["--filter-platform", &host()])
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("metadata is JSON")
}

#[test]
fn the_relay_links_no_endpoint_code() {
    let metadata = metadata();
    let reached = reachable(&metadata, &RELAY);
    assert!(reached.contains("rustls"), "the walk goes through the graph: {reached:?}");
    for (name, why) in FORBIDDEN {
        assert!(!reached.contains(name), "the relay depends on {name} ({why})");
    }
    // The same walk does find it where it is.
    assert!(reachable(&metadata, &["hushwire-tools"]).contains("hushwire"));
}
