//! What the engine counts. The same atomics serve `/metrics` and `status`, and a counter is one addition: a step takes its
//! stream's counters once and adds a batch at a time.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use serde::{Deserialize, Serialize};

/// What a stream does at the moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Activity {
    /// Entered at the start, and whenever something is waited for: the source, the sink, the slot.
    #[default]
    Waiting,
    /// Entered when rows that are already there are read; left for `Streaming`.
    Backfilling,
    Streaming,
    /// Entered when nothing can go on without somebody; left by `resume`.
    Paused,
}

impl Activity {
    const ALL: [Activity; 4] = [Activity::Waiting, Activity::Backfilling, Activity::Streaming, Activity::Paused];

    pub fn as_str(self) -> &'static str {
        match self {
            Activity::Waiting => "waiting",
            Activity::Backfilling => "backfilling",
            Activity::Streaming => "streaming",
            Activity::Paused => "paused",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StreamLabel {
    stream: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ActivityLabel {
    stream: String,
    state: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StageLabel {
    stream: String,
    stage: String,
}

/// What a plugin counts itself, by the name that it gave.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PluginLabel {
    stream: String,
    stage: String,
    name: String,
}

impl PluginLabel {
    fn new(stream: &str, stage: &str, name: &str) -> PluginLabel {
        PluginLabel { stream: stream.to_owned(), stage: stage.to_owned(), name: name.to_owned() }
    }
}

type GaugeF64 = Gauge<f64, AtomicU64>;
type CounterF64 = Counter<f64, AtomicU64>;

/// From 100 µs, doubling, to a minute and a half.
fn seconds_histogram() -> Histogram {
    Histogram::new(prometheus_client::metrics::histogram::exponential_buckets(0.0001, 2.0, 20))
}

/// Declares what is counted a stream once: the families, the stream's own handles, and the snapshot.
macro_rules! stream_metrics {
    (
        counters { $($counter:ident: $counter_help:literal,)* }
        gauges { $($gauge:ident: $gauge_help:literal,)* }
    ) => {
        #[derive(Debug, Default)]
        struct Families {
            $($counter: Family<StreamLabel, Counter>,)*
            $($gauge: Family<StreamLabel, Gauge>,)*
            lag_seconds: Family<StreamLabel, GaugeF64>,
            activity: Family<ActivityLabel, Gauge>,
        }

        impl Families {
            fn register(&self, registry: &mut Registry) {
                $(registry.register(concat!("stream_", stringify!($counter)), $counter_help, self.$counter.clone());)*
                $(registry.register(concat!("stream_", stringify!($gauge)), $gauge_help, self.$gauge.clone());)*
                registry.register("stream_lag_seconds", "Age of the oldest commit that has not settled", self.lag_seconds.clone());
                registry.register("stream_state", "1 for what the stream does", self.activity.clone());
            }

            fn of(&self, stream: &str, commit_to_settled: Histogram) -> StreamMetrics {
                let label = StreamLabel { stream: stream.to_owned() };
                StreamMetrics {
                    $($counter: self.$counter.get_or_create_owned(&label),)*
                    $($gauge: self.$gauge.get_or_create_owned(&label),)*
                    lag_seconds: self.lag_seconds.get_or_create_owned(&label),
                    commit_to_settled,
                    activity: Mutex::default(),
                    activities: Activity::ALL.map(|activity| {
                        let label = ActivityLabel { stream: stream.to_owned(), state: activity.as_str() };
                        self.activity.get_or_create_owned(&label)
                    }),
                }
            }
        }

        /// The counters of one stream.
        #[derive(Debug)]
        pub struct StreamMetrics {
            $(#[doc = $counter_help] pub $counter: Counter,)*
            $(#[doc = $gauge_help] pub $gauge: Gauge,)*
            /// Age of the oldest commit that has not settled.
            pub lag_seconds: GaugeF64,
            /// Seconds from a commit to its last acknowledged document.
            pub commit_to_settled: Histogram,
            activity: Mutex<Activity>,
            activities: [Gauge; Activity::ALL.len()],
        }

        impl StreamMetrics {
            pub fn snapshot(&self) -> StreamSnapshot {
                StreamSnapshot {
                    activity: self.activity(),
                    $($counter: self.$counter.get(),)*
                    $($gauge: self.$gauge.get(),)*
                    lag_seconds: self.lag_seconds.get(),
                }
            }
        }

        /// What one stream's counters say now.
        #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
        pub struct StreamSnapshot {
            #[serde(rename = "state")]
            pub activity: Activity,
            $(pub $counter: u64,)*
            $(pub $gauge: i64,)*
            pub lag_seconds: f64,
        }
    };
}

stream_metrics! {
    counters {
        rows_in: "Rows that came from the source, changed or read",
        rows_out: "Rows that left the last stage",
        rows_filtered: "Rows that a stage left out",
        rows_rejected: "Rows that a stage refused",
        documents_indexed: "Documents that the sink took",
        documents_deleted: "Documents that the sink removed",
        documents_stale: "Actions that the sink refused because it has a newer version",
        bulks: "Bulk requests sent",
        bulk_bytes: "Bytes of bulk requests sent",
        retries: "Actions sent again",
        throttled: "Answers 429",
        dead_letters: "Dead letters written",
    }
    gauges {
        lag_bytes: "WAL between the source's end and what has settled",
        in_flight: "Actions sent and not answered",
        dead_letters_open: "Dead letters that wait",
    }
}

impl StreamMetrics {
    pub fn activity(&self) -> Activity {
        *self.activity.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn set_activity(&self, to: Activity) {
        let mut activity = self.activity.lock().unwrap_or_else(PoisonError::into_inner);
        for (gauge, each) in self.activities.iter().zip(Activity::ALL) {
            gauge.set(i64::from(each == to));
        }
        *activity = to;
    }
}

/// The counters of the source.
#[derive(Debug, Default)]
pub struct SourceMetrics {
    pub wal_held_bytes: Gauge,
    pub received_lsn: Gauge,
    pub confirmed_lsn: Gauge,
    /// 1 while the replication connection is up.
    pub connected: Gauge,
    pub bytes: Counter,
    pub transactions: Counter,
    pub reconnects: Counter,
}

/// What the source's counters say now.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceSnapshot {
    pub connected: bool,
    pub wal_held_bytes: i64,
    pub received_lsn: i64,
    pub confirmed_lsn: i64,
    pub bytes: u64,
    pub transactions: u64,
    pub reconnects: u64,
}

impl SourceMetrics {
    fn register(&self, registry: &mut Registry) {
        registry.register(
            "source_wal_held_bytes",
            "WAL that the slot keeps on the source",
            self.wal_held_bytes.clone(),
        );
        registry.register("source_received_lsn", "The WAL position received, as a number", self.received_lsn.clone());
        registry.register(
            "source_confirmed_lsn",
            "The WAL position confirmed, as a number",
            self.confirmed_lsn.clone(),
        );
        registry.register("source_connected", "1 while the replication connection is up", self.connected.clone());
        registry.register("source_bytes", "Bytes of WAL messages received", self.bytes.clone());
        registry.register("source_transactions", "Transactions received", self.transactions.clone());
        registry.register("source_reconnects", "Connections taken up again", self.reconnects.clone());
    }

    pub fn snapshot(&self) -> SourceSnapshot {
        SourceSnapshot {
            connected: self.connected.get() != 0,
            wal_held_bytes: self.wal_held_bytes.get(),
            received_lsn: self.received_lsn.get(),
            confirmed_lsn: self.confirmed_lsn.get(),
            bytes: self.bytes.get(),
            transactions: self.transactions.get(),
            reconnects: self.reconnects.get(),
        }
    }
}

/// The counters of one stage of a stream.
#[derive(Debug, Default)]
pub struct StageMetrics {
    pub calls: Counter,
    pub rows_in: Counter,
    pub rows_out: Counter,
    pub rows_rejected: Counter,
    pub failures: Counter,
    pub restarts: Counter,
    pub compilations: Counter,
    pub memory_bytes: Gauge,
    pub busy_seconds: CounterF64,
}

#[derive(Debug, Default)]
struct StageFamilies {
    calls: Family<StageLabel, Counter>,
    rows_in: Family<StageLabel, Counter>,
    rows_out: Family<StageLabel, Counter>,
    rows_rejected: Family<StageLabel, Counter>,
    failures: Family<StageLabel, Counter>,
    restarts: Family<StageLabel, Counter>,
    compilations: Family<StageLabel, Counter>,
    memory_bytes: Family<StageLabel, Gauge>,
    busy_seconds: Family<StageLabel, CounterF64>,
    plugin_count: Family<PluginLabel, Counter>,
    plugin_value: Family<PluginLabel, GaugeF64>,
}

impl StageFamilies {
    fn register(&self, registry: &mut Registry) {
        for (name, help, family) in [
            ("calls", "Calls of the stage's plugin", &self.calls),
            ("rows_in", "Rows that came to the stage", &self.rows_in),
            ("rows_out", "Rows that left the stage", &self.rows_out),
            ("rows_rejected", "Rows that the stage refused", &self.rows_rejected),
            ("failures", "Calls that ended in no answer: traps, deadlines, limits, wrong answers", &self.failures),
            ("restarts", "Instances made anew after such a call", &self.restarts),
            ("compilations", "Components compiled because none was kept", &self.compilations),
        ] {
            registry.register(format!("stage_{name}"), help, family.clone());
        }
        registry.register(
            "stage_memory_bytes",
            "The most linear memory that an instance of the stage had",
            self.memory_bytes.clone(),
        );
        registry.register("stage_busy_seconds", "Time spent in the stage", self.busy_seconds.clone());
        registry.register("plugin_count", "What a plugin counts itself", self.plugin_count.clone());
        registry.register("plugin_value", "A value that a plugin gives", self.plugin_value.clone());
    }
}

/// All counters of an engine.
#[derive(Debug)]
pub struct Metrics {
    pub source: SourceMetrics,
    registry: Registry,
    families: Families,
    stages: StageFamilies,
    commit_to_settled: Family<StreamLabel, Histogram>,
    streams: Mutex<BTreeMap<String, Arc<StreamMetrics>>>,
}

impl Default for Metrics {
    fn default() -> Metrics {
        let mut registry = Registry::with_prefix("tidemill");
        let (source, families) = (SourceMetrics::default(), Families::default());
        let stages = StageFamilies::default();
        let commit_to_settled = Family::new_with_constructor(seconds_histogram as fn() -> Histogram);
        source.register(&mut registry);
        families.register(&mut registry);
        stages.register(&mut registry);
        registry.register(
            "stream_commit_to_settled_seconds",
            "From a commit to its last acknowledged document",
            commit_to_settled.clone(),
        );
        Metrics { source, registry, families, stages, commit_to_settled, streams: Mutex::default() }
    }
}

impl Metrics {
    /// The counters of a stream; the same ones whenever it is asked.
    pub fn stream(&self, name: &str) -> Arc<StreamMetrics> {
        let mut streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(stream) = streams.get(name) {
            return stream.clone();
        }
        let histogram = self.commit_to_settled.get_or_create_owned(&StreamLabel { stream: name.to_owned() });
        let stream = Arc::new(self.families.of(name, histogram));
        stream.set_activity(Activity::Waiting);
        streams.insert(name.to_owned(), stream.clone());
        stream
    }

    /// The counters of a stage; the same ones whenever it is asked.
    pub fn stage(&self, stream: &str, stage: &str) -> StageMetrics {
        let label = StageLabel { stream: stream.to_owned(), stage: stage.to_owned() };
        StageMetrics {
            calls: self.stages.calls.get_or_create_owned(&label),
            rows_in: self.stages.rows_in.get_or_create_owned(&label),
            rows_out: self.stages.rows_out.get_or_create_owned(&label),
            rows_rejected: self.stages.rows_rejected.get_or_create_owned(&label),
            failures: self.stages.failures.get_or_create_owned(&label),
            restarts: self.stages.restarts.get_or_create_owned(&label),
            compilations: self.stages.compilations.get_or_create_owned(&label),
            memory_bytes: self.stages.memory_bytes.get_or_create_owned(&label),
            busy_seconds: self.stages.busy_seconds.get_or_create_owned(&label),
        }
    }

    /// What a plugin counts under this name.
    pub fn plugin_count(&self, stream: &str, stage: &str, name: &str) -> Counter {
        self.stages.plugin_count.get_or_create_owned(&PluginLabel::new(stream, stage, name))
    }

    /// A value that a plugin gives under this name.
    pub fn plugin_value(&self, stream: &str, stage: &str, name: &str) -> Gauge<f64, AtomicU64> {
        self.stages.plugin_value.get_or_create_owned(&PluginLabel::new(stream, stage, name))
    }

    pub fn snapshot(&self) -> Snapshot {
        let streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        let streams = streams.iter().map(|(name, stream)| (name.clone(), stream.snapshot())).collect();
        Snapshot { source: self.source.snapshot(), streams }
    }

    /// The text that Prometheus reads (OpenMetrics).
    pub fn encode(&self) -> String {
        let mut out = String::new();
        text::encode(&mut out, &self.registry).expect("writing to a string does not fail");
        out
    }
}

/// What all counters say now.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    pub source: SourceSnapshot,
    pub streams: BTreeMap<String, StreamSnapshot>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_shows_in_both_places() {
        let metrics = Metrics::default();
        let stream = metrics.stream("products");
        stream.rows_in.inc_by(10);
        metrics.stream("products").rows_in.inc_by(5);
        stream.lag_seconds.set(1.5);
        stream.in_flight.set(3);
        stream.commit_to_settled.observe(0.0005);
        stream.set_activity(Activity::Backfilling);
        stream.set_activity(Activity::Streaming);
        metrics.stream("orders").documents_stale.inc();
        metrics.source.connected.set(1);
        metrics.stage("products", "enrich").busy_seconds.inc_by(0.25);
        metrics.stage("products", "enrich").busy_seconds.inc_by(0.5);
        metrics.plugin_count("products", "enrich", "found").inc_by(7);
        metrics.plugin_value("products", "enrich", "load").set(0.5);

        let snapshot = metrics.snapshot();
        let products = &snapshot.streams["products"];
        assert_eq!((products.rows_in, products.in_flight, products.lag_seconds), (15, 3, 1.5));
        assert_eq!((products.activity, snapshot.streams["orders"].activity), (Activity::Streaming, Activity::Waiting));
        assert!(snapshot.source.connected);
        assert_eq!(serde_json::to_value(products).unwrap()["state"], "streaming");

        let text = metrics.encode();
        for line in [
            "tidemill_stream_rows_in_total{stream=\"products\"} 15",
            "tidemill_stream_documents_stale_total{stream=\"orders\"} 1",
            "tidemill_stream_lag_seconds{stream=\"products\"} 1.5",
            "tidemill_stream_state{stream=\"products\",state=\"streaming\"} 1",
            "tidemill_stream_state{stream=\"products\",state=\"backfilling\"} 0",
            "tidemill_stream_commit_to_settled_seconds_count{stream=\"products\"} 1",
            "tidemill_source_connected 1",
            "tidemill_stage_busy_seconds_total{stream=\"products\",stage=\"enrich\"} 0.75",
            "tidemill_plugin_count_total{stream=\"products\",stage=\"enrich\",name=\"found\"} 7",
            "tidemill_plugin_value{stream=\"products\",stage=\"enrich\",name=\"load\"} 0.5",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
        }
    }
}
