//! RabbitMQ: one supervised connection, confirmed publishing, and subscriptions that survive whatever happens to it.
//!
//! A [`Broker`] connects by itself and connects again whenever the connection is lost. lapin's own recovery is not used: it
//! does not bring back a channel that was closed alone, nor a subscription that the broker cancelled.
//!
//! - [`topology`] names and declares every exchange and queue;
//! - [`Outgoing`] is a message to publish, [`Delivery`] one that came;
//! - [`Broker::publish`] returns when the broker has the message, [`Subscription::next`] when there is one.

mod backoff;
mod config;
mod connection;
mod dead;
mod error;
mod message;
mod publish;
mod subscribe;
mod supervisor;
pub mod topology;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lapin::{BasicProperties, Channel};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

pub use config::{BadBrokerUrl, BrokerConfig, BrokerUrl};
pub use dead::DeadLetter;
pub use error::{AckLost, BrokerError, ConnectError, PublishError};
pub use message::{Delivery, Outgoing};
pub use subscribe::{Subscription, SubscriptionState};
pub use supervisor::{Role, Status};

use crate::wire::NodeId;
use supervisor::{Session, Shared};

/// Bound on [`Broker::close`].
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);
/// Bound on declaring or deleting one queue.
const QUEUE_TIMEOUT: Duration = Duration::from_secs(10);

/// A connection to the broker that is kept up. Clones share it; it ends with the last of them, or with [`Broker::close`].
#[derive(Clone, Debug)]
pub struct Broker {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    shared: Arc<Shared>,
    supervisor: Mutex<Option<JoinHandle<()>>>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.shared.stop.cancel();
    }
}

impl Broker {
    /// Starts to connect, and never gives up: between attempts it waits for up to 30 s, with full jitter. A coordinator
    /// declares all exchanges and queues at each connection, before anyone else may use it.
    ///
    /// # Panics
    /// Outside a Tokio runtime.
    #[must_use]
    pub fn start(config: BrokerConfig, role: Role) -> Self {
        let shared = Arc::new(Shared::new());
        let supervisor = tokio::spawn(supervisor::supervise(config, role, shared.clone()));
        Self { inner: Arc::new(Inner { shared, supervisor: Mutex::new(Some(supervisor)) }) }
    }

    /// How the connection is, now and later.
    #[must_use]
    pub fn status(&self) -> watch::Receiver<Status> {
        self.inner.shared.status.subscribe()
    }

    /// Waits until there is a connection. Returns at once when the broker is closed; publishing then fails.
    pub async fn connected(&self) {
        let _ = self.inner.shared.wait_for_session().await;
    }

    /// Publishes a message, persistent, and waits for up to 10 s until the broker has confirmed it. Does not wait for a
    /// connection.
    ///
    /// # Errors
    /// The message is not known to be with the broker. It may be there all the same, so that publishing it again may double
    /// it: readers tell by `message_id`.
    pub async fn publish(&self, message: Outgoing) -> Result<(), PublishError> {
        let session = self.publishing_session()?;
        let published = session.publisher.publish(&message).await;
        self.noting(published)
    }

    /// Takes messages from a queue, at most `prefetch` that are not acknowledged (and at least one). Survives the loss of the
    /// connection, a channel closed alone, a consumer cancelled by the broker, and a queue that is missing.
    pub fn subscribe(&self, queue: impl Into<String>, prefetch: u16) -> Subscription {
        Subscription::start(self.inner.shared.clone(), queue.into(), prefetch)
    }

    /// Declares the queue of a node, where it is not there yet.
    ///
    /// # Errors
    /// Not connected, no answer within 10 s, or refused.
    pub async fn declare_node_queue(&self, node: NodeId) -> Result<(), BrokerError> {
        let action = format!("declare the queue {}", topology::node_queue(node));
        self.on_channel(action, async |channel| topology::declare_node_queue(&channel, node).await).await
    }

    /// Deletes the queue of a node with the commands in it, where it is there.
    ///
    /// # Errors
    /// Not connected, no answer within 10 s, or refused.
    pub async fn delete_node_queue(&self, node: NodeId) -> Result<(), BrokerError> {
        let action = format!("delete the queue {}", topology::node_queue(node));
        self.on_channel(action, async |channel| topology::delete_node_queue(&channel, node).await).await
    }

    /// Lists up to `limit` messages that were put aside, and leaves them where they are. Someone who lists at the same time
    /// sees the others.
    ///
    /// # Errors
    /// Not connected, no answer within 30 s, or refused.
    pub async fn get_dead(&self, limit: usize) -> Result<Vec<DeadLetter>, BrokerError> {
        dead::list(&*self.session("list the dead letters")?, limit).await
    }

    /// Sends a message that was put aside to where it was published first, and removes it once the broker has it there.
    ///
    /// # Errors
    /// There is none of that [`DeadLetter::id`] among the first 10,000; or it could not be sent, and is still put aside.
    pub async fn requeue_dead(&self, id: &str) -> Result<(), BrokerError> {
        dead::requeue(&*self.session("requeue a dead letter")?, id).await
    }

    /// Ends the connection and all subscriptions, within five seconds.
    pub async fn close(&self) {
        self.inner.shared.stop.cancel();
        let supervisor = self.inner.supervisor.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(mut supervisor) = supervisor else {
            // Another clone is closing it.
            let _ = timeout(CLOSE_TIMEOUT, self.inner.shared.closed.cancelled()).await;
            return;
        };
        match timeout(CLOSE_TIMEOUT, &mut supervisor).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(%error, "the supervisor of the broker connection failed"),
            Err(_) => supervisor.abort(),
        }
    }

    async fn publish_raw(
        &self,
        exchange: &str,
        routing_key: &str,
        mandatory: bool,
        body: &[u8],
        properties: BasicProperties,
    ) -> Result<(), PublishError> {
        let session = self.publishing_session()?;
        let publisher = &session.publisher;
        let published = publisher.publish_raw(exchange, routing_key, mandatory, body, properties).await;
        self.noting(published)
    }

    fn publishing_session(&self) -> Result<Arc<Session>, PublishError> {
        self.session("publish").map_err(|_| PublishError::Disconnected { reason: self.why_disconnected() })
    }

    fn session(&self, action: &str) -> Result<Arc<Session>, BrokerError> {
        self.inner.shared.session().ok_or_else(|| BrokerError::Disconnected {
            action: action.to_owned(),
            reason: self.why_disconnected(),
        })
    }

    fn why_disconnected(&self) -> String {
        match &*self.inner.shared.status.borrow() {
            Status::Connecting { error: Some(error), .. } => error.message.clone(),
            Status::Connecting { error: None, .. } => "still connecting".into(),
            Status::Connected { .. } => "the connection was just lost".into(),
            Status::Closed => "it was closed".into(),
        }
    }

    /// After a failure, has the connection looked at without delay.
    fn noting<T>(&self, published: Result<T, PublishError>) -> Result<T, PublishError> {
        if matches!(published, Err(PublishError::Disconnected { .. } | PublishError::TimedOut { .. })) {
            self.inner.shared.nudge.notify_one();
        }
        published
    }

    async fn on_channel(
        &self,
        action: String,
        work: impl AsyncFnOnce(Channel) -> Result<(), BrokerError>,
    ) -> Result<(), BrokerError> {
        let session = self.session(&action)?;
        let working = async {
            let channel = session.link.connection.create_channel().await;
            work(channel.map_err(|error| BrokerError::from_lapin(&error, action.as_str()))?).await
        };
        timeout(QUEUE_TIMEOUT, working)
            .await
            .unwrap_or_else(|_| Err(BrokerError::TimedOut { action: action.clone(), after: QUEUE_TIMEOUT }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Event, StatusCommand};

    fn crosses_threads<T: Send>(future: T) -> T {
        future
    }

    #[tokio::test]
    async fn without_a_connection_nothing_waits_and_everything_may_be_spawned() {
        let url = "amqp://u:s3cret@127.0.0.1:1".parse().unwrap();
        let broker =
            Broker::start(BrokerConfig { url, ca: None, connection_name: "test".into() }, Role::Agent);
        let node = NodeId::new();
        let message = Outgoing::command(&Event::new("/test", "x", StatusCommand { node }), node);
        let error = crosses_threads(broker.publish(message)).await.unwrap_err();
        assert!(matches!(error, PublishError::Disconnected { .. }), "{error}");
        for failed in [
            crosses_threads(broker.declare_node_queue(node)).await,
            crosses_threads(broker.delete_node_queue(node)).await,
            crosses_threads(broker.get_dead(1)).await.map(drop),
            crosses_threads(broker.requeue_dead("x")).await,
        ] {
            assert!(matches!(failed, Err(BrokerError::Disconnected { .. })), "{failed:?}");
        }
        let mut subscription = broker.subscribe("x", 1);
        crosses_threads(broker.close()).await;
        assert!(crosses_threads(subscription.next()).await.is_none());
        assert!(!format!("{broker:?}").contains("s3cret"));
    }
}
