use std::collections::VecDeque;

use foldhash::fast::FixedState;
use hashbrown::HashMap;

use crate::limits::{SUSPECT_AGE, SUSPECTS_MAX};
use crate::time::Time;

/// Documents that a request of unknown outcome was to index: it may still reach the sink, and after a delete whose
/// tombstone is gone it would bring the document back.
///
/// Bounded by age and number; whatever is forgotten for want of room is counted.
#[derive(Debug, Default)]
pub(super) struct Suspects {
    latest: HashMap<u64, Time, FixedState>,
    order: VecDeque<(Time, u64)>,
    forgotten: u64,
}

impl Suspects {
    pub(super) fn is_empty(&self) -> bool {
        self.latest.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.latest.len()
    }

    pub(super) fn forgotten(&self) -> u64 {
        self.forgotten
    }

    pub(super) fn contains(&self, key: u64) -> bool {
        self.latest.contains_key(&key)
    }

    pub(super) fn remember(&mut self, now: Time, key: u64) {
        self.latest.insert(key, now);
        self.order.push_back((now, key));
        while self.order.len() > SUSPECTS_MAX {
            let dropped = self.drop_oldest();
            self.forgotten += u64::from(dropped);
        }
    }

    pub(super) fn expire(&mut self, now: Time) {
        while self.order.front().is_some_and(|&(then, _)| now.since(then) > SUSPECT_AGE) {
            self.drop_oldest();
        }
    }

    /// Says whether a document is forgotten now: one that was remembered again since is not.
    fn drop_oldest(&mut self) -> bool {
        let Some((then, key)) = self.order.pop_front() else { return false };
        let last = self.latest.get(&key) == Some(&then);
        if last {
            self.latest.remove(&key);
        }
        last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_bounded_by_number_and_age() {
        let mut suspects = Suspects::default();
        for key in 0..SUSPECTS_MAX as u64 + 10 {
            suspects.remember(Time::START, key);
        }
        assert_eq!((suspects.len(), suspects.forgotten()), (SUSPECTS_MAX, 10));
        let later = Time::START + SUSPECT_AGE;
        suspects.remember(later, 50);
        suspects.expire(later + std::time::Duration::from_micros(1));
        assert!(suspects.contains(50) && suspects.len() == 1);
    }
}
