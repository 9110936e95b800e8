//! How long to wait before a server is tried again.

use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBackoff, ExponentialBuilder};
use chrono::{DateTime, Utc};
use reqwest::header::{HeaderMap, RETRY_AFTER};

use crate::image::Limits;

/// Waits that are doubled from one to the next, with jitter, so that a rack of nodes that lost one server does not come back to it
/// all at once.
#[derive(Debug)]
pub(super) struct Backoff {
    builder: ExponentialBuilder,
    waits: ExponentialBackoff,
    longest: Duration,
}

impl Backoff {
    pub(super) fn new(limits: &Limits) -> Self {
        let builder = ExponentialBuilder::new()
            .with_min_delay(limits.backoff)
            .with_max_delay(limits.backoff_max)
            .with_factor(2.0)
            .without_max_times()
            .with_jitter();
        Self { builder, waits: builder.build(), longest: limits.backoff_max }
    }

    /// Begins anew with the shortest wait.
    pub(super) fn reset(&mut self) {
        self.waits = self.builder.build();
    }

    pub(super) fn next(&mut self) -> Duration {
        // The jitter is added to the wait and may double it.
        self.waits.next().map_or(self.longest, |wait| wait.min(self.longest))
    }
}

/// What a `Retry-After` asks for: a number of seconds, or a date. One that cannot be read asks for nothing.
pub(super) fn retry_after(headers: &HeaderMap, now: DateTime<Utc>) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = DateTime::<Utc>::from(httpdate::parse_http_date(text).ok()?);
    // A date that has passed is one to come back at once.
    Some((date - now).to_std().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_up_to_the_longest() {
        let limits = Limits {
            backoff: Duration::from_millis(100),
            backoff_max: Duration::from_secs(2),
            ..Limits::default()
        };
        let mut backoff = Backoff::new(&limits);
        for round in 0..12 {
            let shortest = Duration::from_millis(100 << round.min(10)).min(limits.backoff_max);
            let wait = backoff.next();
            assert!(wait >= shortest && wait <= (shortest * 2).min(limits.backoff_max), "{round}: {wait:?}");
        }
        backoff.reset();
        assert!(backoff.next() <= Duration::from_millis(200));
    }

    #[test]
    fn servers_say_when_to_come_back_in_seconds_or_by_date() {
        let now = "2026-03-01T12:00:00Z".parse().unwrap();
        for (text, expected) in [
            ("0", Some(0)),
            ("120", Some(120)),
            ("Sun, 01 Mar 2026 12:00:30 GMT", Some(30)),
            ("Sunday, 01-Mar-26 12:01:00 GMT", Some(60)),
            ("Sun, 01 Mar 2026 11:00:00 GMT", Some(0)),
            ("soon", None),
            ("-5", None),
            ("1.5", None),
        ] {
            let headers = HeaderMap::from_iter([(RETRY_AFTER, text.parse().unwrap())]);
            assert_eq!(retry_after(&headers, now), expected.map(Duration::from_secs), "{text}");
        }
        assert_eq!(retry_after(&HeaderMap::new(), now), None);
    }
}
