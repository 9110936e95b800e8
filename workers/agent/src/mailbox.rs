//! Takes the commands of this node. Each is checked, accepted with a confirm, acked, and only then begun, so that no delivery
//! is held while work runs; cancel, status and fresh URLs are served meanwhile.

use std::sync::Arc;

use chrono::Utc;
use farrier::broker::{Broker, Delivery, Outgoing, PublishError};
use farrier::wire::{
    Accepted, CancelCommand, Coded, Command, DecodeError, ErrorCode, ErrorReport, Outcome, RunCommand,
};
use tokio::sync::{Notify, mpsc};
use tracing::{info, warn};

use crate::identity::Identity;
use crate::journal::Journal;
use crate::ledger::{Ledger, Verdict};
use crate::operation::{Desk, Operation};
use crate::outbox::Outbox;
use crate::runner::{Begin, refusal};

/// How many commands may be on their way to this agent at once. More than one, so that a cancel is never behind a command.
const PREFETCH: u16 = 8;

/// What the mailbox needs of the rest of the agent.
#[derive(Debug)]
pub(crate) struct Mailbox {
    /// Who this agent is.
    pub(crate) identity: Identity,
    /// The connection.
    pub(crate) broker: Broker,
    /// Whether an operation runs.
    pub(crate) desk: Desk,
    /// Where refusals go.
    pub(crate) outbox: Outbox,
    /// Where it is said what was refused.
    pub(crate) journal: Journal,
    /// Where accepted commands go.
    pub(crate) begin: mpsc::Sender<Begin>,
    /// Told when a heartbeat is wanted at once.
    pub(crate) beat: Arc<Notify>,
}

impl Mailbox {
    /// Takes commands until the broker is closed.
    pub(crate) async fn run(self) {
        let origin = self.identity.origin();
        let mut ledger = Ledger::new(origin.node, origin.boot_id);
        let mut commands =
            self.broker.subscribe(farrier::broker::topology::node_queue(origin.node), PREFETCH);
        while let Some(delivery) = commands.next().await {
            match Command::decode(&delivery.body) {
                Ok(Command::Run(command)) => self.take(&mut ledger, *command, delivery).await,
                Ok(Command::Cancel(cancel)) => {
                    self.cancel(&mut ledger, &cancel);
                    ack(delivery).await;
                }
                Ok(Command::Status(_)) => {
                    self.beat.notify_one();
                    ack(delivery).await;
                }
                Ok(Command::ImageUrl(command)) => {
                    let job = command.reference.job;
                    let running = self.desk.give_image_urls(*command);
                    info!(%job, running, "Sent fresh URLs of an image.");
                    ack(delivery).await;
                }
                Err(error) => self.put_aside(delivery, &error).await,
            }
        }
    }

    async fn take(&self, ledger: &mut Ledger, command: RunCommand, delivery: Delivery) {
        let reference = command.reference;
        match ledger.judge(&command, self.desk.occupation(), Utc::now()) {
            Verdict::Accept => {
                let operation = Arc::new(Operation::new(reference, command.work.verb()));
                if let Err(error) = self.accept(&operation).await {
                    warn!(job = %reference.job, error = %error.report(), "Not accepted: the broker did not confirm it.");
                    requeue(delivery).await;
                    return;
                }
                ledger.took(reference);
                // An ack that is lost brings the command again, and the ledger knows it.
                ack(delivery).await;
                self.desk.occupy(Arc::clone(&operation));
                // The runner takes the next one only when the desk is clear, and it was: there is room.
                if self
                    .begin
                    .send(Begin { operation, work: command.work, afterwards: command.afterwards })
                    .await
                    .is_err()
                {
                    self.desk.clear();
                }
            }
            Verdict::Duplicate => {
                info!(job = %reference.job, attempt = reference.attempt, "Seen before: ignored.");
                ack(delivery).await;
            }
            Verdict::Reject(error) => {
                warn!(job = %reference.job, attempt = reference.attempt, %error, "Refused.");
                self.journal.warn(reference, format!("{} refused: {error}", command.work.verb()));
                self.outbox.send(refusal(&self.identity, reference, Outcome::Rejected, error));
                ack(delivery).await;
            }
            Verdict::CancelledBefore => {
                ledger.took(reference);
                let error = ErrorReport::new(ErrorCode::Cancelled, "cancelled before it was begun");
                self.outbox.send(refusal(&self.identity, reference, Outcome::Cancelled, error));
                ack(delivery).await;
            }
        }
    }

    async fn accept(&self, operation: &Operation) -> Result<(), PublishError> {
        let accepted = Accepted {
            origin: self.identity.origin().clone(),
            reference: operation.reference,
            sequence: operation.next_sequence(),
        };
        let event = self.identity.event(accepted);
        let accepted = Outgoing::agent_event(&event, self.identity.origin());
        self.broker.publish(accepted.about(operation.reference.command)).await
    }

    fn cancel(&self, ledger: &mut Ledger, cancel: &CancelCommand) {
        let running = self.desk.cancel(cancel.reference.command);
        info!(job = %cancel.reference.job, reason = cancel.reason, running, "Told to cancel.");
        if !running {
            ledger.cancelled(cancel.reference.command);
        }
    }

    async fn put_aside(&self, delivery: Delivery, error: &DecodeError) {
        warn!(%error, code = %error.code(), "A command that cannot be read; it goes to farrier.dead.");
        if let Err(error) = delivery.dead_letter(&self.broker, &ErrorReport::from(error)).await {
            warn!(%error, "It could not be put aside and will come again.");
        }
    }
}

async fn ack(delivery: Delivery) {
    if let Err(error) = delivery.ack().await {
        warn!(%error, "The ack was lost; the command will come again and be known.");
    }
}

async fn requeue(delivery: Delivery) {
    if let Err(error) = delivery.requeue().await {
        warn!(%error, "It could not be given back; the broker does so when it sees the channel gone.");
    }
}
