//! A stream's worker: a thread that runs what only computes. Batches in, Bulk bodies out, in order.

use std::sync::Arc;

use tidemill_change::{ChangeBatch, Lsn, Staged, TableId, Truncate};
use tidemill_encode::{Encoded, Encoder};
use tidemill_stage::Chain;
use tokio::sync::mpsc;

use super::observe::Observed;

/// What a job's rows belong to: what is told once they have all settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ticket {
    /// The part of the stream that begins after `from`. `to` is its end where the job closes the span.
    Span { from: Lsn, to: Option<Lsn> },
    /// Rows of a table that were there before, with the version of this LSN and bucket. `last` where no more follow.
    Backfill { table: TableId, at: Lsn, bucket: u16, last: bool },
}

/// A piece of work for one stream.
#[derive(Debug)]
pub(crate) struct Job {
    /// Rises each time the source begins again; what an earlier one left behind is then forgotten.
    pub(crate) generation: u32,
    pub(crate) ticket: Ticket,
    pub(crate) batches: Vec<Arc<ChangeBatch>>,
    pub(crate) truncate: Option<Truncate>,
}

/// A job after stages and encoding.
#[derive(Debug)]
pub(crate) struct Made {
    pub(crate) generation: u32,
    pub(crate) ticket: Ticket,
    pub(crate) batches: Vec<Arc<ChangeBatch>>,
    pub(crate) truncate: Option<Truncate>,
    /// The words are the reason for a pause.
    pub(crate) encoded: Result<Encoded, String>,
}

pub(crate) struct Worker {
    pub(crate) chain: Chain,
    pub(crate) encoder: Encoder,
    pub(crate) stream: String,
    pub(crate) observed: Arc<Observed>,
}

impl Worker {
    /// Runs until the sender or the receiver is gone.
    pub(crate) fn run(mut self, mut jobs: mpsc::Receiver<Job>, made: mpsc::Sender<Made>) {
        while let Some(job) = jobs.blocking_recv() {
            let rows: usize = job.batches.iter().map(|batch| batch.changes.len()).sum();
            self.observed.metrics.rows_in.inc_by(rows as u64);
            let encoded = self.encode(&job.batches);
            let Job { generation, ticket, batches, truncate } = job;
            if made.blocking_send(Made { generation, ticket, batches, truncate, encoded }).is_err() {
                return;
            }
        }
    }

    fn encode(&mut self, batches: &[Arc<ChangeBatch>]) -> Result<Encoded, String> {
        let mut staged: Vec<Staged> = Vec::with_capacity(batches.len());
        for batch in batches {
            staged.push(self.chain.run(Arc::clone(batch)).map_err(|error| error.to_string())?);
        }
        let logs = self.chain.take_logs();
        for line in &logs.lines {
            tracing::info!(stream = self.stream, stage = line.stage, level = ?line.level, "plugin: {}", line.message);
        }
        if logs.dropped > 0 {
            tracing::warn!(stream = self.stream, dropped = logs.dropped, "plugins logged more than is kept");
        }
        self.encoder.encode(&staged).map_err(|error| error.to_string())
    }
}
