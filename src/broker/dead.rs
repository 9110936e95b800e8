//! What nobody could process: put aside with its reason, listed, and sent where it came from once more.

use std::time::Duration;

use chrono::{DateTime, Utc};
use lapin::options::{BasicGetOptions, BasicNackOptions};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{BasicProperties, Channel};
use metrics::counter;
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use tokio::time::timeout;
use uuid::Uuid;

use super::error::BrokerError;
use super::message::Delivery;
use super::supervisor::Session;
use super::topology::DEAD;
use crate::telemetry::names;
use crate::wire::ErrorCode;

const CODE: &str = "farrier-code";
const REASON: &str = "farrier-reason";
const EXCHANGE: &str = "farrier-exchange";
const ROUTING_KEY: &str = "farrier-routing-key";
const USER_ID: &str = "farrier-user-id";
const AT: &str = "farrier-at";
/// Where the broker writes which queue it took a message from, and why.
const X_DEATH: &str = "x-death";

/// How many messages [`requeue`] looks through.
const MOST_LOOKED_THROUGH: usize = 10_000;
/// Bound on listing or requeuing.
const TIMEOUT: Duration = Duration::from_secs(30);

/// A message that was put aside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DeadLetter {
    /// Names it for [`Broker::requeue_dead`](super::Broker::requeue_dead): its `message_id`, or where it has none a digest of
    /// its body.
    pub id: String,
    /// The code of the reason, as text; of the broker's own where Farrier did not put it aside.
    pub code: String,
    /// Why, for people.
    pub reason: String,
    /// The exchange that it was published to.
    pub exchange: String,
    /// The routing key that it was published with.
    pub routing_key: String,
    /// The `type` of the event, where its sender gave one.
    pub kind: Option<String>,
    /// The login name of its sender, where that is known.
    pub user_id: Option<String>,
    /// When it was put aside.
    pub at: Option<DateTime<Utc>>,
    /// The body.
    pub body: Vec<u8>,
}

/// The properties of a message that is put aside: its own, and why.
pub(super) fn with_reason(delivery: &Delivery, why: &crate::wire::ErrorReport) -> BasicProperties {
    let mut headers = delivery.headers().cloned().unwrap_or_default();
    let mut put = |name: &str, value: &str| {
        headers.insert(name.into(), AMQPValue::LongString(value.into()));
    };
    put(CODE, why.code.as_str());
    put(REASON, &why.message);
    put(EXCHANGE, &delivery.exchange);
    put(ROUTING_KEY, &delivery.routing_key);
    put(AT, &Utc::now().to_rfc3339());
    if let Some(user) = &delivery.user_id {
        put(USER_ID, user);
    }
    let properties = without_expiration(&delivery.properties).with_headers(headers);
    if delivery.message_id.is_some() {
        return properties;
    }
    properties.with_message_id(Uuid::now_v7().to_string().into())
}

/// Counts a message that was put aside.
pub(super) fn count(code: ErrorCode) {
    counter!(names::DEAD_LETTERS, "code" => code.as_str()).increment(1);
}

/// Lists up to `limit` messages and leaves them where they are.
pub(super) async fn list(session: &Session, limit: usize) -> Result<Vec<DeadLetter>, BrokerError> {
    let action = "list the dead letters";
    bounded(action, async {
        let channel = open(session, action).await?;
        let mut found = Vec::new();
        while found.len() < limit {
            let Some(delivery) = take(&channel, action).await? else { break };
            found.push(DeadLetter::from(&delivery));
        }
        give_back(&channel, action).await?;
        Ok(found)
    })
    .await
}

/// Sends the message called `id` where it was published first, and removes it once it is there.
pub(super) async fn requeue(session: &Session, id: &str) -> Result<(), BrokerError> {
    let action = format!("requeue the dead letter {id}");
    bounded(&action, async {
        let channel = open(session, &action).await?;
        for _ in 0..MOST_LOOKED_THROUGH {
            let Some(delivery) = take(&channel, &action).await? else { break };
            let letter = DeadLetter::from(&delivery);
            if letter.id != id {
                continue;
            }
            let sent = session.publisher.publish_raw(
                &letter.exchange,
                &letter.routing_key,
                true,
                &delivery.body,
                without_reason(&delivery),
            );
            let sent = sent.await;
            if sent.is_ok() && delivery.ack().await.is_err() {
                tracing::warn!(id, "a dead letter was sent again and is still in {DEAD}");
            }
            give_back(&channel, &action).await?;
            return sent.map_err(|cause| BrokerError::Publish { action: action.clone(), cause });
        }
        give_back(&channel, &action).await?;
        Err(BrokerError::NotFound {
            action: action.clone(),
            reason: format!("no message in {DEAD} has that id"),
        })
    })
    .await
}

async fn bounded<T>(
    action: &str,
    work: impl Future<Output = Result<T, BrokerError>>,
) -> Result<T, BrokerError> {
    timeout(TIMEOUT, work)
        .await
        .unwrap_or_else(|_| Err(BrokerError::TimedOut { action: action.to_owned(), after: TIMEOUT }))
}

/// A channel of its own: when it is closed, whatever happened, the messages taken on it are back in the queue.
async fn open(session: &Session, action: &str) -> Result<Channel, BrokerError> {
    session.link.connection.create_channel().await.map_err(|error| BrokerError::from_lapin(&error, action))
}

async fn take(channel: &Channel, action: &str) -> Result<Option<Delivery>, BrokerError> {
    let got = channel.basic_get(DEAD.into(), BasicGetOptions::default()).await;
    let got = got.map_err(|error| BrokerError::from_lapin(&error, action))?;
    Ok(got.map(|message| message.delivery.into()))
}

async fn give_back(channel: &Channel, action: &str) -> Result<(), BrokerError> {
    let all = BasicNackOptions { multiple: true, requeue: true };
    channel.basic_nack(0, all).await.map_err(|error| BrokerError::from_lapin(&error, action))?;
    // Returns once the broker has taken them back.
    channel.close(200, "OK".into()).await.map_err(|error| BrokerError::from_lapin(&error, action))
}

/// The properties of a message that is sent again: its own, without why it was put aside.
fn without_reason(delivery: &Delivery) -> BasicProperties {
    let ours = [CODE, REASON, EXCHANGE, ROUTING_KEY, USER_ID, AT];
    let mut headers = FieldTable::default();
    for (name, value) in delivery.headers().into_iter().flat_map(|headers| headers.inner()) {
        let name = name.as_str();
        if !ours.contains(&name) && !name.starts_with("x-death") && !name.starts_with("x-first-death") {
            headers.insert(name.into(), value.clone());
        }
    }
    without_expiration(&delivery.properties).with_headers(headers)
}

/// All but the expiration, which was for the first journey, and the user, who is not the one who publishes now.
fn without_expiration(properties: &BasicProperties) -> BasicProperties {
    let mut kept = BasicProperties::default();
    type Setter = fn(BasicProperties, ShortString) -> BasicProperties;
    let texts: [(&Option<ShortString>, Setter); 6] = [
        (properties.content_type(), BasicProperties::with_content_type),
        (properties.content_encoding(), BasicProperties::with_content_encoding),
        (properties.correlation_id(), BasicProperties::with_correlation_id),
        (properties.message_id(), BasicProperties::with_message_id),
        (properties.kind(), BasicProperties::with_type),
        (properties.app_id(), BasicProperties::with_app_id),
    ];
    for (value, set) in texts {
        if let Some(value) = value {
            kept = set(kept, value.clone());
        }
    }
    if let Some(timestamp) = properties.timestamp() {
        kept = kept.with_timestamp(*timestamp);
    }
    kept
}

impl From<&Delivery> for DeadLetter {
    fn from(delivery: &Delivery) -> Self {
        let ours = |name: &str| delivery.headers().and_then(|headers| text(headers, name));
        let broker = delivery.headers().and_then(first_death).unwrap_or_default();
        Self {
            id: delivery.message_id.clone().unwrap_or_else(|| digest(&delivery.body)),
            code: ours(CODE).or(broker.reason).unwrap_or_else(|| ErrorCode::Unknown.to_string()),
            reason: ours(REASON).unwrap_or_else(|| "the broker put it aside".into()),
            exchange: ours(EXCHANGE).or(broker.exchange).unwrap_or_default(),
            routing_key: ours(ROUTING_KEY).or(broker.routing_key).unwrap_or_default(),
            kind: delivery.kind.clone(),
            user_id: ours(USER_ID).or_else(|| delivery.user_id.clone()),
            at: ours(AT).and_then(|at| at.parse().ok()),
            body: delivery.body.clone(),
        }
    }
}

/// What the broker says about a message that it put aside by itself.
#[derive(Default)]
struct Death {
    exchange: Option<String>,
    routing_key: Option<String>,
    reason: Option<String>,
}

/// The oldest entry of `x-death`, which is the last one (<https://www.rabbitmq.com/docs/dlx#effects>).
fn first_death(headers: &FieldTable) -> Option<Death> {
    let AMQPValue::FieldArray(deaths) = headers.inner().get(X_DEATH)? else { return None };
    let AMQPValue::FieldTable(death) = deaths.as_slice().last()? else { return None };
    let routing_key = match death.inner().get("routing-keys") {
        Some(AMQPValue::FieldArray(keys)) => keys.as_slice().first().and_then(as_text),
        _ => None,
    };
    Some(Death { exchange: text(death, "exchange"), routing_key, reason: text(death, "reason") })
}

fn text(table: &FieldTable, name: &str) -> Option<String> {
    table.inner().get(name).and_then(as_text)
}

fn as_text(value: &AMQPValue) -> Option<String> {
    match value {
        AMQPValue::LongString(text) => Some(String::from_utf8_lossy(text.as_bytes()).into_owned()),
        AMQPValue::ShortString(text) => Some(text.to_string()),
        _ => None,
    }
}

fn digest(body: &[u8]) -> String {
    format!("sha256:{}", hex::encode(&Sha256::digest(body)[..16]))
}
