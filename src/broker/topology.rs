//! Every exchange, queue, binding and argument of Farrier, in this one place.
//!
//! Nothing here is newer than RabbitMQ 3.10, and declaring it again changes nothing. The queue of a node is declared when
//! the node is enrolled, the rest whenever a coordinator connects.

use std::time::Duration;

use lapin::options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions, QueueDeleteOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, ExchangeKind};

use super::error::BrokerError;
use crate::wire::NodeId;

/// The exchange, the queue and the routing key of jobs from automation.
pub const JOBS: &str = "farrier.jobs";
/// The exchange of commands; the routing key is the UUID of the node.
pub const COMMANDS: &str = "farrier.commands";
/// The exchange of events; routing keys are made by [`event_routing_key`].
pub const EVENTS: &str = "farrier.events";
/// The queue of what nobody could process, reached through the default exchange.
pub const DEAD: &str = "farrier.dead";
/// The queue of events that may not be lost: [`RESULT_EVENTS`].
pub const RESULTS: &str = "farrier.coordinator.results";
/// The queue of events of which only the newest matter: [`TELEMETRY_EVENTS`].
pub const TELEMETRY: &str = "farrier.coordinator.telemetry";
/// The first words of the routing keys that go to [`RESULTS`].
pub const RESULT_EVENTS: &[&str] = &["hello", "accepted", "result", "image_url_wanted"];
/// The first words of the routing keys that go to [`TELEMETRY`].
pub const TELEMETRY_EVENTS: &[&str] = &["heartbeat", "progress", "log"];

/// After this, telemetry that no coordinator has read is of no use to anyone.
const TELEMETRY_TTL: Duration = Duration::from_secs(120);
/// Telemetry of a fleet of thousands for some seconds; older ones are dropped first.
const TELEMETRY_MAX_LENGTH: i32 = 50_000;
/// RabbitMQ 4 drops a message from a quorum queue that came back 20 times. Messages here come back whenever a store is full
/// or someone lists them, so the limit is put out of reach; 3.10 does not take `-1` for "none".
const DELIVERY_LIMIT: i32 = 1_000_000_000;

/// The queue with the commands of a node.
#[must_use]
pub fn node_queue(node: NodeId) -> String {
    format!("farrier.node.{node}")
}

/// The routing key of an event: `<event>.<site>.<rack>.<node>`. `site` and `rack` must have passed [`check_word`].
#[must_use]
pub fn event_routing_key(event: &str, site: &str, rack: &str, node: NodeId) -> String {
    format!("{event}.{site}.{rack}.{node}")
}

/// A text that cannot be one word of a routing key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name} is {found:?}: expected 1 to 64 letters, digits, `-` or `_`")]
pub struct BadWord {
    name: &'static str,
    found: String,
}

impl crate::wire::Coded for BadWord {
    fn code(&self) -> crate::wire::ErrorCode {
        crate::wire::ErrorCode::BadConfig
    }
}

/// Checks that `word`, called `name` in messages, can be one word of a routing key: `[A-Za-z0-9_-]{1,64}`.
///
/// # Errors
/// [`BadWord`].
pub fn check_word(name: &'static str, word: &str) -> Result<(), BadWord> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    if (1..=64).contains(&word.len()) && word.bytes().all(fits) {
        Ok(())
    } else {
        Err(BadWord { name, found: word.chars().take(80).collect() })
    }
}

/// An exchange. All are durable.
#[derive(Clone, Debug)]
pub struct Exchange {
    /// Its name.
    pub name: &'static str,
    /// How it chooses queues.
    pub kind: ExchangeKind,
}

/// A queue. All are durable.
#[derive(Clone, Debug)]
pub struct Queue {
    /// Its name.
    pub name: String,
    /// Its kind and its limits.
    pub arguments: FieldTable,
    /// What comes into it, beside what is sent to it by its name.
    pub bindings: Vec<Binding>,
}

/// The way from an exchange into a queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    /// The exchange.
    pub exchange: &'static str,
    /// The routing key, or the pattern of one.
    pub routing_key: String,
}

/// Every exchange.
#[must_use]
pub fn exchanges() -> [Exchange; 3] {
    [
        Exchange { name: JOBS, kind: ExchangeKind::Direct },
        Exchange { name: COMMANDS, kind: ExchangeKind::Direct },
        Exchange { name: EVENTS, kind: ExchangeKind::Topic },
    ]
}

/// Every queue but those of the nodes. What others die into comes first.
#[must_use]
pub fn queues() -> [Queue; 4] {
    let all_of = |events: &[&str]| {
        events.iter().map(|event| Binding { exchange: EVENTS, routing_key: format!("{event}.#") }).collect()
    };
    [
        Queue { name: DEAD.into(), arguments: quorum(), bindings: Vec::new() },
        Queue {
            name: JOBS.into(),
            arguments: dying_into_dead(quorum()),
            bindings: vec![Binding { exchange: JOBS, routing_key: JOBS.into() }],
        },
        Queue { name: RESULTS.into(), arguments: dying_into_dead(quorum()), bindings: all_of(RESULT_EVENTS) },
        Queue { name: TELEMETRY.into(), arguments: telemetry(), bindings: all_of(TELEMETRY_EVENTS) },
    ]
}

/// The queue with the commands of a node.
#[must_use]
pub fn queue_of_node(node: NodeId) -> Queue {
    Queue {
        name: node_queue(node),
        arguments: classic(),
        bindings: vec![Binding { exchange: COMMANDS, routing_key: node.to_string() }],
    }
}

/// Declares all but the queues of the nodes.
pub(super) async fn declare_all(channel: &Channel) -> Result<(), BrokerError> {
    for Exchange { name, kind } in exchanges() {
        exchange(channel, name, kind).await?;
    }
    for queue in queues() {
        declare(channel, queue).await?;
    }
    Ok(())
}

/// Declares the queue of a node and lets its commands into it.
pub(super) async fn declare_node_queue(channel: &Channel, node: NodeId) -> Result<(), BrokerError> {
    declare(channel, queue_of_node(node)).await
}

/// Deletes the queue of a node with what is in it. Nothing happens where there is none.
pub(super) async fn delete_node_queue(channel: &Channel, node: NodeId) -> Result<(), BrokerError> {
    let name = node_queue(node);
    channel
        .queue_delete(name.as_str().into(), QueueDeleteOptions::default())
        .await
        .map(drop)
        .map_err(|error| BrokerError::from_lapin(&error, format!("delete the queue {name}")))
}

fn quorum() -> FieldTable {
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), text("quorum"));
    arguments.insert("x-delivery-limit".into(), AMQPValue::LongInt(DELIVERY_LIMIT));
    arguments
}

/// Said even though it is the default: a virtual host may have another one.
fn classic() -> FieldTable {
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), text("classic"));
    arguments
}

fn telemetry() -> FieldTable {
    let mut arguments = classic();
    let ttl = i32::try_from(TELEMETRY_TTL.as_millis()).unwrap_or(i32::MAX);
    arguments.insert("x-message-ttl".into(), AMQPValue::LongInt(ttl));
    arguments.insert("x-max-length".into(), AMQPValue::LongInt(TELEMETRY_MAX_LENGTH));
    arguments.insert("x-overflow".into(), text("drop-head"));
    arguments
}

/// What the broker itself puts aside goes to [`DEAD`] and is not removed before it is there.
fn dying_into_dead(mut arguments: FieldTable) -> FieldTable {
    arguments.insert("x-dead-letter-exchange".into(), text(""));
    arguments.insert("x-dead-letter-routing-key".into(), text(DEAD));
    arguments.insert("x-dead-letter-strategy".into(), text("at-least-once"));
    arguments.insert("x-overflow".into(), text("reject-publish"));
    arguments
}

fn text(value: &str) -> AMQPValue {
    AMQPValue::LongString(value.into())
}

async fn exchange(channel: &Channel, name: &str, kind: ExchangeKind) -> Result<(), BrokerError> {
    let options = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
    channel
        .exchange_declare(name.into(), kind, options, FieldTable::default())
        .await
        .map_err(|error| BrokerError::from_lapin(&error, format!("declare the exchange {name}")))
}

async fn declare(channel: &Channel, queue: Queue) -> Result<(), BrokerError> {
    let Queue { name, arguments, bindings } = queue;
    let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    channel
        .queue_declare(name.as_str().into(), options, arguments)
        .await
        .map_err(|error| BrokerError::from_lapin(&error, format!("declare the queue {name}")))?;
    for Binding { exchange, routing_key } in &bindings {
        bind(channel, &name, exchange, routing_key).await?;
    }
    Ok(())
}

async fn bind(channel: &Channel, queue: &str, exchange: &str, routing_key: &str) -> Result<(), BrokerError> {
    channel
        .queue_bind(
            queue.into(),
            exchange.into(),
            routing_key.into(),
            QueueBindOptions::default(),
            FieldTable::default(),
        )
        .await
        .map_err(|error| BrokerError::from_lapin(&error, format!("bind the queue {queue} to {exchange}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_one_word_of_a_routing_key() {
        for word in ["iad1", "r-12_b", &"x".repeat(64)] {
            assert_eq!(check_word("rack", word), Ok(()));
        }
        for word in ["", "a.b", "#", "*", "é", &"x".repeat(65)] {
            assert!(check_word("rack", word).is_err(), "{word}");
        }
        let error = check_word("site", "a b").unwrap_err();
        assert_eq!(error.to_string(), "site is \"a b\": expected 1 to 64 letters, digits, `-` or `_`");
    }
}
