//! What the source tells Postgres, and when.
//!
//! The write position is what was received, flush and apply are what was confirmed: the server removes WAL up to flush.
//! Updates go at once when the server asks, soon when the confirmed LSN moved, and often enough that the server never
//! takes the engine for dead, whatever the sink does.
//!
//! Invariant: flush never falls and never passes what [`crate::Confirm`] said.

use tidemill_change::Lsn;

use crate::limits::{CONFIRM_INTERVAL, STATUS_INTERVAL};
use crate::time::Time;

/// The positions of a standby status update.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatusUpdate {
    pub write: Lsn,
    pub flush: Lsn,
    pub apply: Lsn,
}

#[derive(Clone, Debug)]
pub struct Progress {
    received: Lsn,
    confirmed: Lsn,
    /// The flush position of the last update.
    told: Lsn,
    told_at: Time,
    asked: bool,
}

impl Progress {
    /// A connection whose stream begins at what was confirmed.
    pub fn new(now: Time, confirmed: Lsn) -> Progress {
        Progress { received: confirmed, confirmed, told: confirmed, told_at: now, asked: false }
    }

    /// WAL data came that ends here.
    pub fn received(&mut self, wal_end: Lsn) {
        self.received = self.received.max(wal_end);
    }

    pub fn keepalive(&mut self, wal_end: Lsn, reply_requested: bool) {
        self.received(wal_end);
        self.asked |= reply_requested;
    }

    /// Everything up to here has settled, in every stream.
    pub fn confirmed(&mut self, lsn: Lsn) {
        self.confirmed = self.confirmed.max(lsn);
    }

    /// An update is due at once, for instance the last one before the connection is closed.
    pub fn ask(&mut self) {
        self.asked = true;
    }

    /// The update to send now, if one is due. What it returns counts as sent.
    pub fn tick(&mut self, now: Time) -> Option<StatusUpdate> {
        if now < self.next_wake() {
            return None;
        }
        self.asked = false;
        self.told = self.confirmed;
        self.told_at = now;
        // A source that resumes ahead of what it received in this session still has it all.
        let write = self.received.max(self.confirmed);
        Some(StatusUpdate { write, flush: self.confirmed, apply: self.confirmed })
    }

    /// When the next update is due; in the past if at once.
    pub fn next_wake(&self) -> Time {
        if self.asked {
            return Time::START;
        }
        let interval = if self.confirmed > self.told { CONFIRM_INTERVAL } else { STATUS_INTERVAL };
        self.told_at + interval
    }
}
