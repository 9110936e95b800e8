//! The one operation that the agent carries out, as its other parts see it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use farrier::wire::{
    AgentState, CommandId, CommandRef, FreshImageUrls, ImageUrlCommand, Running, StepProgress, Verb,
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::ledger::Occupation;

/// A command that was accepted.
#[derive(Debug)]
pub(crate) struct Operation {
    /// Which attempt.
    pub(crate) reference: CommandRef,
    /// The verb.
    pub(crate) verb: Verb,
    /// Cancelled when it shall stop.
    pub(crate) cancel: CancellationToken,
    /// Where its handler shows how far it is.
    pub(crate) progress: watch::Sender<Option<StepProgress>>,
    /// The answer that came last to the question for fresh URLs of its image.
    pub(crate) image_urls: watch::Sender<Option<FreshImageUrls>>,
    sequence: AtomicU64,
}

impl Operation {
    /// A command that is about to begin.
    pub(crate) fn new(reference: CommandRef, verb: Verb) -> Self {
        Self {
            reference,
            verb,
            cancel: CancellationToken::new(),
            progress: watch::Sender::new(None),
            image_urls: watch::Sender::new(None),
            sequence: AtomicU64::new(0),
        }
    }

    /// The number of the next message about this command, from 1.
    pub(crate) fn next_sequence(&self) -> u64 {
        self.sequence.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// What is told about it in a heartbeat.
    pub(crate) fn running(&self) -> Running {
        Running { reference: self.reference, verb: self.verb, progress: self.progress.borrow().clone() }
    }
}

/// Whether an operation runs, and whether another may begin. Cheap to clone; all clones are the same desk.
#[derive(Clone, Debug)]
pub(crate) struct Desk {
    state: watch::Sender<State>,
}

#[derive(Clone, Debug, Default)]
struct State {
    operation: Option<Arc<Operation>>,
    draining: bool,
}

impl Desk {
    /// An empty desk.
    pub(crate) fn new() -> Self {
        Self { state: watch::Sender::new(State::default()) }
    }

    /// What a new command would meet.
    pub(crate) fn occupation(&self) -> Occupation {
        let state = self.state.borrow();
        match &state.operation {
            Some(operation) => Occupation::Busy(operation.reference),
            None if state.draining => Occupation::Draining,
            None => Occupation::Idle,
        }
    }

    /// The word for it on the wire.
    pub(crate) fn agent_state(&self) -> AgentState {
        let state = self.state.borrow();
        match (state.draining, &state.operation) {
            (true, _) => AgentState::Draining,
            (false, Some(_)) => AgentState::Busy,
            (false, None) => AgentState::Idle,
        }
    }

    /// The operation that runs.
    pub(crate) fn operation(&self) -> Option<Arc<Operation>> {
        self.state.borrow().operation.clone()
    }

    /// Puts an operation on the desk.
    pub(crate) fn occupy(&self, operation: Arc<Operation>) {
        metrics::gauge!(farrier::telemetry::names::BUSY).set(1.0);
        self.state.send_modify(|state| state.operation = Some(operation));
    }

    /// Clears the desk.
    pub(crate) fn clear(&self) {
        metrics::gauge!(farrier::telemetry::names::BUSY).set(0.0);
        self.state.send_modify(|state| state.operation = None);
    }

    /// Lets nothing begin from now on.
    pub(crate) fn drain(&self) {
        self.state.send_modify(|state| state.draining = true);
    }

    /// Tells the operation to stop if it is the one named; says whether it is.
    pub(crate) fn cancel(&self, command: CommandId) -> bool {
        match self.operation() {
            Some(operation) if operation.reference.command == command => {
                operation.cancel.cancel();
                true
            }
            _ => false,
        }
    }

    /// Hands fresh URLs to the operation if they are for it; says whether they are.
    pub(crate) fn give_image_urls(&self, command: ImageUrlCommand) -> bool {
        match self.operation() {
            Some(operation) if operation.reference == command.reference => {
                operation.image_urls.send_replace(Some(command.answer));
                true
            }
            _ => false,
        }
    }

    /// Waits until an operation is on the desk.
    pub(crate) async fn occupied(&self) -> Arc<Operation> {
        let mut state = self.state.subscribe();
        // The sender is `self`: it cannot be gone.
        match state.wait_for(|state| state.operation.is_some()).await.map(|state| state.operation.clone()) {
            Ok(Some(operation)) => operation,
            _ => std::future::pending().await,
        }
    }

    /// Waits until this operation is no longer on the desk.
    pub(crate) async fn left(&self, operation: &Arc<Operation>) {
        let mut state = self.state.subscribe();
        let left = state
            .wait_for(|state| !state.operation.as_ref().is_some_and(|other| Arc::ptr_eq(other, operation)));
        if left.await.is_err() {
            std::future::pending().await
        }
    }

    /// Waits until nothing is on the desk.
    pub(crate) async fn cleared(&self) {
        let mut state = self.state.subscribe();
        if state.wait_for(|state| state.operation.is_none()).await.is_err() {
            std::future::pending().await
        }
    }
}

impl Default for Desk {
    fn default() -> Self {
        Self::new()
    }
}
