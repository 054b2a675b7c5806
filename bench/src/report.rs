//! What a measurement says to a person, and to a program.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use crate::load::{Fairness, Outcome, Shape};

/// Quantiles that are reported.
const QUANTILES: [(f64, &str); 3] = [(0.5, "p50"), (0.99, "p99"), (0.999, "p999")];

/// A directory for what is written beside the table.
#[derive(Debug)]
pub(crate) struct Directory(PathBuf);

impl Directory {
    pub(crate) fn make(path: &Path) -> Result<Self> {
        fs::create_dir_all(path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Self(path.to_owned()))
    }

    pub(crate) fn save(&self, name: &str, text: &str) -> Result<()> {
        let path = self.0.join(name);
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
    }
}

/// Where a server listens: its first and only line.
pub(crate) fn print_address(address: SocketAddr) {
    println!("{}", json!({ "listen": address.to_string() }));
}

/// `256 × 4096 × 32`, with a word on writes and directions.
pub(crate) fn name_of(shape: Shape) -> String {
    let Shape { pairs, class, mix, window, one_write_per_cell, both_ways } = shape;
    let apart = if one_write_per_cell { " apart" } else { "" };
    let both = if both_ways { " both ways" } else { "" };
    let bytes = mix.map_or_else(|| class.cell_len().to_string(), |mix| mix.to_string());
    format!("{pairs} x {bytes} x {window}{apart}{both}")
}

/// The latency at the reported quantiles, microseconds.
pub(crate) fn latency_us(outcome: &Outcome) -> [f64; 3] {
    QUANTILES.map(|(quantile, _)| outcome.latency.value_at_quantile(quantile) as f64 / 1_000.0)
}

/// The object of one outcome.
pub(crate) fn outcome_json(shape: Shape, outcome: &Outcome) -> Value {
    let latency: serde_json::Map<String, Value> = QUANTILES
        .iter()
        .zip(latency_us(outcome))
        .map(|((_, name), us)| ((*name).to_owned(), json!(us)))
        .collect();
    let busy = |cpu_ns: u64| cpu_ns as f64 / outcome.elapsed_ns as f64;
    json!({
        "pairs": shape.pairs,
        "bytes": shape.mix.is_none().then(|| shape.class.cell_len()),
        "mix": shape.mix.map(|mix| mix.to_string()),
        "window": shape.window,
        "one_write_per_cell": shape.one_write_per_cell,
        "both_ways": shape.both_ways,
        "delivered": outcome.delivered,
        "refused": outcome.refused,
        "cells_per_s": outcome.cells_per_s(),
        "bytes_per_s": outcome.bytes_per_s(),
        "cpu_us_per_cell": outcome.cpu_us_per_cell(),
        "server_busy": busy(outcome.server_cpu_ns),
        "load_busy": busy(outcome.load_cpu_ns),
        "latency_us": latency,
        "per_pair": outcome.fairness().map(|Fairness { least, greatest, jain }| {
            json!({ "least": least, "greatest": greatest, "jain": jain })
        }),
    })
}

/// Prints one outcome by itself.
pub(crate) fn print_outcome(shape: Shape, outcome: &Outcome, as_json: bool) {
    if as_json {
        println!("{}", outcome_json(shape, outcome));
        return;
    }
    let [p50, p99, p999] = latency_us(outcome);
    let percent = |cpu_ns: u64| 100.0 * cpu_ns as f64 / outcome.elapsed_ns as f64;
    println!("pairs x bytes x window   {}", name_of(shape));
    println!("delivered                {} cells", outcome.delivered);
    println!("                         {:.0} cells/s", outcome.cells_per_s());
    println!("                         {:.1} MiB/s", outcome.bytes_per_s() / (1024.0 * 1024.0));
    println!("refused                  {} cells", outcome.refused);
    println!("server                   {:.3} us of processor per cell", outcome.cpu_us_per_cell());
    println!("                         {:.0} % busy", percent(outcome.server_cpu_ns));
    println!("generator                {:.0} % busy", percent(outcome.load_cpu_ns));
    println!("latency                  p50 {p50:.1} us, p99 {p99:.1} us, p99.9 {p999:.1} us");
    if let Some(Fairness { least, greatest, jain }) = outcome.fairness() {
        println!("per pair                 {least} to {greatest} cells, Jain's index {jain:.4}");
    }
}
