//! How long to wait before trying again: full jitter, so that a fleet does not come back all at once.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(200);
const LONGEST: Duration = Duration::from_secs(10);

/// Waits before try number `tries + 2`.
pub(crate) async fn pause(tries: u32) {
    tokio::time::sleep(rand::random_range(Duration::ZERO..=bound(tries))).await;
}

fn bound(tries: u32) -> Duration {
    FIRST.saturating_mul(2_u32.saturating_pow(tries)).min(LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grows_to_its_bound() {
        assert_eq!((bound(0), bound(1), bound(40)), (FIRST, FIRST * 2, LONGEST));
    }
}
