//! Results on their way to the broker. None is given up: each is kept until the broker has confirmed it.

use farrier::broker::{Broker, Outgoing};
use farrier::telemetry::names;
use farrier::wire::{Coded, CommandResult};
use tokio::sync::{mpsc, watch};
use tracing::warn;

use crate::backoff::pause;
use crate::identity::Identity;

/// Takes results. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Outbox {
    queue: mpsc::UnboundedSender<CommandResult>,
    depth: watch::Sender<u64>,
}

/// The other end of the outbox: what [`run`] sends from.
#[derive(Debug)]
pub(crate) struct Unsent {
    queue: mpsc::UnboundedReceiver<CommandResult>,
    depth: watch::Sender<u64>,
}

/// An empty outbox. It has no bound of its own: what enters is bounded by the mailbox, which takes one command at a time.
pub(crate) fn outbox() -> (Outbox, Unsent) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let depth = watch::Sender::new(0);
    (Outbox { queue: sender, depth: depth.clone() }, Unsent { queue: receiver, depth })
}

impl Outbox {
    /// Puts a result in.
    pub(crate) fn send(&self, result: CommandResult) {
        self.depth.send_modify(|depth| *depth += 1);
        // The receiver lives as long as the agent: when it is gone, the process ends with its error.
        let _ = self.queue.send(result);
    }

    /// Waits until everything has been confirmed.
    pub(crate) async fn flushed(&self) {
        // The sender is `self`: it cannot be gone.
        let _ = self.depth.subscribe().wait_for(|depth| *depth == 0).await;
    }
}

/// Sends what is in the outbox, oldest first, each until it is confirmed.
pub(crate) async fn run(mut unsent: Unsent, identity: Identity, broker: Broker) {
    while let Some(result) = unsent.queue.recv().await {
        report(&unsent.depth);
        let command = result.reference.command;
        let event = identity.event(result);
        let mut tries = 0;
        while let Err(error) =
            broker.publish(Outgoing::agent_event(&event, identity.origin()).about(command)).await
        {
            warn!(job = %event.data.reference.job, error = %error.report(), "A result was not confirmed; it is kept.");
            pause(tries).await;
            tries += 1;
        }
        unsent.depth.send_modify(|depth| *depth -= 1);
        report(&unsent.depth);
    }
}

#[expect(clippy::cast_precision_loss, reason = "a gauge of at most thousands")]
fn report(depth: &watch::Sender<u64>) {
    metrics::gauge!(names::OUTBOX_DEPTH).set(*depth.borrow() as f64);
}
