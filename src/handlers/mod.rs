//! Carries out what a command asks for, in steps. The same handlers serve the queue, the local command line and the tests.

mod clean;
mod deploy;
mod error;
mod flush;
mod inspect;
mod noop;
mod steps;

pub use error::HandlerError;
pub use steps::{Context, Steps};

use crate::wire::report::{Output, StepReport};
use crate::wire::{Coded as _, ErrorReport, Outcome, Work};

/// How carrying out a command ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Finished {
    /// Succeeded, failed or cancelled.
    pub outcome: Outcome,
    /// Why it did not succeed.
    pub error: Option<ErrorReport>,
    /// The steps that were begun, in their order.
    pub steps: Vec<StepReport>,
    /// What came out. After a failure, what was done before it, where that is worth knowing: disks are erased for good.
    pub output: Option<Output>,
}

/// Carries out a command and never fails to say how it ended, unless a handler panics.
///
/// # Panics
/// When a handler does: whoever runs it on a task of its own reports that.
pub async fn carry_out(work: &Work, context: &Context) -> Finished {
    let mut steps = Steps::new(context, work.verb(), step_count(work) + usize::from(context.flush));
    let mut output = None;
    let result = do_and_flush(work, &mut steps, &mut output).await;
    let outcome = match &result {
        Ok(()) => Outcome::Succeeded,
        Err(error) if error.is_cancelled() => Outcome::Cancelled,
        Err(_) => Outcome::Failed,
    };
    Finished { outcome, error: result.err().map(|error| error.report()), steps: steps.into_reports(), output }
}

async fn do_and_flush(
    work: &Work,
    steps: &mut Steps<'_>,
    output: &mut Option<Output>,
) -> Result<(), HandlerError> {
    let mut written = None;
    match work {
        Work::Inspect(_) => inspect::inspect(steps, output).await?,
        Work::Clean(spec) => clean::clean(spec, steps, output).await?,
        Work::Deploy(spec) => written = Some(deploy::deploy(spec, steps, output).await?),
        Work::Noop(_) => noop::noop(steps, output).await?,
    }
    if steps.context().flush { flush::flush(written, steps).await } else { Ok(()) }
}

fn step_count(work: &Work) -> usize {
    match work {
        Work::Inspect(_) => inspect::STEPS,
        Work::Clean(spec) => clean::steps(spec),
        Work::Deploy(_) => deploy::STEPS,
        Work::Noop(_) => noop::STEPS,
    }
}
