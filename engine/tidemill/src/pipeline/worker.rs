//! A stream's worker: a thread that runs what only computes. Batches in, Bulk bodies out, in order.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tidemill_change::{ChangeBatch, Lsn, Staged, TableId, Truncate};
use tidemill_encode::{Encoded, Encoder};
use tidemill_settle::Backoff;
use tidemill_stage::Chain;
use tokio::sync::{mpsc, watch};

use super::observe::Observed;
use super::said::PluginLog;
use super::stages::Stages;

/// The first and the longest delay before a batch that a plugin asked for again is run again. How often is not counted: what
/// it waits for may take any time, and the WAL keeps the rows meanwhile.
const RETRY_DELAY_MIN: Duration = Duration::from_millis(200);
const RETRY_DELAY_MAX: Duration = Duration::from_secs(10);
/// While it waits, a worker sees this often whether it is still wanted.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

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
    /// Why the rows cannot be worked on: the stream has to pause.
    pub(crate) fault: Option<String>,
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
    pub(crate) stages: Stages,
    pub(crate) said: PluginLog,
    /// Why a batch has to be run again, as long as it has to.
    pub(crate) again: watch::Sender<Option<String>>,
    pub(crate) seed: u64,
}

impl Worker {
    /// Runs until the sender or the receiver is gone.
    pub(crate) fn run(mut self, mut jobs: mpsc::Receiver<Job>, made: mpsc::Sender<Made>) {
        while let Some(job) = jobs.blocking_recv() {
            let rows: usize = job.batches.iter().map(|batch| batch.changes.len()).sum();
            self.observed.metrics.rows_in.inc_by(rows as u64);
            let encoded = match &job.fault {
                Some(fault) => Err(fault.clone()),
                None => match self.encode(&job, &made) {
                    Some(encoded) => encoded,
                    None => return,
                },
            };
            let Job { generation, ticket, batches, truncate, .. } = job;
            if made.blocking_send(Made { generation, ticket, batches, truncate, encoded }).is_err() {
                return;
            }
        }
    }

    /// `None` where nobody waits for it any more.
    fn encode(&mut self, job: &Job, made: &mpsc::Sender<Made>) -> Option<Result<Encoded, String>> {
        let mut staged: Vec<Staged> = Vec::with_capacity(job.batches.len());
        for batch in &job.batches {
            match self.stage(batch, made)? {
                Ok(passed) => staged.push(passed),
                Err(reason) => return Some(Err(reason)),
            }
        }
        let encoded = match job.ticket {
            Ticket::Span { to: None, .. } => self.encoder.encode_part(&staged),
            _ => self.encoder.encode(&staged),
        };
        Some(encoded.map_err(|error| error.to_string()))
    }

    /// Passes a batch through the stages, again and again where a plugin asks for that: so it waits for nobody but its
    /// own stream.
    fn stage(&mut self, batch: &Arc<ChangeBatch>, made: &mpsc::Sender<Made>) -> Option<Result<Staged, String>> {
        let mut backoff = Backoff::new(RETRY_DELAY_MIN, RETRY_DELAY_MAX, self.seed);
        let mut failures = 0;
        loop {
            let passed = self.chain.run(Arc::clone(batch));
            self.said.take(&mut self.chain);
            self.stages.take(&mut self.chain);
            self.observed.stages(&self.chain);
            let error = match passed {
                Err(error) if error.is_transient() => error,
                passed => {
                    self.again.send_if_modified(|again| again.take().is_some());
                    return Some(passed.map_err(|error| error.to_string()));
                }
            };
            failures += 1;
            let delay = backoff.delay(failures);
            tracing::warn!(stream = self.stream, %error, delay_ms = delay.as_millis() as u64, "a batch is run again");
            self.again.send_replace(Some(error.to_string()));
            let until = Instant::now() + delay;
            while let Some(left) = until.checked_duration_since(Instant::now()) {
                if made.is_closed() {
                    return None;
                }
                std::thread::sleep(left.min(LOOK_INTERVAL));
            }
        }
    }
}
