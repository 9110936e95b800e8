//! Carries out commands, one after another, and turns whatever becomes of them into results.

use std::any::Any;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use farrier::broker::Broker;
use farrier::disk::Access;
use farrier::handlers::{self, Context, Finished};
use farrier::image;
use farrier::telemetry::names;
use farrier::wire::{Afterwards, CommandRef, CommandResult, ErrorCode, ErrorReport, Outcome, Verb, Work};
use tokio::sync::mpsc;
use tokio::task::JoinError;
use tracing::{info, warn};

use crate::afterwards;
use crate::fresh_urls::Asker;
use crate::identity::Identity;
use crate::journal::Journal;
use crate::machine::Machine;
use crate::operation::{Desk, Operation};
use crate::outbox::Outbox;

/// A command that was accepted and acked: it may begin.
#[derive(Debug)]
pub(crate) struct Begin {
    /// What the rest of the agent sees of it.
    pub(crate) operation: Arc<Operation>,
    /// What to do.
    pub(crate) work: Work,
    /// What to do when it has succeeded.
    pub(crate) afterwards: Afterwards,
}

/// What every operation is given.
#[derive(Clone, Debug)]
pub(crate) struct Means {
    /// The devices that it may touch.
    pub(crate) access: Access,
    /// How images are fetched, and which are taken.
    pub(crate) images: image::Settings,
    /// The power of the machine.
    pub(crate) machine: Machine,
    /// The connection, to ask for fresh URLs of an image.
    pub(crate) broker: Broker,
    /// Where it is said what was begun and ended.
    pub(crate) journal: Journal,
}

/// Carries out what comes, until the sender is gone.
pub(crate) async fn run(
    mut begin: mpsc::Receiver<Begin>,
    identity: Identity,
    means: Means,
    desk: Desk,
    outbox: Outbox,
) {
    while let Some(Begin { operation, work, afterwards }) = begin.recv().await {
        let started_at = Utc::now();
        info!(job = %operation.reference.job, attempt = operation.reference.attempt, verb = %operation.verb, "Begun.");
        means.journal.info(operation.reference, format!("{} begins", operation.verb));
        let flush = afterwards != Afterwards::Stay;
        let finished = carry_out(work, flush, &operation, &identity, means.clone()).await;
        ended(&operation, &finished, started_at, &means.journal);
        let goes = flush && finished.outcome == Outcome::Succeeded;
        if goes {
            // Before the desk is clear: nothing may begin in between.
            desk.drain();
        }
        let sequence = operation.next_sequence();
        outbox.send(result(&identity, operation.reference, sequence, started_at, finished));
        desk.clear();
        if goes && let Some(power) = afterwards::power(afterwards) {
            let Means { machine, journal, .. } = &means;
            afterwards::switch(power, operation.reference, machine, &outbox, journal).await;
        }
    }
}

/// Runs the handler in a task of its own, so that its panic is a failed result and not the end of the agent.
async fn carry_out(
    work: Work,
    flush: bool,
    operation: &Arc<Operation>,
    identity: &Identity,
    means: Means,
) -> Finished {
    let asker = Asker {
        operation: Arc::clone(operation),
        identity: identity.clone(),
        broker: means.broker,
        journal: means.journal,
    };
    let context = Context {
        access: means.access,
        images: image::Settings { fresh_urls: Some(Arc::new(asker)), ..means.images },
        flush,
        cancel: operation.cancel.clone(),
        progress: operation.progress.clone(),
    };
    match tokio::spawn(async move { handlers::carry_out(&work, &context).await }).await {
        Ok(finished) => finished,
        Err(error) => panicked(operation.verb, error),
    }
}

fn panicked(verb: Verb, error: JoinError) -> Finished {
    let said = match error.try_into_panic() {
        Ok(payload) => panic_message(payload.as_ref()),
        Err(_) => "its task was aborted".to_owned(),
    };
    let message =
        format!("the handler of {verb} panicked: {said}; this is a fault in Farrier, please report it");
    Finished {
        outcome: Outcome::Failed,
        error: Some(ErrorReport::new(ErrorCode::Panic, message)),
        steps: Vec::new(),
        output: None,
    }
}

fn panic_message(payload: &(dyn Any + Send)) -> String {
    payload
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "without a message".to_owned())
}

/// Logs and counts the end of an operation, in one place.
fn ended(operation: &Operation, finished: &Finished, started_at: DateTime<Utc>, journal: &Journal) {
    let CommandRef { job, attempt, .. } = operation.reference;
    let outcome = match finished.outcome {
        Outcome::Succeeded => "succeeded",
        Outcome::Cancelled => "cancelled",
        _ => "failed",
    };
    let seconds = (Utc::now() - started_at).as_seconds_f64();
    match &finished.error {
        None => {
            info!(%job, attempt, verb = %operation.verb, outcome, seconds, "Ended.");
            journal.info(operation.reference, format!("{} {outcome}", operation.verb));
        }
        Some(error) => {
            warn!(%job, attempt, verb = %operation.verb, outcome, seconds, %error, "Ended.");
            journal.warn(operation.reference, format!("{} {outcome}: {error}", operation.verb));
        }
    }
    let verb = operation.verb.as_str();
    metrics::counter!(names::COMMANDS_TOTAL, "verb" => verb, "outcome" => outcome).increment(1);
    metrics::histogram!(names::ATTEMPT_SECONDS, "verb" => verb, "outcome" => outcome).record(seconds);
}

/// The result of a command that was begun.
fn result(
    identity: &Identity,
    reference: CommandRef,
    sequence: u64,
    started_at: DateTime<Utc>,
    finished: Finished,
) -> CommandResult {
    CommandResult {
        origin: identity.origin().clone(),
        reference,
        sequence,
        outcome: finished.outcome,
        error: finished.error,
        started_at,
        finished_at: Utc::now(),
        steps: finished.steps,
        output: finished.output,
    }
}

/// The result of a command that was never begun.
pub(crate) fn refusal(
    identity: &Identity,
    reference: CommandRef,
    outcome: Outcome,
    error: ErrorReport,
) -> CommandResult {
    let now = Utc::now();
    CommandResult {
        origin: identity.origin().clone(),
        reference,
        sequence: 1,
        outcome,
        error: Some(error),
        started_at: now,
        finished_at: now,
        steps: Vec::new(),
        output: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_a_failed_result() {
        let error = tokio::spawn(async { panic!("disk {} is made of cheese", 7) }).await.unwrap_err();
        let finished = panicked(Verb::Clean, error);
        let error = finished.error.unwrap();
        assert_eq!((finished.outcome, error.code), (Outcome::Failed, ErrorCode::Panic));
        assert!(error.message.contains("clean panicked: disk 7 is made of cheese"), "{}", error.message);
    }
}
