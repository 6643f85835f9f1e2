use std::time::Duration;

/// Delays that double up to a cap, each with jitter so that streams which failed together do not come back together.
///
/// The jitter comes from the seed alone: the same seed gives the same delays.
#[derive(Clone, Debug)]
pub struct Backoff {
    delay_min: Duration,
    delay_max: Duration,
    state: u64,
}

impl Backoff {
    pub fn new(delay_min: Duration, delay_max: Duration, seed: u64) -> Backoff {
        Backoff { delay_min, delay_max, state: seed }
    }

    /// The delay before the attempt after `failures` failures in a row: between a half and the whole of
    /// `delay_min * 2^(failures - 1)`, never more than `delay_max`.
    pub fn delay(&mut self, failures: u32) -> Duration {
        let doubled = 1_u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX);
        let whole = self.delay_min.saturating_mul(doubled).min(self.delay_max);
        let whole_us = u64::try_from(whole.as_micros()).unwrap_or(u64::MAX);
        let half_us = whole_us / 2;
        Duration::from_micros(half_us + self.next() % (whole_us - half_us + 1))
    }

    pub(crate) fn delay_max(&self) -> Duration {
        self.delay_max
    }

    /// splitmix64: small, known, and good enough for jitter.
    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_the_cap_and_repeat_by_seed() {
        let (min, max) = (Duration::from_millis(100), Duration::from_secs(30));
        let delays = |seed| {
            let mut backoff = Backoff::new(min, max, seed);
            (1..=40).map(|failures| backoff.delay(failures)).collect::<Vec<_>>()
        };
        for (i, delay) in delays(7).into_iter().enumerate() {
            let whole = min.saturating_mul(1 << i.min(20)).min(max);
            assert!(whole / 2 <= delay && delay <= whole, "{i}: {delay:?}");
        }
        assert_eq!(delays(7), delays(7));
        assert_ne!(delays(7), delays(8));
    }
}
