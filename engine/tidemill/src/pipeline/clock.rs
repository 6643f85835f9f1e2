//! The real clock behind the machines of `tidemill_settle`.

use tidemill_settle::Time;
use tokio::time::Instant;

/// Counts from the engine's start.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock(Instant);

impl Clock {
    pub(crate) fn start() -> Clock {
        Clock(Instant::now())
    }

    pub(crate) fn now(&self) -> Time {
        Time::from_micros(self.0.elapsed().as_micros() as u64)
    }

    pub(crate) fn instant(&self, time: Time) -> Instant {
        self.0 + std::time::Duration::from_micros(time.as_micros())
    }
}
