//! Keeps in the state what has settled before Postgres hears of it.
//!
//! ```text
//!  ledgers ─ settled ─► keeper ─► state, on disk ─ kept ─► status updates
//! ```
//!
//! Invariant: a status never says more than the state holds. So a slot that stands beyond its state was moved by another
//! state, or the state is an older copy of itself: see `continuity`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tidemill_change::Lsn;
use tidemill_settle::limits::CONFIRM_INTERVAL;
use tokio::sync::{Notify, watch};
use tokio::task::{JoinSet, spawn_blocking};

use crate::error::{Error, Result};
use crate::state::State;

/// A state that cannot be written is tried again so often; the slot stays where it is meanwhile.
const RETRY_DELAY: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct Keeper {
    state: Arc<State>,
    settled: watch::Sender<Lsn>,
    kept: Arc<AtomicU64>,
    /// Ends with the keeper.
    _task: JoinSet<()>,
}

impl Keeper {
    /// Begins with what the state holds already. `moved` is told each time that more is kept.
    pub(super) fn start(state: &Arc<State>, kept: Lsn, moved: &Arc<Notify>) -> Keeper {
        let (settled, wanted) = watch::channel(kept);
        let kept = Arc::new(AtomicU64::new(kept.0));
        let mut task = JoinSet::new();
        task.spawn(run(Arc::clone(state), wanted, Arc::clone(&kept), Arc::clone(moved)));
        Keeper { state: Arc::clone(state), settled, kept, _task: task }
    }

    /// Everything up to here has settled in all streams: it is kept soon.
    pub(super) fn keep(&self, settled: Lsn) {
        self.settled.send_if_modified(|known| {
            let is_more = settled > *known;
            *known = settled.max(*known);
            is_more
        });
    }

    /// The same, and it is on disk when this returns.
    pub(super) async fn keep_now(&self, settled: Lsn) -> Result<()> {
        if settled > self.kept() {
            write(&self.state, settled).await?;
            self.kept.fetch_max(settled.0, Ordering::Relaxed);
        }
        Ok(())
    }

    /// What Postgres may be told.
    pub(super) fn kept(&self) -> Lsn {
        Lsn(self.kept.load(Ordering::Relaxed))
    }
}

async fn run(state: Arc<State>, mut settled: watch::Receiver<Lsn>, kept: Arc<AtomicU64>, moved: Arc<Notify>) {
    while settled.changed().await.is_ok() {
        let mut is_told = false;
        loop {
            let lsn = *settled.borrow_and_update();
            if lsn.0 <= kept.load(Ordering::Relaxed) {
                break;
            }
            match write(&state, lsn).await {
                Ok(()) => {
                    kept.fetch_max(lsn.0, Ordering::Relaxed);
                    moved.notify_one();
                    break;
                }
                Err(error) if !is_told => {
                    is_told = true;
                    tracing::error!(%error, "the slot stays where it is; trying again");
                }
                Err(_) => {}
            }
            tokio::time::sleep(RETRY_DELAY).await;
        }
        // No commit has to wait for a disk: what settles meanwhile is kept together.
        tokio::time::sleep(CONFIRM_INTERVAL).await;
    }
}

async fn write(state: &Arc<State>, settled: Lsn) -> Result<()> {
    let state = Arc::clone(state);
    let written = match spawn_blocking(move || state.advance_confirmed(settled)).await {
        Ok(written) => written,
        Err(error) => Err(Error::failed(error.to_string())),
    };
    // Nothing is lost by it: whoever has to know waits, and the slot with it.
    written.map_err(|error| Error::transient("what has settled cannot be kept").with_cause(error))
}
