//! A client of the broker that sees every message, and can send any again.

use std::time::Duration;

use futures_util::StreamExt as _;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, QueueBindOptions, QueueDeclareOptions,
};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties, Consumer};
use serde_json::Value;
use tokio::time::timeout;

/// A message as it was published.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) exchange: String,
    pub(crate) routing_key: String,
    pub(crate) event: Value,
}

impl Seen {
    pub(crate) fn is(&self, kind: &str, job: &str) -> bool {
        self.event["type"] == kind && self.event["data"]["job"] == job
    }
}

pub(crate) struct Tap {
    channel: Channel,
    consumer: Consumer,
    _connection: Connection,
}

impl Tap {
    /// Sees what is published from now on: all events, and the commands of `node`.
    pub(crate) async fn open(broker: &str, node: &str) -> Self {
        let connection = Connection::connect(broker, ConnectionProperties::default()).await.unwrap();
        let channel = connection.create_channel().await.unwrap();
        let exclusive = QueueDeclareOptions { exclusive: true, ..QueueDeclareOptions::default() };
        let queue = channel.queue_declare("".into(), exclusive, FieldTable::default()).await.unwrap();
        for (exchange, key) in [("farrier.events", "#"), ("farrier.commands", node)] {
            channel
                .queue_bind(
                    queue.name().clone(),
                    exchange.into(),
                    key.into(),
                    QueueBindOptions::default(),
                    FieldTable::default(),
                )
                .await
                .unwrap();
        }
        let consumer = channel
            .basic_consume(
                queue.name().clone(),
                "".into(),
                BasicConsumeOptions::default(),
                FieldTable::default(),
            )
            .await
            .unwrap();
        Self { channel, consumer, _connection: connection }
    }

    /// The next message that `wanted` wants.
    pub(crate) async fn next(&mut self, what: &str, wanted: impl Fn(&Seen) -> bool) -> Seen {
        self.until(what, wanted).await.pop().unwrap()
    }

    /// All messages up to the first that `wanted` wants, that one included. JSON alone: a body that is none is passed over.
    pub(crate) async fn until(&mut self, what: &str, wanted: impl Fn(&Seen) -> bool) -> Vec<Seen> {
        let looking = async {
            let mut all = Vec::new();
            loop {
                let delivery = self.consumer.next().await.unwrap().unwrap();
                delivery.ack(BasicAckOptions::default()).await.unwrap();
                let Ok(event) = serde_json::from_slice(&delivery.data) else { continue };
                let seen = Seen {
                    exchange: delivery.exchange.to_string(),
                    routing_key: delivery.routing_key.to_string(),
                    event,
                };
                let found = wanted(&seen);
                all.push(seen);
                if found {
                    return all;
                }
            }
        };
        timeout(Duration::from_secs(60), looking).await.unwrap_or_else(|_| panic!("{what} did not come"))
    }

    /// Publishes a message.
    pub(crate) async fn publish(&self, seen: &Seen) {
        self.publish_bytes(&seen.exchange, &seen.routing_key, &serde_json::to_vec(&seen.event).unwrap())
            .await;
    }

    pub(crate) async fn publish_bytes(&self, exchange: &str, routing_key: &str, body: &[u8]) {
        self.channel
            .basic_publish(
                exchange.into(),
                routing_key.into(),
                BasicPublishOptions::default(),
                body,
                BasicProperties::default().with_content_type("application/cloudevents+json".into()),
            )
            .await
            .unwrap();
    }
}
