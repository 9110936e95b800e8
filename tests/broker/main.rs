//! The broker client against a real RabbitMQ: one for all tests, a virtual host for each.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod access;
mod dead_letters;
mod faults;
mod road;

use std::fs;
use std::path::Path;
use std::time::Duration;

use farrier::broker::{
    AckLost, Broker, BrokerConfig, BrokerError, Delivery, Outgoing, PublishError, Role, Status, Subscription,
    SubscriptionState, topology,
};
use farrier::wire::{
    CommandId, CommandRef, ErrorCode, ErrorReport, Event, JobId, JobRequest, NodeId, Payload as _,
    StatusCommand,
};
use farrier_testbed::rabbitmq::{Options, RabbitMq};
use farrier_testbed::tls::Authority;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OnceCell, RwLock, RwLockReadGuard};
use tokio::time::timeout;

/// Far more than anything here takes, on a machine that is busy with other things.
const BOUND: Duration = Duration::from_secs(60);
/// How long the broker under test lets a delivery be without an acknowledgement.
const CONSUMER_TIMEOUT: Duration = Duration::from_secs(5);

/// The one RabbitMQ. Those who only use it share it; who stops it has it alone.
async fn rabbitmq() -> &'static RwLock<RabbitMq> {
    static RABBITMQ: OnceCell<RwLock<RabbitMq>> = OnceCell::const_new();
    RABBITMQ
        .get_or_init(|| async {
            tokio::task::spawn_blocking(|| {
                let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("broker");
                let _ = fs::remove_dir_all(&dir);
                let options = Options { tls: true, consumer_timeout: Some(CONSUMER_TIMEOUT) };
                RwLock::new(RabbitMq::start_with(&dir, options).unwrap())
            })
            .await
            .unwrap()
        })
        .await
}

/// A virtual host of the shared RabbitMQ.
struct Lab {
    rabbitmq: RwLockReadGuard<'static, RabbitMq>,
    vhost: &'static str,
    url: String,
}

impl Lab {
    async fn new(vhost: &'static str) -> Self {
        let rabbitmq = rabbitmq().await.read().await;
        let url = rabbitmq.create_vhost(vhost).await.unwrap();
        Self { rabbitmq, vhost, url }
    }

    async fn coordinator(&self) -> Broker {
        connected(start(&self.url, Role::Coordinator)).await
    }

    async fn queue(&self, name: &str) -> Value {
        let path = format!("queues/{}/{name}", self.vhost);
        self.rabbitmq.management(Method::GET, &path, None).await.unwrap()
    }
}

fn config(url: &str) -> BrokerConfig {
    BrokerConfig { url: url.parse().unwrap(), ca: None, connection_name: "test".into() }
}

fn start(url: &str, role: Role) -> Broker {
    Broker::start(config(url), role)
}

async fn connected(broker: Broker) -> Broker {
    within("a connection", broker.connected()).await;
    broker
}

async fn within<T>(what: &str, something: impl Future<Output = T>) -> T {
    timeout(BOUND, something).await.unwrap_or_else(|_| panic!("waited for {what} for {BOUND:?}"))
}

async fn status_with(broker: &Broker, what: &str, fits: impl Fn(&Status) -> bool) -> Status {
    let mut status = broker.status();
    within(what, status.wait_for(|status| fits(status))).await.unwrap().clone()
}

async fn state_of(subscription: &Subscription, wanted: SubscriptionState) {
    let mut state = subscription.state();
    within(&format!("{wanted:?}"), state.wait_for(|state| *state == wanted)).await.unwrap();
}

async fn next(subscription: &mut Subscription) -> Delivery {
    within("a delivery", subscription.next()).await.expect("the broker is not closed")
}

fn command(node: NodeId) -> Outgoing {
    Outgoing::command(&Event::new("/coordinator", node.to_string(), StatusCommand { node }), node)
}

fn job(node: &str) -> Outgoing {
    let request = json!({ "node": node, "verb": "noop", "spec": {} });
    Outgoing::job(&Event::new("/test", node, JobRequest::from_data(request).unwrap()))
}

/// The error that the supervisor reports while it cannot connect.
async fn refusal(broker: &Broker) -> ErrorReport {
    let failed = |status: &Status| matches!(status, Status::Connecting { error: Some(_), .. });
    match status_with(broker, "a failed attempt", failed).await {
        Status::Connecting { error: Some(error), .. } => error,
        other => panic!("{other:?}"),
    }
}
