//! How much the sink gets: the control loop of back-pressure.
//!
//! [`Pace`] is the size: requests shrink at once when the sink says that it is busy, and grow again by small steps.
//! [`Gate`] is the time: after a request that failed as a whole nothing goes until a delay is over, then one request at
//! a time until one succeeds. Requests that were in flight together fail together, so each round counts once.

use std::time::Duration;

use super::items::RequestId;
use crate::backoff::Backoff;
use crate::limits::{LEARNED_BYTES_MIN, Limits, PACE_DOCUMENTS_MIN, PACE_GROWTH_STEPS};
use crate::time::Time;

#[derive(Clone, Debug)]
pub(super) struct Pace {
    documents_max: u32,
    in_flight_max: u32,
    documents: u32,
    in_flight: u32,
    bytes: u64,
    /// Requests below this were sent before the last shrinking.
    since: RequestId,
}

impl Pace {
    pub(super) fn new(limits: &Limits) -> Pace {
        let (documents, in_flight) = (limits.documents_max.max(1), limits.in_flight_max.max(1));
        Pace {
            documents_max: documents,
            in_flight_max: in_flight,
            documents,
            in_flight,
            bytes: limits.bytes_max,
            since: RequestId(0),
        }
    }

    pub(super) fn documents(&self) -> u32 {
        self.documents
    }

    pub(super) fn in_flight(&self) -> u32 {
        self.in_flight
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// A request of so many documents was refused, or went missing.
    pub(super) fn shrink(&mut self, request: RequestId, documents: u32, next: RequestId) {
        if request < self.since {
            return;
        }
        self.since = next;
        let floor = PACE_DOCUMENTS_MIN.min(self.documents_max);
        if self.documents == floor {
            self.in_flight = (self.in_flight / 2).max(1);
        }
        // A small request that is refused says more than one of full size, but not everything.
        let refused = documents.clamp(self.documents / 4, self.documents);
        self.documents = (refused / 2).max(floor);
    }

    /// A request of so many documents was answered and none of them refused.
    pub(super) fn grow(&mut self, request: RequestId, documents: u32) {
        // One that was sent before the shrinking, or far below the present size, says nothing about more.
        if request < self.since || documents < self.documents / 2 {
            return;
        }
        if self.in_flight < self.in_flight_max {
            self.in_flight += 1;
        } else {
            let step = (self.documents_max / PACE_GROWTH_STEPS).max(1);
            self.documents = (self.documents + step).min(self.documents_max);
        }
    }

    /// The sink finds a request of so many bytes too large, and will find so for good.
    pub(super) fn learn_too_large(&mut self, bytes: u64) {
        self.bytes = self.bytes.min((bytes / 2).max(LEARNED_BYTES_MIN));
    }
}

#[derive(Clone, Debug)]
pub(super) struct Gate {
    backoff: Backoff,
    failures: u32,
    opens_at: Time,
    /// Requests below this were sent before the last failure.
    since: RequestId,
}

impl Gate {
    pub(super) fn new(backoff: Backoff) -> Gate {
        Gate { backoff, failures: 0, opens_at: Time::START, since: RequestId(0) }
    }

    pub(super) fn is_failing(&self) -> bool {
        self.failures > 0
    }

    pub(super) fn opens_at(&self) -> Time {
        self.opens_at
    }

    /// The delay of an item that the sink refused so often.
    pub(super) fn item_delay(&mut self, failures: u32) -> Duration {
        self.backoff.delay(failures)
    }

    pub(super) fn fail(&mut self, now: Time, request: RequestId, next: RequestId, at_least: Option<Duration>) {
        if request < self.since {
            return;
        }
        self.since = next;
        self.failures = self.failures.saturating_add(1);
        let delay = self.backoff.delay(self.failures);
        self.opens_at = now + at_least.unwrap_or_default().min(self.backoff.delay_max()).max(delay);
    }

    pub(super) fn succeed(&mut self, request: RequestId) {
        if request >= self.since {
            self.reset();
        }
    }

    pub(super) fn reset(&mut self) {
        self.failures = 0;
        self.opens_at = Time::START;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_of_refusals_halves_once_and_growth_is_slow() {
        let mut pace = Pace::new(&Limits::default());
        for id in 0..4 {
            pace.shrink(RequestId(id), 10_000, RequestId(4));
        }
        assert_eq!(pace.documents(), 5_000);
        pace.grow(RequestId(3), 10_000);
        pace.grow(RequestId(5), 10);
        assert_eq!(pace.documents(), 5_000, "neither an old answer nor a small one says anything");
        pace.grow(RequestId(5), 5_000);
        assert_eq!(pace.documents(), 5_000 + 10_000 / PACE_GROWTH_STEPS);
        for id in 10..30 {
            pace.shrink(RequestId(id), 10_000, RequestId(id + 1));
        }
        assert_eq!((pace.documents(), pace.in_flight()), (PACE_DOCUMENTS_MIN, 1));
        for id in 30..200 {
            pace.grow(RequestId(id), pace.documents());
        }
        assert_eq!((pace.documents(), pace.in_flight()), (10_000, 4));
    }

    #[test]
    fn the_gate_counts_rounds_and_forgets_them_with_the_first_success() {
        let second = Duration::from_secs(1);
        let mut gate = Gate::new(Backoff::new(second, second * 8, 1));
        let at = |s: u64| Time::from_micros(s * 1_000_000);
        gate.fail(at(0), RequestId(0), RequestId(4), None);
        let opens = gate.opens_at();
        gate.fail(at(9), RequestId(3), RequestId(4), None);
        assert_eq!(gate.opens_at(), opens);
        gate.succeed(RequestId(2));
        assert!(gate.is_failing(), "a request of before the failure says nothing");
        gate.fail(at(10), RequestId(4), RequestId(5), Some(second * 100));
        assert_eq!(gate.opens_at(), at(18), "what the sink asks for is capped too");
        gate.succeed(RequestId(5));
        assert!(!gate.is_failing() && gate.opens_at() == Time::START);
    }
}
