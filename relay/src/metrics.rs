//! What the relay counts, in one table: the table makes the counters, the text for Prometheus, the totals
//! of `hushctl status` and the catalogue for the documentation.
//!
//! A shard writes its own numbers with plain stores, so counting costs what an addition costs. The only
//! label is the shard: nothing here can be about one device.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use hushwire_engine::Engine;
use hushwire_engine::counters::{Counters, Reports};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

/// What every name begins with for Prometheus.
pub const PREFIX: &str = "hushwire";

/// How a number moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricKind {
    /// It only grows while the relay runs. Its name for Prometheus ends in `_total`.
    Counter,
    /// It goes up and down.
    Gauge,
}

/// A metric, for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metric {
    /// The name in `hushctl status`; for Prometheus it has [`PREFIX`] in front.
    pub name: &'static str,
    /// How it moves.
    pub kind: MetricKind,
    /// What it counts.
    pub help: &'static str,
    /// Whether each shard has its own, under the label `shard`.
    pub per_shard: bool,
}

/// Every metric there is: those of each shard first, then those of the relay.
pub fn catalogue() -> impl Iterator<Item = Metric> {
    ShardMetrics::TABLE.iter().chain(RelayNumbers::TABLE).copied()
}

/// A number that one thread writes and others read.
#[derive(Debug, Default)]
pub(crate) struct Count(AtomicU64);

impl Count {
    /// Adds. A load and a store, since nobody else writes.
    pub(crate) fn add(&self, more: u64) {
        self.set(self.value().wrapping_add(more));
    }

    /// Replaces the value.
    pub(crate) fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// The value, a little old perhaps.
    pub(crate) fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A table of shard metrics. `engine` and `reports` must name every counter that the engine has: one that
/// is missing here does not compile.
macro_rules! shard_metrics {
    (
        shard { $($own:ident: $own_kind:ident, $own_help:literal;)+ }
        given { $($given:ident: $given_kind:ident, $given_help:literal;)+ }
        reports { $($report:ident as $report_name:ident: $report_kind:ident, $report_help:literal;)+ }
        engine { $($engine:ident: $engine_kind:ident, $engine_help:literal;)+ }
    ) => {
        /// The numbers of one shard. Aligned, so that two shards never write to one cache line.
        #[derive(Debug, Default)]
        #[repr(align(128))]
        pub(crate) struct ShardMetrics {
            $(#[doc = $own_help] pub(crate) $own: Count,)+
            $(#[doc = $given_help] $given: Count,)+
            $(#[doc = $report_help] $report_name: Count,)+
            $(#[doc = $engine_help] $engine: Count,)+
        }

        impl ShardMetrics {
            const TABLE: &[Metric] = &[
                $(metric(stringify!($own), MetricKind::$own_kind, $own_help, true),)+
                $(metric(stringify!($given), MetricKind::$given_kind, $given_help, true),)+
                $(metric(stringify!($report_name), MetricKind::$report_kind, $report_help, true),)+
                $(metric(stringify!($engine), MetricKind::$engine_kind, $engine_help, true),)+
            ];

            /// In the order of the table.
            fn values(&self) -> Vec<u64> {
                vec![
                    $(self.$own.value(),)+
                    $(self.$given.value(),)+
                    $(self.$report_name.value(),)+
                    $(self.$engine.value(),)+
                ]
            }

            /// Shows others what the engine has counted. Called by the shard when it is about to rest.
            pub(crate) fn publish(&self, engine: &Engine, $($given: usize),+) {
                self.publish_counters(&engine.counters());
                $(self.$given.set($given as u64);)+
            }

            fn publish_counters(&self, counters: &Counters) {
                let Counters { $($engine,)+ undeliverable: Reports { $($report),+ } } = *counters;
                $(self.$report_name.set($report);)+
                $(self.$engine.set($engine);)+
            }
        }
    };
}

/// A table of numbers that the relay has once.
macro_rules! relay_numbers {
    ($($name:ident: $kind:ident, $help:literal;)+) => {
        /// The numbers that are not a shard's.
        #[derive(Clone, Copy, Debug, Default)]
        pub(crate) struct RelayNumbers {
            $(#[doc = $help] pub(crate) $name: u64,)+
        }

        impl RelayNumbers {
            const TABLE: &[Metric] =
                &[$(metric(stringify!($name), MetricKind::$kind, $help, false),)+];

            /// In the order of the table.
            fn values(&self) -> Vec<u64> {
                vec![$(self.$name,)+]
            }
        }
    };
}

const fn metric(
    name: &'static str,
    kind: MetricKind,
    help: &'static str,
    per_shard: bool,
) -> Metric {
    Metric { name, kind, help, per_shard }
}

shard_metrics! {
    shard {
        bytes_in: Counter, "Bytes received from devices, TLS included.";
        bytes_out: Counter, "Bytes sealed for devices, TLS included.";
        datagrams_in: Counter, "Datagrams received of QUIC.";
        datagrams_out: Counter, "Datagrams sent of QUIC.";
        datagrams_strayed: Counter, "Datagrams that the kernel gave to another shard than their connection ID names.";
        quic_accepted: Counter, "Connections of QUIC that began.";
        quic_retries: Counter, "Connections of QUIC that were asked to prove their address first.";
        quic_turned: Counter, "Connections of QUIC not taken: too many of them, or the relay stops.";
        lanes_stuck: Counter, "Lanes whose device gives no credit although it reads others.";
        accept_failures: Counter, "Times the system refused a connection, most likely for want of descriptors.";
        pauses: Counter, "Turns that waited a tenth or a quarter of a millisecond: receives get fuller by it, or many send bursts.";
        carry_evictions: Counter, "Connections closed because the memory for half records was used up.";
        mesh_full: Counter, "Cells and messages that found the queue to another shard full.";
        store_busy: Counter, "Questions that the store's inbox had no room for.";
        connections_closed: Counter, "Sockets closed, for whatever reason.";
        keys_put_away: Counter, "Times the key contexts of a connection that was idle, or just welcome, were freed.";
        proofs_refused: Counter, "Devices whose proof of identity was wrong.";
        malformed: Counter, "Connections closed for breaking the protocol of cells.";
        tls_faults: Counter, "Connections closed for breaking TLS.";
        bugs: Counter, "Connections closed by a fault of the relay. Anything above zero is worth a report.";
    }
    given {
        open_connections: Gauge, "Sockets now.";
        carry_bytes: Gauge, "Memory held by half records, in bytes.";
    }
    reports {
        offline as undeliverable_offline: Counter, "Cells reported to their sender as offline.";
        busy as undeliverable_busy: Counter, "Cells reported to their sender as busy.";
        refused as undeliverable_refused: Counter, "Cells reported to their sender as refused.";
        too_large as undeliverable_too_large: Counter, "Cells reported to their sender as too large.";
    }
    engine {
        cells_in: Counter, "Cells received from devices, of all kinds.";
        cells_out: Counter, "Routed cells given to the output of their recipient.";
        cells_crossed_out: Counter, "Cells sent to another shard.";
        cells_crossed_in: Counter, "Cells that came from another shard.";
        cells_queued: Counter, "Cells that had to wait for their recipient.";
        covers_in: Counter, "Cover cells received.";
        covers_out: Counter, "Cover cells sent.";
        controls_out: Counter, "Control messages sent.";
        cells_stale: Counter, "Cells for a connection that had gone meanwhile.";
        cells_over_rate: Counter, "Cells over the limit of their sender.";
        refusals_silenced: Counter, "Refusals beyond those that are answered.";
        hidden_silenced: Counter, "Cells for an absent device that hides its presence.";
        reports_lost: Counter, "Reports whose sender had gone meanwhile.";
        accepted: Counter, "Connections accepted.";
        turned_source: Counter, "Connections not taken because their source made too many.";
        turned_other: Counter, "Connections not taken for any other reason.";
        handed_over: Counter, "Connections handed to the home shard of their device.";
        taken_over: Counter, "Connections taken from another shard.";
        admitted: Counter, "Devices admitted.";
        denied: Counter, "Devices denied: unknown, revoked, or with an invite that does not work.";
        displaced: Counter, "Connections displaced by a newer one of the same device.";
        displacement_alarms: Counter, "Devices displaced three times in ten minutes: somebody may have copied a key.";
        closed_malformed: Counter, "Connections the engine closed for breaking the protocol.";
        closed_idle: Counter, "Connections closed for silence.";
        closed_deadline: Counter, "Connections closed because they did not introduce themselves in time.";
        closed_backlog: Counter, "Connections closed because they do not read what they are told.";
        store_questions: Counter, "Questions asked of the store.";
        absent_cached: Counter, "Cells for an absent device answered without asking the store.";
        paired: Counter, "Pairings whose two ends met.";
        slots_missed: Counter, "Slots of constant cover that found the output full.";
        connections: Gauge, "Connections the engine knows.";
        unauthenticated: Gauge, "Connections that have not introduced themselves yet.";
        egress_pool_bytes: Gauge, "Memory held by cells that wait for their recipient, in bytes.";
        egress_pool_bytes_high: Gauge, "The most bytes that ever waited for their recipients.";
    }
}

relay_numbers! {
    uptime_seconds: Gauge, "Seconds since the start.";
    draining: Gauge, "1 while the relay says goodbye to its devices, else 0.";
    resident_bytes: Gauge, "Resident memory of the process, in bytes.";
    memory_bill_bytes: Gauge, "What the configuration promises not to exceed, in bytes.";
    store_accounts: Gauge, "Accounts in the store.";
    store_devices: Gauge, "Devices in the store, revoked ones included.";
    store_map_used_bytes: Gauge, "Bytes of the store in use.";
    store_map_max_bytes: Gauge, "Bytes the store may grow to.";
    store_commits: Counter, "Transactions committed, each with one wait for the disk.";
    store_changes: Counter, "Changes answered by the store.";
    store_reads: Counter, "Reads answered by the store.";
    store_turned_away: Counter, "Queries the store turned away because its inbox was full.";
    store_failures: Counter, "Queries the store answered with a failure: look at the log.";
    store_corrupt_values: Counter, "Damaged records met by the store.";
}

/// The numbers of one moment.
#[derive(Debug)]
pub(crate) struct Scrape {
    shards: Vec<Vec<u64>>,
    relay: RelayNumbers,
}

impl Scrape {
    /// Reads the numbers of all shards, in the order of their numbers.
    pub(crate) fn new<'a>(
        shards: impl IntoIterator<Item = &'a ShardMetrics>,
        relay: RelayNumbers,
    ) -> Self {
        Self { shards: shards.into_iter().map(ShardMetrics::values).collect(), relay }
    }

    /// Sums over all shards by name, and the numbers of the relay.
    pub(crate) fn totals(&self) -> BTreeMap<String, u64> {
        let sum = |at: usize| self.shards.iter().map(|values| values[at]).sum();
        let shards = ShardMetrics::TABLE.iter().enumerate().map(|(at, metric)| (metric, sum(at)));
        let relay = RelayNumbers::TABLE.iter().zip(self.relay.values());
        shards.chain(relay).map(|(metric, value)| (metric.name.to_owned(), value)).collect()
    }

    /// The text for Prometheus (OpenMetrics 1.0).
    ///
    /// # Errors
    /// None that a `String` has.
    pub(crate) fn into_text(self) -> Result<String, fmt::Error> {
        let mut registry = Registry::with_prefix(PREFIX);
        registry.register_collector(Box::new(self));
        let mut text = String::new();
        encode(&mut text, &registry)?;
        Ok(text)
    }
}

/// The content type of [`Scrape::into_text`].
pub(crate) const TEXT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        for (at, metric) in ShardMetrics::TABLE.iter().enumerate() {
            let mut family = descriptor(&mut encoder, metric)?;
            for (shard, values) in self.shards.iter().enumerate() {
                let label = [("shard", shard as u64)];
                one(metric.kind, family.encode_family(&label)?, values[at])?;
            }
        }
        for (metric, value) in RelayNumbers::TABLE.iter().zip(self.relay.values()) {
            one(metric.kind, descriptor(&mut encoder, metric)?, value)?;
        }
        Ok(())
    }
}

fn descriptor<'a>(
    encoder: &'a mut DescriptorEncoder<'_>,
    metric: &'a Metric,
) -> Result<MetricEncoder<'a>, fmt::Error> {
    let kind = match metric.kind {
        MetricKind::Counter => MetricType::Counter,
        MetricKind::Gauge => MetricType::Gauge,
    };
    encoder.encode_descriptor(metric.name, metric.help, None, kind)
}

fn one(kind: MetricKind, mut encoder: MetricEncoder<'_>, value: u64) -> Result<(), fmt::Error> {
    match kind {
        MetricKind::Counter => encoder.encode_counter::<NoLabelSet, u64, u64>(&value, None),
        MetricKind::Gauge => encoder.encode_gauge(&value),
    }
}

impl ShardMetrics {
    /// How often C code may have freed memory: connections that ended, keys that were put away.
    pub(crate) fn heap_freed(&self) -> u64 {
        self.connections_closed.value().saturating_add(self.keys_put_away.value())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn names_are_unique_and_documented() {
        let mut names = BTreeSet::new();
        for Metric { name, help, .. } in catalogue() {
            assert!(names.insert(name), "{name} is there twice");
            let plain = |c: char| c.is_ascii_lowercase() || c == '_';
            assert!(name.chars().all(plain), "{name}");
            assert!(!name.ends_with("_total"), "{name}: the text for Prometheus adds it");
            let sentence = help.ends_with('.') && help.starts_with(|c: char| !c.is_lowercase());
            assert!(sentence && help.len() > 10, "{name}: {help:?} is no sentence");
        }
        assert!(names.contains("cells_in") && names.contains("store_commits"));
    }

    #[test]
    fn what_the_engine_counts_is_shown_under_the_same_name() {
        let shards = [ShardMetrics::default(), ShardMetrics::default()];
        shards[0].publish_counters(&Counters { cells_in: 5, handed_over: 2, ..Default::default() });
        let undeliverable = Reports { busy: 7, ..Default::default() };
        shards[1].publish_counters(&Counters { cells_in: 6, undeliverable, ..Default::default() });
        shards[0].bytes_in.add(100);
        shards[0].bytes_in.add(1);
        let scrape = Scrape::new(&shards, RelayNumbers { resident_bytes: 9, ..Default::default() });

        let totals = scrape.totals();
        assert_eq!(totals.len(), catalogue().count());
        let check = |name: &str, value| assert_eq!(totals.get(name), Some(&value), "{name}");
        check("cells_in", 11);
        check("handed_over", 2);
        check("undeliverable_busy", 7);
        check("bytes_in", 101);
        check("resident_bytes", 9);
        check("cells_out", 0);
    }

    #[test]
    fn the_text_has_every_metric_and_no_label_but_the_shard() {
        let shards = [ShardMetrics::default(), ShardMetrics::default()];
        shards[1].bytes_out.add(3);
        let text = Scrape::new(&shards, RelayNumbers { uptime_seconds: 4, ..Default::default() })
            .into_text()
            .expect("a String takes everything");
        let has = |line: &str| assert!(text.lines().any(|it| it == line), "no {line:?} in\n{text}");
        has("# TYPE hushwire_bytes_out counter");
        has("# HELP hushwire_bytes_out Bytes sealed for devices, TLS included.");
        has("hushwire_bytes_out_total{shard=\"0\"} 0");
        has("hushwire_bytes_out_total{shard=\"1\"} 3");
        has("hushwire_uptime_seconds 4");
        has("# EOF");
        for metric in catalogue() {
            assert!(text.contains(&format!("# HELP {PREFIX}_{} ", metric.name)), "{metric:?}");
        }
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let label = line.split_once('{').map(|(_, rest)| rest);
            assert!(label.is_none_or(|it| it.starts_with("shard=\"")), "{line}");
            assert!(!line.contains(','), "{line}");
        }
    }
}
