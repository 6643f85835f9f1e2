//! What a stream's task says of itself, to `/metrics` and to `status`.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Serialize;
use tidemill_change::Lsn;
use tidemill_encode::Encoded;
use tidemill_settle::{Counts, Totals};
use tidemill_stage::{Chain, Stage, StageStats};

use super::stream::Standing;
use crate::metrics::{Activity, StreamMetrics};

/// A stream's figures: the metrics, and what only `status` shows.
#[derive(Debug)]
pub(crate) struct Observed {
    pub(crate) metrics: Arc<StreamMetrics>,
    /// Rows of the present backfill that were read, and how many the planner expects.
    pub(crate) backfill_rows: AtomicU64,
    pub(crate) backfill_estimate: AtomicU64,
    /// When the oldest transaction committed that has not settled, in microseconds since 1970; 0 where all have.
    oldest_us: AtomicI64,
    latency: Mutex<Latency>,
    totals: Mutex<Totals>,
    stages: Mutex<Vec<StageStatus>>,
}

impl Observed {
    pub(crate) fn new(metrics: Arc<StreamMetrics>) -> Observed {
        Observed {
            metrics,
            backfill_rows: AtomicU64::new(0),
            backfill_estimate: AtomicU64::new(0),
            oldest_us: AtomicI64::new(0),
            latency: Mutex::default(),
            totals: Mutex::default(),
            stages: Mutex::default(),
        }
    }

    pub(crate) fn encoded(&self, encoded: &Encoded) {
        let (rejected, filtered) = (encoded.rejected.len() as u64, encoded.counts.filtered as u64);
        self.metrics.rows_filtered.inc_by(filtered);
        self.metrics.rows_rejected.inc_by(rejected);
        self.metrics.rows_out.inc_by(encoded.actions.len() as u64 + encoded.counts.superseded as u64);
    }

    pub(crate) fn request(&self, bytes: u64) {
        self.metrics.bulks.inc();
        self.metrics.bulk_bytes.inc_by(bytes);
    }

    pub(crate) fn settled(&self, counts: &Counts) {
        self.metrics.documents_indexed.inc_by(u64::from(counts.indexed));
        self.metrics.documents_deleted.inc_by(u64::from(counts.deleted + counts.not_found));
        self.metrics.documents_stale.inc_by(u64::from(counts.stale));
    }

    /// Documents were acknowledged so many microseconds after their transactions committed.
    pub(crate) fn acknowledged(&self, ages_us: impl Iterator<Item = u64>) {
        let mut latency = self.latency.lock().unwrap_or_else(PoisonError::into_inner);
        let mut oldest = None;
        for age_us in ages_us {
            latency.add(age_us);
            oldest = oldest.max(Some(age_us));
        }
        if let Some(age_us) = oldest {
            self.metrics.commit_to_settled.observe(age_us as f64 / 1e6);
        }
    }

    pub(crate) fn standing(&self, standing: &Standing, reading: bool) {
        let activity = match standing {
            Standing::Paused(_) => Activity::Paused,
            Standing::Waiting(_) => Activity::Waiting,
            Standing::Running if reading => Activity::Backfilling,
            Standing::Running => Activity::Streaming,
        };
        if self.metrics.activity() != activity {
            self.metrics.set_activity(activity);
        }
    }

    pub(crate) fn delivering(&self, in_flight: usize, now: &Totals) {
        self.metrics.in_flight.set(in_flight as i64);
        let mut totals = self.totals.lock().unwrap_or_else(PoisonError::into_inner);
        let since = |now: u64, before: u64| now.saturating_sub(before);
        let retried = |totals: &Totals| totals.items_retried + totals.requests_retried;
        self.metrics.retries.inc_by(since(retried(now), retried(&totals)));
        self.metrics.throttled.inc_by(since(now.busy, totals.busy));
        *totals = *now;
    }

    /// What the stages did by now.
    pub(crate) fn stages(&self, chain: &Chain) {
        let mut stages = self.stages.lock().unwrap_or_else(PoisonError::into_inner);
        if stages.is_empty() {
            stages.extend(chain.stages().iter().map(StageStatus::new));
        }
        for (status, (_, stats)) in stages.iter_mut().zip(chain.stats()) {
            status.update(stats);
        }
    }

    /// WAL that has not settled, and when the oldest commit among it was.
    pub(crate) fn lag(&self, bytes: u64, oldest_us: Option<i64>) {
        self.metrics.lag_bytes.set(bytes as i64);
        self.oldest_us.store(oldest_us.unwrap_or(0), Ordering::Relaxed);
        self.metrics.lag_seconds.set(self.age().as_secs_f64());
    }

    /// How old the oldest commit is by now that has not settled. Time goes on where nothing else happens, so whoever
    /// looks asks for it, and the metric is right from then on.
    pub(crate) fn lag_now(&self) -> Duration {
        let age = self.age();
        self.metrics.lag_seconds.set(age.as_secs_f64());
        age
    }

    fn age(&self) -> Duration {
        match self.oldest_us.load(Ordering::Relaxed) {
            0 => Duration::ZERO,
            at_us => Duration::from_micros(age_us(at_us)),
        }
    }

    pub(crate) fn status(&self, name: &str, standing: &Standing, settled: Lsn, wal_end: Lsn) -> StreamStatus {
        let snapshot = self.metrics.snapshot();
        let reason = match standing {
            Standing::Running => None,
            Standing::Waiting(reason) | Standing::Paused(reason) => Some(reason.clone()),
        };
        let latency = self.latency.lock().unwrap_or_else(PoisonError::into_inner);
        let stages = self.stages.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let slowest = stages.iter().filter(|stage| stage.busy_us > 0).max_by_key(|stage| stage.busy_us);
        StreamStatus {
            name: name.to_owned(),
            state: snapshot.activity,
            reason,
            settled_lsn: settled.to_string(),
            lag_bytes: wal_end.0.saturating_sub(settled.0),
            rows: snapshot.rows_in,
            filtered: snapshot.rows_filtered,
            rejected: snapshot.rows_rejected,
            documents: snapshot.documents_indexed + snapshot.documents_deleted,
            bytes: snapshot.bulk_bytes,
            bulks: snapshot.bulks,
            retries: snapshot.retries,
            throttled: snapshot.throttled,
            stale: snapshot.documents_stale,
            in_flight: snapshot.in_flight,
            dead_letters: snapshot.dead_letters_open,
            backfill: BackfillStatus {
                rows: self.backfill_rows.load(Ordering::Relaxed),
                rows_estimated: self.backfill_estimate.load(Ordering::Relaxed),
            },
            latency_ms: latency.summary(),
            slowest_stage: slowest.map(|stage| stage.name.clone()),
            stages,
        }
    }
}

/// How long ago a moment was, in microseconds since 1970.
pub(crate) fn age_us(at_us: i64) -> u64 {
    let now_us = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as i64);
    now_us.saturating_sub(at_us).max(0) as u64
}

/// A stream as `status --json` shows it.
#[derive(Clone, Debug, Serialize)]
pub struct StreamStatus {
    pub name: String,
    pub state: Activity,
    /// Why it waits or is paused, with the way out.
    pub reason: Option<String>,
    pub settled_lsn: String,
    pub lag_bytes: u64,
    pub rows: u64,
    pub filtered: u64,
    pub rejected: u64,
    /// Indexed and deleted.
    pub documents: u64,
    /// Sent to the sink.
    pub bytes: u64,
    pub bulks: u64,
    pub retries: u64,
    pub throttled: u64,
    pub stale: u64,
    pub in_flight: i64,
    pub dead_letters: i64,
    pub backfill: BackfillStatus,
    /// From a commit to the sink's acknowledgement, since the start.
    pub latency_ms: LatencySummary,
    /// The one that took most time since the start.
    pub slowest_stage: Option<String>,
    pub stages: Vec<StageStatus>,
}

/// A stage as `status --json` shows it. All counts are since the start.
#[derive(Clone, Debug, Serialize)]
pub struct StageStatus {
    pub name: String,
    /// The digest of its plugin.
    pub plugin_sha256: String,
    /// Calls of the plugin: one a batch, unless it fails.
    pub calls: u64,
    pub rows_in: u64,
    pub rows_out: u64,
    pub rejected: u64,
    /// Calls that ended in no answer: traps, deadlines, limits, wrong answers.
    pub failures: u64,
    /// Instances made anew after those.
    pub restarts: u64,
    /// Whether the plugin had to be compiled for this start.
    pub compiled: bool,
    /// The most linear memory that an instance had.
    pub memory_bytes: u64,
    pub busy_us: u64,
    pub us_a_call: u64,
}

impl StageStatus {
    fn new(stage: &Stage) -> StageStatus {
        StageStatus {
            name: stage.name.clone(),
            plugin_sha256: stage.plugin.sha256().to_owned(),
            calls: 0,
            rows_in: 0,
            rows_out: 0,
            rejected: 0,
            failures: 0,
            restarts: 0,
            compiled: stage.plugin.was_compiled(),
            memory_bytes: 0,
            busy_us: 0,
            us_a_call: 0,
        }
    }

    fn update(&mut self, stats: &StageStats) {
        self.calls = stats.calls;
        self.rows_in = stats.rows_in;
        self.rows_out = stats.rows_out;
        self.rejected = stats.rejects;
        self.failures = stats.failures;
        self.restarts = stats.restarts;
        self.memory_bytes = stats.memory_bytes as u64;
        self.busy_us = stats.busy.as_micros() as u64;
        self.us_a_call = self.busy_us.checked_div(self.calls).unwrap_or_default();
    }
}

#[derive(Clone, Copy, Debug, Serialize)]
pub struct BackfillStatus {
    pub rows: u64,
    pub rows_estimated: u64,
}

#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct LatencySummary {
    pub count: u64,
    pub p50: f64,
    pub p99: f64,
}

/// Ages in buckets of a sixteenth of a power of two: a percentile is right to about 5 %.
#[derive(Debug)]
struct Latency {
    buckets: Vec<u64>,
    count: u64,
}

/// Buckets a power of two; 64 powers.
const STEPS: u64 = 16;

impl Default for Latency {
    fn default() -> Latency {
        Latency { buckets: vec![0; 64 * STEPS as usize], count: 0 }
    }
}

impl Latency {
    fn add(&mut self, age_us: u64) {
        self.buckets[bucket(age_us)] += 1;
        self.count += 1;
    }

    fn summary(&self) -> LatencySummary {
        LatencySummary { count: self.count, p50: self.percentile(50), p99: self.percentile(99) }
    }

    /// In milliseconds.
    fn percentile(&self, percent: u64) -> f64 {
        let rank = (self.count * percent).div_ceil(100);
        let mut seen = 0;
        for (bucket, count) in self.buckets.iter().enumerate() {
            seen += count;
            if *count > 0 && seen >= rank {
                return lower_bound(bucket) as f64 / 1e3;
            }
        }
        0.0
    }
}

fn bucket(age_us: u64) -> usize {
    let age_us = age_us.max(STEPS);
    let power = u64::from(age_us.ilog2());
    let step = (age_us >> (power - STEPS.ilog2() as u64)) - STEPS;
    ((power * STEPS) + step) as usize
}

fn lower_bound(bucket: usize) -> u64 {
    let (power, step) = (bucket as u64 / STEPS, bucket as u64 % STEPS);
    (STEPS + step) << (power - STEPS.ilog2() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_close() {
        let mut latency = Latency::default();
        (1..=10_000).for_each(|age_us| latency.add(age_us * 10));
        let LatencySummary { count, p50, p99 } = latency.summary();
        assert_eq!(count, 10_000);
        assert!((47.0..=50.0).contains(&p50) && (93.0..=99.0).contains(&p99), "{p50} {p99}");
    }

    #[test]
    fn every_age_has_its_bucket() {
        for age in [0, 1, 15, 16, 17, 31, 32, 1000, 1 << 40, u64::MAX] {
            assert!(lower_bound(bucket(age)) <= age.max(STEPS) && bucket(age) < 64 * STEPS as usize);
        }
        assert_eq!(Latency::default().summary().p99, 0.0);
    }
}
