//! A message on its way to the broker, and one that came from it.

use std::fmt;
use std::time::Duration;

use lapin::options::{BasicAckOptions, BasicNackOptions};
use lapin::types::FieldTable;
use lapin::{Acker, BasicProperties, message};
use serde::{Deserialize, Serialize};
use tokio::time::timeout;

use super::error::{AckLost, PublishError};
use super::topology::{self, COMMANDS, EVENTS, JOBS, RESULT_EVENTS};
use super::{Broker, dead};
use crate::wire::{
    CONTENT_TYPE, CommandId, ErrorReport, Event, JobChanged, JobRequest, NodeId, Origin, Payload,
};

/// An acknowledgement only has to leave this process.
const ACK_TIMEOUT: Duration = Duration::from_secs(10);

/// A message to publish. It may be stored and published later. Printed without its body, which may hold secrets.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outgoing {
    /// The exchange; empty for the default one.
    pub exchange: String,
    /// The routing key; on the default exchange, the name of a queue.
    pub routing_key: String,
    /// The body.
    pub body: Vec<u8>,
    /// The content type of the body.
    pub content_type: String,
    /// The `type` of the event.
    pub kind: String,
    /// Names the message: the `id` of the event. It stays the same when the message is published again.
    pub message_id: String,
    /// The command that it is about.
    pub correlation_id: Option<String>,
    /// Whether it is an error that no queue takes it.
    pub mandatory: bool,
    /// After this the broker may drop it unread. Whole milliseconds.
    pub expiration: Option<Duration>,
}

impl Outgoing {
    /// An event, published to be dropped where nobody listens.
    pub fn event<T: Payload>(
        exchange: impl Into<String>,
        routing_key: impl Into<String>,
        event: &Event<T>,
    ) -> Self {
        Self {
            exchange: exchange.into(),
            routing_key: routing_key.into(),
            body: event.encode(),
            content_type: CONTENT_TYPE.into(),
            kind: event.kind.clone(),
            message_id: event.id.clone(),
            correlation_id: None,
            mandatory: false,
            expiration: None,
        }
    }

    /// A command to a node. Mandatory: its queue must be there.
    pub fn command<T: Payload>(event: &Event<T>, node: NodeId) -> Self {
        Self { mandatory: true, ..Self::event(COMMANDS, node.to_string(), event) }
    }

    /// A job to the coordinators. Mandatory.
    #[must_use]
    pub fn job(event: &Event<JobRequest>) -> Self {
        Self { mandatory: true, ..Self::event(JOBS, JOBS, event) }
    }

    /// An event of an agent. Mandatory for those that may not be lost: [`RESULT_EVENTS`].
    pub fn agent_event<T: Payload>(event: &Event<T>, origin: &Origin) -> Self {
        let name = event_name(&event.kind);
        let key = topology::event_routing_key(name, &origin.site, &origin.rack, origin.node);
        Self { mandatory: RESULT_EVENTS.contains(&name), ..Self::event(EVENTS, key, event) }
    }

    /// The news that a job has changed, for whoever listens.
    #[must_use]
    pub fn job_changed(event: &Event<JobChanged>, site: &str, rack: &str) -> Self {
        let key = topology::event_routing_key(event_name(&event.kind), site, rack, event.data.node);
        Self::event(EVENTS, key, event)
    }

    /// Says which command it is about.
    #[must_use]
    pub fn about(self, command: CommandId) -> Self {
        Self { correlation_id: Some(command.to_string()), ..self }
    }

    /// Lets the broker drop it after a time.
    #[must_use]
    pub fn expiring(self, after: Duration) -> Self {
        Self { expiration: Some(after), ..self }
    }
}

impl fmt::Debug for Outgoing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outgoing")
            .field("exchange", &self.exchange)
            .field("routing_key", &self.routing_key)
            .field("kind", &self.kind)
            .field("message_id", &self.message_id)
            .field("correlation_id", &self.correlation_id)
            .field("bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}

/// `result` for `dev.farrier.event.result.v1`; the whole type where it is not made like that.
fn event_name(kind: &str) -> &str {
    kind.strip_prefix("dev.farrier.event.")
        .and_then(|rest| rest.rsplit_once(".v"))
        .map_or(kind, |(name, _version)| name)
}

/// A message from a queue. The broker keeps it until it is acknowledged; one that is dropped comes again when its
/// subscription ends. Printed without its body, which may hold secrets.
pub struct Delivery {
    /// The body.
    pub body: Vec<u8>,
    /// The exchange that it was published to.
    pub exchange: String,
    /// The routing key that it was published with.
    pub routing_key: String,
    /// The name that its sender gave it.
    pub message_id: Option<String>,
    /// The command that it is about.
    pub correlation_id: Option<String>,
    /// The `type` of the event.
    pub kind: Option<String>,
    /// The content type that its sender gave it.
    pub content_type: Option<String>,
    /// The login name of its sender. The broker checks it.
    pub user_id: Option<String>,
    /// Whether it may have been delivered before.
    pub redelivered: bool,
    pub(super) properties: BasicProperties,
    acker: Acker,
}

impl fmt::Debug for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delivery")
            .field("exchange", &self.exchange)
            .field("routing_key", &self.routing_key)
            .field("kind", &self.kind)
            .field("message_id", &self.message_id)
            .field("correlation_id", &self.correlation_id)
            .field("bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}

impl Delivery {
    /// Tells the broker that the message is taken care of.
    ///
    /// # Errors
    /// [`AckLost`]: the message will come again.
    pub async fn ack(self) -> Result<(), AckLost> {
        settled(self.acker.ack(BasicAckOptions::default())).await
    }

    /// Gives the message back to its queue, to come again at once. Pause before the next one if it is the same as before.
    ///
    /// # Errors
    /// [`AckLost`]: it is in its queue all the same.
    pub async fn requeue(self) -> Result<(), AckLost> {
        settled(self.acker.nack(BasicNackOptions { requeue: true, ..BasicNackOptions::default() })).await
    }

    /// Moves the message to `farrier.dead` with the reason, where it can be listed and requeued. It is in one queue or the
    /// other at all times; if the connection is lost in between, in both.
    ///
    /// # Errors
    /// It could not be moved, and is back in its queue.
    pub async fn dead_letter(self, broker: &Broker, why: &ErrorReport) -> Result<(), PublishError> {
        let properties = dead::with_reason(&self, why);
        let buried = broker.publish_raw("", topology::DEAD, true, &self.body, properties).await;
        match buried {
            Ok(()) => {
                dead::count(why.code);
                if let Err(error) = self.ack().await {
                    tracing::warn!(%error, "a message in {} is still in its queue too", topology::DEAD);
                }
                Ok(())
            }
            Err(error) => {
                // Where this is lost, so is the connection, and the message is in its queue.
                let _ = self.requeue().await;
                Err(error)
            }
        }
    }

    /// Whether it can still be acknowledged.
    pub(super) fn is_current(&self) -> bool {
        self.acker.usable()
    }

    pub(super) fn headers(&self) -> Option<&FieldTable> {
        self.properties.headers().as_ref()
    }
}

impl From<message::Delivery> for Delivery {
    fn from(delivery: message::Delivery) -> Self {
        let properties = delivery.properties;
        let owned = |value: &Option<lapin::types::ShortString>| value.as_ref().map(ToString::to_string);
        Self {
            body: delivery.data,
            exchange: delivery.exchange.into(),
            routing_key: delivery.routing_key.into(),
            message_id: owned(properties.message_id()),
            correlation_id: owned(properties.correlation_id()),
            kind: owned(properties.kind()),
            content_type: owned(properties.content_type()),
            user_id: owned(properties.user_id()),
            redelivered: delivery.redelivered,
            properties,
            acker: delivery.acker,
        }
    }
}

/// lapin says `Ok(false)` where nothing was sent because the channel is gone.
async fn settled(sent: impl Future<Output = lapin::Result<bool>>) -> Result<(), AckLost> {
    match timeout(ACK_TIMEOUT, sent).await {
        Ok(Ok(true)) => Ok(()),
        Ok(Ok(false) | Err(_)) | Err(_) => Err(AckLost),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{BootId, CancelCommand, CommandRef, JobId, Log};

    fn origin() -> Origin {
        Origin { node: NodeId::new(), site: "iad1".into(), rack: "r12".into(), boot_id: BootId::new() }
    }

    #[test]
    fn an_agent_event_has_the_place_of_its_node_in_the_routing_key() {
        let origin = origin();
        let log = Log { origin: origin.clone(), level: "info".into(), message: "x".into(), command: None };
        let out = Outgoing::agent_event(&Event::new("/agents/x", "x", log), &origin);
        assert_eq!(out.exchange, EVENTS);
        assert_eq!(out.routing_key, format!("log.iad1.r12.{}", origin.node));
        assert!(!out.mandatory, "telemetry may be dropped");
    }

    #[test]
    fn a_message_is_printed_without_its_body() {
        let log = Log { origin: origin(), level: "info".into(), message: "hunter2".into(), command: None };
        let out = Outgoing::agent_event(&Event::new("/agents/x", "x", log), &origin());
        let printed = format!("{out:?}");
        assert!(
            printed.contains(&out.message_id) && !printed.contains(&format!("{:?}", out.body)),
            "{printed}"
        );
    }

    #[test]
    fn what_may_not_be_lost_is_mandatory() {
        let origin = origin();
        let reference = CommandRef { job: JobId::new(), command: CommandId::new(), attempt: 1 };
        let accepted = crate::wire::Accepted { origin: origin.clone(), reference, sequence: 0 };
        assert!(Outgoing::agent_event(&Event::new("/agents/x", "x", accepted), &origin).mandatory);
        let cancel = CancelCommand { reference, node: origin.node, reason: "x".into() };
        let out =
            Outgoing::command(&Event::new("/coordinator", "x", cancel), origin.node).about(reference.command);
        assert!(out.mandatory);
        assert_eq!(out.routing_key, origin.node.to_string());
        assert_eq!(out.correlation_id, Some(reference.command.to_string()));
    }
}
