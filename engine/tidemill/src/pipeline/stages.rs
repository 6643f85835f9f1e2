//! What the stages of a stream did, handed on to the metrics after each batch.

use std::sync::Arc;

use tidemill_stage::{Chain, Metric, StageStats};

use crate::metrics::{Metrics, StageMetrics};

/// A stream's stages as the metrics know them.
#[derive(Debug)]
pub(crate) struct Stages {
    metrics: Arc<Metrics>,
    stream: String,
    /// Each stage's counters, and what they were told so far: two stages of one name have the same ones.
    told: Vec<(StageMetrics, StageStats)>,
}

impl Stages {
    pub(crate) fn new(metrics: Arc<Metrics>, stream: &str, chain: &Chain) -> Stages {
        let told = chain.stages().iter().map(|stage| {
            let metrics = metrics.stage(stream, &stage.name);
            metrics.compilations.inc_by(u64::from(stage.plugin.was_compiled()));
            (metrics, StageStats::default())
        });
        let told = told.collect();
        Stages { metrics, stream: stream.to_owned(), told }
    }

    pub(crate) fn take(&mut self, chain: &mut Chain) {
        for ((_, now), (metrics, before)) in chain.stats().zip(&mut self.told) {
            metrics.calls.inc_by(now.calls - before.calls);
            metrics.rows_in.inc_by(now.rows_in - before.rows_in);
            metrics.rows_out.inc_by(now.rows_out - before.rows_out);
            metrics.rows_rejected.inc_by(now.rejects - before.rejects);
            metrics.failures.inc_by(now.failures - before.failures);
            metrics.restarts.inc_by(now.restarts - before.restarts);
            metrics.memory_bytes.set(now.memory_bytes as i64);
            metrics.busy_seconds.inc_by((now.busy - before.busy).as_secs_f64());
            *before = *now;
        }
        // The chain keeps a stage's names in bounds.
        for ((stage, name), metric) in chain.take_metrics() {
            match metric {
                Metric::Count(more) => {
                    self.metrics.plugin_count(&self.stream, &stage, &name).inc_by(more);
                }
                Metric::Gauge(value) => {
                    self.metrics.plugin_value(&self.stream, &stage, &name).set(value);
                }
            }
        }
    }
}
