//! The places that an image is at: which is next, which is out, and which delivered last.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use url::Origin;

use super::retry::Backoff;
use crate::image::{ImageError, Limits};
use crate::wire::ImageUrl;

/// How many servers are remembered.
const REMEMBERED: usize = 16;

/// The servers that delivered last, for as long as somebody holds this. Clones share what they know.
#[derive(Clone, Debug, Default)]
pub struct LastGood(Arc<Mutex<Vec<Origin>>>);

impl LastGood {
    /// Remembers that the server of `url` delivers. A file has no server.
    pub(super) fn remember(&self, url: &ImageUrl) {
        let origin = url.expose().origin();
        if origin.is_tuple() {
            let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            known.retain(|other| *other != origin);
            known.insert(0, origin);
            known.truncate(REMEMBERED);
        }
    }

    /// Which of `urls` is at the server that delivered last.
    fn best_of(&self, urls: &[ImageUrl]) -> usize {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let place = |origin: &Origin| urls.iter().position(|url| url.expose().origin() == *origin);
        known.iter().find_map(place).unwrap_or(0)
    }
}

/// The places of one image, tried in their order and in turn.
#[derive(Debug)]
pub(super) struct Mirrors {
    all: Vec<Mirror>,
    /// The one that was tried last.
    current: usize,
    limits: Limits,
}

#[derive(Debug)]
struct Mirror {
    /// Its place among those that the image came with.
    place: usize,
    url: ImageUrl,
    backoff: Backoff,
    /// Tries in a row that brought no byte.
    fruitless: u32,
    /// It is not tried before.
    not_before: Option<Instant>,
    /// It is not tried any more.
    is_out: bool,
    last_error: Option<ImageError>,
}

/// The mirror to try next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Next {
    pub(super) index: usize,
    /// Not before; at once where absent.
    pub(super) at: Option<Instant>,
}

impl Mirrors {
    /// `urls` in their order, but the one that delivered last before all others.
    pub(super) fn new(urls: Vec<ImageUrl>, last_good: &LastGood, limits: &Limits) -> Self {
        let best = last_good.best_of(&urls);
        let mirror = |(place, url)| Mirror {
            place,
            url,
            backoff: Backoff::new(limits),
            fruitless: 0,
            not_before: None,
            is_out: false,
            last_error: None,
        };
        let mut all: Vec<_> = urls.into_iter().enumerate().map(mirror).collect();
        if let Some(before) = all.get_mut(..=best) {
            before.rotate_right(1);
        }
        Self { all, current: 0, limits: *limits }
    }

    /// Takes fresh URLs, in the order in which the first ones came, in the place of those that have run out.
    pub(super) fn renew(&mut self, urls: &[ImageUrl]) {
        for mirror in &mut self.all {
            if let Some(url) = urls.get(mirror.place) {
                mirror.url = url.clone();
            }
        }
    }

    pub(super) fn url(&self, index: usize) -> &ImageUrl {
        &self.all[index].url
    }

    /// The one that was tried last.
    pub(super) fn current(&self) -> usize {
        self.current
    }

    /// The one that may be tried soonest; of those that may be tried now the one that was tried last, then the others in their
    /// order. Nothing when all are out.
    pub(super) fn next(&self, now: Instant) -> Option<Next> {
        let count = self.all.len();
        let in_turn = (0..count).map(|step| (self.current + step) % count);
        in_turn
            .filter(|index| !self.all[*index].is_out)
            .map(|index| Next { index, at: self.all[index].not_before.filter(|at| *at > now) })
            .min_by_key(|next| next.at)
    }

    /// It is tried.
    pub(super) fn trying(&mut self, index: usize) {
        self.current = index;
    }

    /// It brought bytes.
    pub(super) fn brought(&mut self, index: usize) {
        let mirror = &mut self.all[index];
        if mirror.last_error.take().is_some() {
            mirror.backoff.reset();
            mirror.fruitless = 0;
            mirror.not_before = None;
        }
    }

    /// It failed, `fruitless` if it brought no byte in this try. Says how long to leave it alone, unless it is out.
    pub(super) fn failed(
        &mut self,
        index: usize,
        error: ImageError,
        fruitless: bool,
        now: Instant,
    ) -> Option<Duration> {
        let mirror = &mut self.all[index];
        mirror.fruitless += u32::from(fruitless);
        let asked = error.retry_after().unwrap_or_default();
        let is_over = mirror.fruitless >= self.limits.tries || asked > self.limits.backoff_max;
        mirror.is_out = is_over || !error.may_pass();
        mirror.last_error = Some(error);
        if mirror.is_out {
            return None;
        }
        let wait = mirror.backoff.next().max(asked);
        mirror.not_before = Some(now + wait);
        Some(wait)
    }

    /// What the one that was tried last said last.
    pub(super) fn take_last_error(&mut self) -> Option<ImageError> {
        self.all[self.current].last_error.take()
    }

    /// Why none is left: the error of the only one, or those of all.
    pub(super) fn take_error(&mut self) -> ImageError {
        let failures = self.all.iter_mut().filter_map(|mirror| mirror.last_error.take());
        // To start over is more than any of them can do alone.
        let (mut starts, mut failures): (Vec<_>, Vec<_>) =
            failures.partition(|error| matches!(error, ImageError::StartOver { .. }));
        if let Some(start) = starts.pop() {
            return start;
        }
        match failures.pop() {
            Some(only) if failures.is_empty() => only,
            Some(last) => {
                failures.push(last);
                ImageError::NoMirror { failures }
            }
            None => ImageError::NoMirror { failures },
        }
    }
}

#[cfg(test)]
mod tests {
    use reqwest::StatusCode;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn urls(hosts: &[&str]) -> Vec<ImageUrl> {
        hosts.iter().map(|host| format!("http://{host}/image").parse().unwrap()).collect()
    }

    fn mirrors(hosts: &[&str], last_good: &LastGood) -> Mirrors {
        let limits = Limits { tries: 3, backoff: SECOND, backoff_max: 30 * SECOND, ..Limits::default() };
        Mirrors::new(urls(hosts), last_good, &limits)
    }

    fn passing(retry_after: Option<Duration>) -> ImageError {
        let url = Box::new("http://h/".parse().unwrap());
        ImageError::Unavailable { url, status: StatusCode::SERVICE_UNAVAILABLE, retry_after }
    }

    fn lasting() -> ImageError {
        let url = Box::new("http://h/".parse().unwrap());
        ImageError::Status { url, status: StatusCode::NOT_FOUND }
    }

    fn index(mirrors: &Mirrors, now: Instant) -> Option<usize> {
        mirrors.next(now).map(|next| next.index)
    }

    #[test]
    fn the_last_good_one_comes_first_and_the_others_keep_their_order() {
        let last_good = LastGood::default();
        for (good, expected) in [(None, "abc"), (Some("c"), "cab"), (Some("b"), "bac"), (Some("x"), "bac")] {
            if let Some(host) = good {
                last_good.clone().remember(&urls(&[host])[0]);
            }
            let mirrors = mirrors(&["a", "b", "c"], &last_good);
            let order: String =
                mirrors.all.iter().filter_map(|mirror| mirror.url.expose().host_str()).collect();
            assert_eq!(order, expected);
        }
    }

    #[test]
    fn one_that_fails_for_now_gives_way_and_is_tried_again_later() {
        let now = Instant::now();
        let mut mirrors = mirrors(&["a", "b"], &LastGood::default());
        assert_eq!(mirrors.next(now), Some(Next { index: 0, at: None }));
        let wait = mirrors.failed(0, passing(None), true, now).unwrap();
        assert!(wait >= SECOND);
        assert_eq!(mirrors.next(now), Some(Next { index: 1, at: None }));
        mirrors.trying(1);
        // The other one has asked for more time.
        assert_eq!(mirrors.failed(1, passing(Some(20 * SECOND)), true, now), Some(20 * SECOND));
        assert_eq!(mirrors.next(now), Some(Next { index: 0, at: Some(now + wait) }));
        assert_eq!(index(&mirrors, now + 25 * SECOND), Some(1), "of those that may be tried, the last one");
    }

    #[test]
    fn tries_without_a_byte_are_counted_and_a_byte_begins_anew() {
        let now = Instant::now();
        let mut mirrors = mirrors(&["a"], &LastGood::default());
        for _ in 0..5 {
            assert!(mirrors.failed(0, passing(None), true, now).is_some());
            assert!(mirrors.failed(0, passing(None), true, now).is_some());
            mirrors.brought(0);
            assert!(mirrors.failed(0, passing(None), false, now).is_some_and(|wait| wait <= 2 * SECOND));
            mirrors.brought(0);
        }
        for left in [true, true, false] {
            assert_eq!(mirrors.failed(0, passing(None), true, now).is_some(), left);
        }
        assert_eq!(mirrors.next(now), None);
    }

    #[test]
    fn what_is_final_or_too_far_away_is_out() {
        let now = Instant::now();
        let mut mirrors = mirrors(&["a", "b", "c"], &LastGood::default());
        assert_eq!(mirrors.failed(0, lasting(), true, now), None);
        assert_eq!(index(&mirrors, now), Some(1));
        assert_eq!(mirrors.failed(1, passing(Some(31 * SECOND)), true, now), None);
        assert_eq!(index(&mirrors, now), Some(2));
        assert_eq!(mirrors.failed(2, lasting(), true, now), None);
        assert_eq!(index(&mirrors, now), None);
        assert!(matches!(mirrors.take_error(), ImageError::NoMirror { failures } if failures.len() == 3));
    }
}
