//! How long work says how far it is, and learns that it shall stop.
//!
//! A [`Meter`] is handed down to whatever moves bytes, on async tasks and on blocking threads alike. It is cheap to call: what
//! it shows is brought up to date at most five times a second.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::wire::{ImageProgress, StepProgress};

const SHOW_EVERY: Duration = Duration::from_millis(200);
/// How much a new second weighs in the rate shown: high enough to follow a stall, low enough not to flicker.
const RATE_WEIGHT: f64 = 0.3;

/// The work was told to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cancelled on request")]
pub struct Cancelled;

/// Counts the bytes of one step and carries the wish to cancel it.
#[derive(Clone, Debug)]
pub struct Meter {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    cancel: CancellationToken,
    shown: watch::Sender<Option<StepProgress>>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    progress: StepProgress,
    /// Bytes of all phases of the step, for its report.
    moved: u64,
    rate: f64,
    rate_at: Instant,
    rate_from: u64,
    shown_at: Option<Instant>,
}

impl Meter {
    /// A meter for step `number` of `count`, shown through `shown`.
    #[must_use]
    pub fn new(
        step: &str,
        number: u32,
        count: u32,
        cancel: CancellationToken,
        shown: watch::Sender<Option<StepProgress>>,
    ) -> Self {
        let progress = StepProgress {
            step: step.to_owned(),
            step_number: number,
            step_count: count,
            phase: None,
            bytes_done: 0,
            bytes_total: None,
            bytes_per_second: 0,
            seconds_left: None,
            image: None,
        };
        let state =
            State { progress, moved: 0, rate: 0.0, rate_at: Instant::now(), rate_from: 0, shown_at: None };
        let meter = Self { shared: Arc::new(Shared { cancel, shown, state: Mutex::new(state) }) };
        meter.show(&mut meter.state());
        meter
    }

    /// A meter that nobody looks at and nobody cancels.
    #[must_use]
    pub fn unobserved() -> Self {
        Self::new("", 1, 1, CancellationToken::new(), watch::Sender::new(None))
    }

    /// Begins a part of the step, of `total` bytes where that is known; the count begins at zero.
    pub fn phase(&self, name: &str, total: Option<u64>) {
        let mut state = self.state();
        state.progress.phase = Some(name.to_owned());
        state.progress.bytes_done = 0;
        state.progress.bytes_total = total;
        state.rate = 0.0;
        state.rate_at = Instant::now();
        state.rate_from = 0;
        self.show(&mut state);
    }

    /// Says that `bytes` more are done.
    pub fn advance(&self, bytes: u64) {
        let mut state = self.state();
        state.progress.bytes_done += bytes;
        state.moved += bytes;
        if state.shown_at.is_none_or(|at| at.elapsed() >= SHOW_EVERY) {
            self.show(&mut state);
        }
    }

    /// Says that only `bytes` of the phase are done: something was begun again.
    pub fn rewind_to(&self, bytes: u64) {
        let mut state = self.state();
        state.progress.bytes_done = bytes;
        state.rate_from = bytes;
        state.rate_at = Instant::now();
        self.show(&mut state);
    }

    /// Begins to fetch an image, once more if it was begun before: nothing of it is there.
    pub fn begin_image(&self, total: Option<u64>) {
        let attempt = self.state().progress.image.map_or(0, |image| image.attempt);
        self.state().progress.image = Some(ImageProgress { attempt, ..ImageProgress::default() });
        self.phase("download", total);
    }

    /// Says that `bytes` more of the image were received, and how many requests that took so far.
    pub fn received(&self, bytes: u64, attempt: u32) {
        self.change_image(|image| {
            image.source_bytes += bytes;
            image.attempt = attempt;
        });
        self.advance(bytes);
    }

    /// Says that they have become `bytes` more of the disk.
    pub fn decoded(&self, bytes: u64) {
        self.change_image(|image| image.decoded_bytes += bytes);
    }

    /// Says that `bytes` in all are on the medium.
    pub fn durable(&self, bytes: u64) {
        self.change_image(|image| image.durable_bytes = bytes);
    }

    fn change_image(&self, change: impl FnOnce(&mut ImageProgress)) {
        if let Some(image) = &mut self.state().progress.image {
            change(image);
        }
    }

    /// Bytes of all phases so far.
    #[must_use]
    pub fn moved(&self) -> u64 {
        self.state().moved
    }

    /// Fails once the work shall stop. Call it between any two blocks.
    ///
    /// # Errors
    /// [`Cancelled`].
    pub fn check(&self) -> Result<(), Cancelled> {
        if self.shared.cancel.is_cancelled() { Err(Cancelled) } else { Ok(()) }
    }

    /// Waits until the work shall stop.
    pub async fn cancelled(&self) -> Cancelled {
        self.shared.cancel.cancelled().await;
        Cancelled
    }

    fn show(&self, state: &mut State) {
        let now = Instant::now();
        let seconds = now.duration_since(state.rate_at).as_secs_f64();
        if seconds >= SHOW_EVERY.as_secs_f64() {
            let lately = as_f64(state.progress.bytes_done.saturating_sub(state.rate_from)) / seconds;
            state.rate =
                if state.rate == 0.0 { lately } else { state.rate + (lately - state.rate) * RATE_WEIGHT };
            state.rate_at = now;
            state.rate_from = state.progress.bytes_done;
        }
        state.progress.bytes_per_second = as_u64(state.rate);
        state.progress.seconds_left = state
            .progress
            .bytes_total
            .filter(|_| state.rate >= 1.0)
            .map(|total| as_u64(as_f64(total.saturating_sub(state.progress.bytes_done)) / state.rate));
        state.shown_at = Some(now);
        self.shared.shown.send_replace(Some(state.progress.clone()));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing that holds the lock can panic, and a count would still be a count if it did.
        self.shared.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

#[expect(clippy::cast_precision_loss, reason = "rates are for people; 53 bits count 9 PB exactly")]
fn as_f64(bytes: u64) -> f64 {
    bytes as f64
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "saturates, and is never negative"
)]
fn as_u64(value: f64) -> u64 {
    value as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_phases_apart_and_bytes_together() {
        let shown = watch::Sender::new(None);
        let meter = Meter::new("write_image", 2, 3, CancellationToken::new(), shown.clone());
        meter.phase("download", Some(10));
        meter.advance(10);
        meter.phase("read back", None);
        meter.advance(4);
        assert_eq!(meter.moved(), 14);
        let progress = shown.borrow().clone().unwrap();
        assert_eq!((progress.step_number, progress.phase.as_deref()), (2, Some("read back")));
    }

    #[test]
    fn fails_once_cancelled() {
        let cancel = CancellationToken::new();
        let meter = Meter::new("x", 1, 1, cancel.clone(), watch::Sender::new(None));
        assert_eq!(meter.check(), Ok(()));
        cancel.cancel();
        assert_eq!(meter.check(), Err(Cancelled));
    }
}
