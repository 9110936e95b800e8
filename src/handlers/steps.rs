//! Steps: the units of which a handler is made. Each is named, timed and reported, in a fixed order.

use std::time::Instant;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::HandlerError;
use crate::meter::Meter;
use crate::wire::report::{StepOutcome, StepReport};
use crate::wire::{Coded, StepProgress};

/// What a handler is given beside its spec.
#[derive(Clone, Debug)]
pub struct Context {
    /// The devices that it may touch.
    pub access: crate::disk::Access,
    /// Cancelled when it shall stop.
    pub cancel: CancellationToken,
    /// Where it shows how far it is.
    pub progress: watch::Sender<Option<StepProgress>>,
}

/// Runs the steps of a handler, one after another, and keeps their reports.
#[derive(Debug)]
pub struct Steps<'a> {
    context: &'a Context,
    count: usize,
    reports: Vec<StepReport>,
}

impl<'a> Steps<'a> {
    /// For a handler of `count` steps.
    #[must_use]
    pub fn new(context: &'a Context, count: usize) -> Self {
        Self { context, count, reports: Vec::with_capacity(count) }
    }

    /// Runs the next step. One that was cancelled before it began is not begun.
    ///
    /// # Errors
    /// What the step says.
    pub async fn run<T>(
        &mut self,
        name: &'static str,
        work: impl AsyncFnOnce(Meter) -> Result<T, HandlerError>,
    ) -> Result<T, HandlerError> {
        if self.context.cancel.is_cancelled() {
            return Err(HandlerError::Cancelled);
        }
        let number = self.reports.len() + 1;
        let meter = Meter::new(
            name,
            u32::try_from(number).unwrap_or(u32::MAX),
            u32::try_from(self.count).unwrap_or(u32::MAX),
            self.context.cancel.clone(),
            self.context.progress.clone(),
        );
        let began = Instant::now();
        let result = work(meter.clone()).await;
        self.reports.push(StepReport {
            name: name.to_owned(),
            outcome: match &result {
                Ok(_) => StepOutcome::Succeeded,
                Err(error) if error.is_cancelled() => StepOutcome::Cancelled,
                Err(_) => StepOutcome::Failed,
            },
            seconds: began.elapsed().as_secs_f64(),
            bytes: meter.moved(),
            error: result.as_ref().err().map(Coded::report),
        });
        result
    }

    /// The reports of the steps that were begun.
    #[must_use]
    pub fn into_reports(self) -> Vec<StepReport> {
        self.reports
    }
}

/// Runs blocking work away from the async threads, for disks do not answer in bounded time.
///
/// # Errors
/// What the work says.
///
/// # Panics
/// When the work panics: the panic goes on in the caller.
pub async fn blocking<T, E>(work: impl FnOnce() -> Result<T, E> + Send + 'static) -> Result<T, E>
where
    T: Send + 'static,
    E: Send + 'static,
{
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}
