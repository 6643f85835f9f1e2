//! How a stream stands, for the source, for `status` and for `/readyz`; and the source's hold on it.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tidemill_change::{LeftOut, Lsn, Relation, TableId};
use tokio::sync::{mpsc, watch};

use super::StreamTask;
use crate::pipeline::worker::Job;

/// Why a stream is paused that somebody paused.
pub(crate) const PAUSED: &str = "paused by `tidemill pause`";

/// How a stream goes on whose stages could not be opened at the start: what they make is looked at there alone.
pub(crate) const RUN_ANEW: &str = "; then `tidemill run` anew";

/// How a stream stands, for the source, for `status` and for `/readyz`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Entered at start and by `resume`; left for any other.
    Running,
    /// The sink does not take documents at present, or a plugin no rows; left by itself.
    Waiting(String),
    /// Left by `resume` alone.
    Paused(String),
}

/// What a stream tells the others.
#[derive(Clone, Debug)]
pub(crate) struct Report {
    pub(crate) settled: Lsn,
    pub(crate) standing: Standing,
    /// It dropped a part of what it got in this generation or in one before: that has to come once more.
    pub(crate) failed: Option<u32>,
    /// The tables whose rows were all read and have settled, and the generation in which they were.
    pub(crate) read: (u32, HashSet<TableId>),
}

/// What an operator asks of a stream.
#[derive(Debug)]
pub(crate) enum Wish {
    Pause,
    Resume,
}

/// The source's hold on a stream.
#[derive(Debug)]
pub(crate) struct StreamHandle {
    pub(crate) name: String,
    pub(crate) jobs: mpsc::Sender<Job>,
    pub(crate) wishes: mpsc::Sender<Wish>,
    pub(crate) report: watch::Receiver<Report>,
    pub(crate) tables: HashSet<TableId>,
    /// Of those tables, as they looked when the stream began, the columns that it does not read.
    pub(crate) left_out: HashMap<TableId, (Arc<Relation>, LeftOut)>,
    /// Takes part in what the source reads now.
    pub(crate) attached: bool,
    /// What it had settled when the source last began.
    pub(crate) from: Lsn,
}

impl StreamHandle {
    pub(crate) fn settled(&self) -> Lsn {
        self.report.borrow().settled
    }

    pub(crate) fn is_running(&self) -> bool {
        self.attached && !matches!(self.report.borrow().standing, Standing::Paused(_))
    }

    pub(crate) fn is_paused(&self) -> bool {
        matches!(self.report.borrow().standing, Standing::Paused(_))
    }

    pub(crate) fn is_waiting(&self) -> bool {
        matches!(self.report.borrow().standing, Standing::Waiting(_))
    }

    pub(crate) fn has_read(&self, generation: u32, table: TableId) -> bool {
        let report = self.report.borrow();
        report.read.0 == generation && report.read.1.contains(&table)
    }

    pub(crate) fn wants(&self, table: TableId) -> bool {
        self.tables.contains(&table)
    }

    pub(crate) fn has_room(&self) -> bool {
        self.jobs.capacity() > 0
    }

    /// It dropped a part of what it got in this generation.
    pub(crate) fn has_failed(&self, generation: u32) -> bool {
        self.report.borrow().failed.is_some_and(|failed| failed >= generation)
    }

    /// One whose sink is away would only be let go once more.
    pub(crate) fn wants_to_be_taken_up(&self, generation: u32) -> bool {
        let was_let_go = !self.attached && self.has_room() && !self.is_waiting();
        !self.is_paused() && (was_let_go || self.has_failed(generation))
    }
}

/// Why a stream is paused, and how it goes on.
pub(crate) fn with_way_on(stream: &str, reason: &str) -> String {
    if reason.contains("tidemill resume") || reason.ends_with(RUN_ANEW) {
        return reason.to_owned();
    }
    // Where somebody paused it there is nothing to mend first.
    match reason == PAUSED {
        true => format!("{reason}: `tidemill resume {stream}` goes on"),
        false => format!("{reason}; then `tidemill resume {stream}`"),
    }
}

impl StreamTask {
    /// Lets the others know how it stands.
    pub(super) fn tell(&mut self) {
        let (settled, failed) = (self.ledger.settled(), self.failed);
        let standing = if let Some(reason) = &self.halted {
            Standing::Paused(with_way_on(&self.parts.name, reason))
        } else if let Some(pause) = self.delivery.pause_reason() {
            Standing::Paused(with_way_on(&self.parts.name, &pause.to_string()))
        } else if self.delivery.is_refused() {
            Standing::Waiting(self.last_error.clone().unwrap_or_else(|| "the sink does not answer".to_owned()))
        } else if let Some(error) = &self.waits {
            Standing::Waiting(error.clone())
        } else if let Some(reason) = &*self.parts.again.borrow() {
            Standing::Waiting(reason.clone())
        } else {
            Standing::Running
        };
        self.parts.observed.standing(&standing, !self.reading.is_empty());
        self.parts.observed.delivering(self.delivery.in_flight(), self.delivery.totals());
        let wal_end = self.parts.wal_end.load(Ordering::Relaxed);
        // Groups came in the order of their commits.
        let oldest = self.groups.values().find_map(|group| group.committed_us.first().copied());
        self.parts.observed.lag(wal_end.saturating_sub(settled.0), oldest);
        let changed = self.report.send_if_modified(|report| {
            let changed = report.settled != settled || report.standing != standing || report.failed != failed;
            (report.settled, report.standing, report.failed) = (settled, standing, failed);
            changed
        });
        if changed {
            self.parts.moved.notify_one();
        }
    }
}

/// Waits until a stream is paused, or was: it then dropped something of this generation.
pub(crate) async fn paused(mut report: watch::Receiver<Report>, generation: u32) {
    let is_paused = |report: &Report| {
        matches!(report.standing, Standing::Paused(_)) || report.failed.is_some_and(|failed| failed >= generation)
    };
    let paused = report.wait_for(is_paused).await;
    if paused.is_err() {
        // Its task has ended; whoever waits learns it elsewhere.
        std::future::pending().await
    }
}

/// Waits until a stream's sink has been away for so long without a break.
pub(crate) async fn away(mut report: watch::Receiver<Report>, long: Duration) {
    let is_waiting = |report: &Report| matches!(report.standing, Standing::Waiting(_));
    loop {
        if report.wait_for(is_waiting).await.is_err() {
            std::future::pending().await
        }
        if tokio::time::timeout(long, report.wait_for(|report| !is_waiting(report))).await.is_err() {
            return;
        }
    }
}
