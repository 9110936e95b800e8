//! Steps: the units of which a handler is made. Each is named, timed and reported, in a fixed order.

use std::time::Instant;

use metrics::{counter, histogram};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::HandlerError;
use crate::disk::Access;
use crate::image;
use crate::meter::{Cancelled, Meter};
use crate::telemetry::names::{STEP_BYTES, STEP_SECONDS};
use crate::wire::report::{StepOutcome, StepReport};
use crate::wire::{Coded, StepProgress, Verb};

/// What a handler is given beside its spec.
#[derive(Clone, Debug)]
pub struct Context {
    /// The devices that it may touch.
    pub access: Access,
    /// How images are fetched, and which are taken.
    pub images: image::Settings,
    /// Whether all is to be on the media before it is said to have succeeded: the power will be switched then.
    pub flush: bool,
    /// Cancelled when it shall stop.
    pub cancel: CancellationToken,
    /// Where it shows how far it is.
    pub progress: watch::Sender<Option<StepProgress>>,
}

/// Runs the steps of a handler, one after another, and keeps their reports.
#[derive(Debug)]
pub struct Steps<'a> {
    context: &'a Context,
    verb: Verb,
    count: usize,
    reports: Vec<StepReport>,
}

impl<'a> Steps<'a> {
    /// For a handler of `count` steps that carries out `verb`.
    #[must_use]
    pub fn new(context: &'a Context, verb: Verb, count: usize) -> Self {
        Self { context, verb, count, reports: Vec::with_capacity(count) }
    }

    /// What the handler was given.
    #[must_use]
    pub fn context(&self) -> &'a Context {
        self.context
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
            return Err(Cancelled.into());
        }
        self.step(name, self.context.cancel.clone(), work).await
    }

    /// Runs the next step although the work may have been cancelled: for the short end of what cannot be undone any more.
    ///
    /// # Errors
    /// What the step says.
    pub async fn finish<T>(
        &mut self,
        name: &'static str,
        work: impl AsyncFnOnce(Meter) -> Result<T, HandlerError>,
    ) -> Result<T, HandlerError> {
        self.step(name, CancellationToken::new(), work).await
    }

    /// The reports of the steps that were begun.
    #[must_use]
    pub fn into_reports(self) -> Vec<StepReport> {
        self.reports
    }

    async fn step<T>(
        &mut self,
        name: &'static str,
        cancel: CancellationToken,
        work: impl AsyncFnOnce(Meter) -> Result<T, HandlerError>,
    ) -> Result<T, HandlerError> {
        let number = u32::try_from(self.reports.len() + 1).unwrap_or(u32::MAX);
        let count = u32::try_from(self.count).unwrap_or(u32::MAX);
        let meter = Meter::new(name, number, count, cancel, self.context.progress.clone());
        let began = Instant::now();
        let result = work(meter.clone()).await;
        let report = StepReport {
            name: name.to_owned(),
            outcome: match &result {
                Ok(_) => StepOutcome::Succeeded,
                Err(error) if error.is_cancelled() => StepOutcome::Cancelled,
                Err(_) => StepOutcome::Failed,
            },
            seconds: began.elapsed().as_secs_f64(),
            bytes: meter.moved(),
            error: result.as_ref().err().map(Coded::report),
        };
        measure(self.verb, name, &report);
        self.reports.push(report);
        result
    }
}

fn measure(verb: Verb, step: &'static str, report: &StepReport) {
    let (verb, outcome) = (verb.as_str(), outcome_label(report.outcome));
    histogram!(STEP_SECONDS, "verb" => verb, "step" => step, "outcome" => outcome).record(report.seconds);
    counter!(STEP_BYTES, "verb" => verb, "step" => step).increment(report.bytes);
}

fn outcome_label(outcome: StepOutcome) -> &'static str {
    match outcome {
        StepOutcome::Succeeded => "succeeded",
        StepOutcome::Failed => "failed",
        StepOutcome::Cancelled => "cancelled",
        StepOutcome::Unknown => "unknown",
    }
}
