//! How long to wait before trying again.

use std::time::Duration;

/// Exponential backoff with full jitter: each wait is drawn evenly from zero to a bound that doubles up to `cap`, so that
/// a thousand agents that lost one broker do not come back to it in waves.
#[derive(Clone, Debug)]
pub(super) struct Backoff {
    base: Duration,
    cap: Duration,
    bound: Duration,
}

impl Backoff {
    pub(super) fn new(base: Duration, cap: Duration) -> Self {
        Self { base, cap, bound: base }
    }

    pub(super) fn reset(&mut self) {
        self.bound = self.base;
    }

    pub(super) fn next(&mut self) -> Duration {
        let wait = self.bound.mul_f64(rand::random_range(0.0..=1.0));
        self.bound = (self.bound * 2).min(self.cap);
        wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_stay_below_a_bound_that_doubles_up_to_the_cap() {
        let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(30));
        for round in 0..20 {
            let bound = Duration::from_millis(200 << round.min(10)).min(Duration::from_secs(30));
            assert!(backoff.next() <= bound, "round {round}");
        }
        backoff.reset();
        assert!(backoff.next() <= Duration::from_millis(200));
    }

    #[test]
    fn two_clients_do_not_wait_alike() {
        let waits = || {
            let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(1));
            [backoff.next(), backoff.next(), backoff.next()]
        };
        assert_ne!(waits(), waits());
    }
}
