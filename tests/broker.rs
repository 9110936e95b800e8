//! The broker client against a real RabbitMQ: one for all tests, a virtual host for each.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

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

#[tokio::test(flavor = "multi_thread")]
async fn a_message_arrives_as_it_was_sent() {
    let lab = Lab::new("arrives").await;
    let broker = lab.coordinator().await;
    let node = NodeId::new();
    broker.declare_node_queue(node).await.unwrap();
    broker.declare_node_queue(node).await.unwrap();
    let mut subscription = broker.subscribe(topology::node_queue(node), 1);

    let reference = CommandRef { job: JobId::new(), command: CommandId::new(), attempt: 1 };
    let sent = command(node).about(reference.command).expiring(BOUND);
    broker.publish(sent.clone()).await.unwrap();

    let got = next(&mut subscription).await;
    assert_eq!(got.body, sent.body);
    assert_eq!((got.exchange.as_str(), &got.routing_key), (topology::COMMANDS, &node.to_string()));
    assert_eq!(got.message_id, Some(sent.message_id));
    assert_eq!(got.correlation_id, sent.correlation_id);
    assert_eq!(got.kind.as_deref(), Some(StatusCommand::TYPE));
    assert_eq!(got.content_type.as_deref(), Some(farrier::wire::CONTENT_TYPE));
    assert_eq!(got.user_id.as_deref(), Some("guest"), "RabbitMQ has checked it");
    assert!(!got.redelivered);
    got.requeue().await.unwrap();

    let again = next(&mut subscription).await;
    assert!(again.redelivered);
    again.ack().await.unwrap();

    broker.delete_node_queue(node).await.unwrap();
    broker.delete_node_queue(node).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_topology_is_declared_as_designed_and_again_without_a_change() {
    let lab = Lab::new("topology").await;
    let _first = lab.coordinator().await;
    let _second = lab.coordinator().await;

    for name in [topology::JOBS, topology::RESULTS] {
        let queue = lab.queue(name).await;
        assert_eq!(queue["type"], "quorum", "{name}");
        assert_eq!(queue["arguments"]["x-dead-letter-routing-key"], topology::DEAD, "{name}");
    }
    assert_eq!(lab.queue(topology::DEAD).await["type"], "quorum");
    let telemetry = lab.queue(topology::TELEMETRY).await;
    assert_eq!(
        (&telemetry["type"], &telemetry["arguments"]["x-overflow"]),
        (&json!("classic"), &json!("drop-head"))
    );

    let bindings = lab
        .rabbitmq
        .management(
            Method::GET,
            &format!("exchanges/{}/{}/bindings/source", lab.vhost, topology::EVENTS),
            None,
        )
        .await
        .unwrap();
    let mut keys: Vec<_> =
        bindings.as_array().unwrap().iter().map(|one| one["routing_key"].as_str().unwrap()).collect();
    keys.sort_unstable();
    assert_eq!(keys, ["accepted.#", "heartbeat.#", "hello.#", "log.#", "progress.#", "result.#"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_that_is_there_with_other_properties_is_named() {
    let lab = Lab::new("inequivalent").await;
    let path = format!("queues/{}/{}", lab.vhost, topology::TELEMETRY);
    let other = json!({ "durable": true, "arguments": {} });
    lab.rabbitmq.management(Method::PUT, &path, Some(other)).await.unwrap();

    let broker = start(&lab.url, Role::Coordinator);
    let error = refusal(&broker).await;
    assert_eq!(error.code, ErrorCode::Conflict);
    assert!(error.message.contains(topology::TELEMETRY), "{error}");

    lab.rabbitmq.management(Method::DELETE, &path, None).await.unwrap();
    connected(broker).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_queue_takes_is_an_error_and_harms_no_other() {
    let lab = Lab::new("unroutable").await;
    let broker = lab.coordinator().await;

    let error = broker.publish(command(NodeId::new())).await.unwrap_err();
    assert!(matches!(error, PublishError::Unroutable { .. }), "{error}");
    broker.publish(Outgoing { mandatory: false, ..command(NodeId::new()) }).await.unwrap();

    // The broker closes the channel over a missing exchange; the next message finds another one.
    let nowhere = Outgoing { exchange: "absent".into(), ..job("n1") };
    let error = broker.publish(nowhere).await.unwrap_err();
    assert!(matches!(error, PublishError::Unroutable { .. }), "{error}");
    broker.publish(job("n1")).await.unwrap();

    // Many at once: each has the verdict that is its own.
    let mut sending = tokio::task::JoinSet::new();
    for number in 0..200 {
        let broker = broker.clone();
        sending.spawn(async move {
            let lost = number % 3 == 0;
            let message = if lost { command(NodeId::new()) } else { job("n1") };
            (lost, broker.publish(message).await)
        });
    }
    while let Some(sent) = within("all confirms", sending.join_next()).await {
        let (lost, verdict) = sent.unwrap();
        assert_eq!(lost, matches!(verdict, Err(PublishError::Unroutable { .. })), "{verdict:?}");
        assert_eq!(!lost, verdict.is_ok(), "{verdict:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_that_is_missing_is_waited_for() {
    let lab = Lab::new("missing").await;
    let broker = lab.coordinator().await;
    let node = NodeId::new();
    let mut subscription = broker.subscribe(topology::node_queue(node), 1);
    state_of(&subscription, SubscriptionState::Missing).await;

    broker.declare_node_queue(node).await.unwrap();
    broker.publish(command(node)).await.unwrap();
    next(&mut subscription).await.ack().await.unwrap();
    state_of(&subscription, SubscriptionState::Active).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_survives_that_its_queue_is_deleted() {
    let lab = Lab::new("cancelled").await;
    let broker = lab.coordinator().await;
    let node = NodeId::new();
    broker.declare_node_queue(node).await.unwrap();
    let mut subscription = broker.subscribe(topology::node_queue(node), 1);
    state_of(&subscription, SubscriptionState::Active).await;

    // The broker cancels the consumer: no error, the stream just ends.
    broker.delete_node_queue(node).await.unwrap();
    state_of(&subscription, SubscriptionState::Missing).await;
    broker.declare_node_queue(node).await.unwrap();
    broker.publish(command(node)).await.unwrap();
    next(&mut subscription).await.ack().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_channel_that_is_closed_alone_is_opened_again() {
    let lab = Lab::new("channel").await;
    let broker = lab.coordinator().await;
    let node = NodeId::new();
    broker.declare_node_queue(node).await.unwrap();
    let mut subscription = broker.subscribe(topology::node_queue(node), 1);
    broker.publish(command(node)).await.unwrap();
    let mut status = broker.status();
    status.mark_unchanged();

    // RabbitMQ closes the channel of whoever keeps a delivery for too long, and nothing else.
    let kept = next(&mut subscription).await;
    let again = next(&mut subscription).await;
    assert!(again.redelivered);
    assert_eq!(kept.ack().await, Err(AckLost));
    again.ack().await.unwrap();
    assert!(!status.has_changed().unwrap(), "the connection was not lost: {:?}", *status.borrow());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_the_broker_closes_is_made_again() {
    let lab = Lab::new("closed").await;
    let broker = lab.coordinator().await;
    let mut jobs = broker.subscribe(topology::JOBS, 1);
    state_of(&jobs, SubscriptionState::Active).await;
    let mut status = broker.status();
    status.mark_unchanged();

    within("the connection to be listed", async {
        while lab.rabbitmq.close_connections(lab.vhost).await.unwrap() == 0 {}
    })
    .await;
    within("the loss to be noticed", status.wait_for(|status| !matches!(status, Status::Connected { .. })))
        .await
        .unwrap();
    let broker = connected(broker).await;
    broker.publish(job("n1")).await.unwrap();
    next(&mut jobs).await.ack().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_broker_may_die_and_come_back() {
    let mut rabbitmq = rabbitmq().await.write().await;
    let url = rabbitmq.create_vhost("dies").await.unwrap();
    let broker = connected(start(&url, Role::Coordinator)).await;
    let mut jobs = broker.subscribe(topology::JOBS, 10);
    broker.publish(job("before")).await.unwrap();
    let held = next(&mut jobs).await;

    tokio::task::block_in_place(|| rabbitmq.stop());
    let error = refusal(&broker).await;
    assert_eq!(error.code, ErrorCode::BrokerUnavailable);
    let lost = broker.publish(job("meanwhile")).await.unwrap_err();
    assert!(matches!(lost, PublishError::Disconnected { .. }), "{lost}");
    state_of(&jobs, SubscriptionState::Disconnected).await;

    tokio::task::block_in_place(|| rabbitmq.start_again()).unwrap();
    let broker = connected(broker).await;
    let again = next(&mut jobs).await;
    assert_eq!(again.message_id, held.message_id, "what was confirmed is still there");
    assert_eq!(held.ack().await, Err(AckLost), "and an old acknowledgement does not take it away");
    again.ack().await.unwrap();
    broker.publish(job("after")).await.unwrap();
    next(&mut jobs).await.ack().await.unwrap();

    // A broker that is there and says nothing: bounded too.
    rabbitmq.freeze().unwrap();
    let silent = within("the publish to end", broker.publish(job("frozen"))).await.unwrap_err();
    assert!(matches!(silent, PublishError::TimedOut { .. }), "{silent}");
    within("the close to end", broker.close()).await;
    assert!(within("the subscription to end", jobs.next()).await.is_none());
    rabbitmq.thaw().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_credentials_are_named_without_the_password_and_tried_again() {
    let lab = Lab::new("refused").await;
    let url = lab.rabbitmq.amqp_url_of("mallory", "s3cret", lab.vhost);
    let broker = start(&url, Role::Agent);
    let error = refusal(&broker).await;
    assert_eq!(error.code, ErrorCode::BrokerRefused);
    assert!(error.message.contains("mallory") && error.message.contains("127.0.0.1"), "{error}");
    assert!(!error.message.contains("s3cret"), "{error}");
    let error = broker.publish(job("n1")).await.unwrap_err();
    assert!(!error.to_string().contains("s3cret"), "{error}");

    lab.rabbitmq.create_user("mallory", "s3cret").await.unwrap();
    lab.rabbitmq.permit("mallory", lab.vhost, ["^$", "^$", "^$"]).await.unwrap();
    connected(broker).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_virtual_host_that_is_not_there_is_a_refusal() {
    let lab = Lab::new("there").await;
    let broker = start(&lab.url.replace("there", "elsewhere"), Role::Agent);
    let error = refusal(&broker).await;
    assert_eq!(error.code, ErrorCode::BrokerRefused);
    assert!(error.message.contains("elsewhere"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_does_what_it_may_and_is_told_what_it_may_not() {
    let lab = Lab::new("permissions").await;
    let coordinator = lab.coordinator().await;
    let (own, other) = (NodeId::new(), NodeId::new());
    for node in [own, other] {
        coordinator.declare_node_queue(node).await.unwrap();
    }
    lab.rabbitmq.create_user("agent1", "x").await.unwrap();
    let reads = format!("^farrier\\.node\\.{own}$");
    lab.rabbitmq.permit("agent1", lab.vhost, ["^$", "^farrier\\.events$", &reads]).await.unwrap();
    let agent = connected(start(&lab.rabbitmq.amqp_url_of("agent1", "x", lab.vhost), Role::Agent)).await;

    let event =
        Outgoing { exchange: topology::EVENTS.into(), routing_key: "result.a.b.c".into(), ..job("n1") };
    agent.publish(event).await.unwrap();
    let got = next(&mut coordinator.subscribe(topology::RESULTS, 1)).await;
    assert_eq!(got.user_id.as_deref(), Some("agent1"));
    got.ack().await.unwrap();

    let error = agent.publish(command(other)).await.unwrap_err();
    assert!(matches!(error, PublishError::Refused { .. }), "{error}");
    let forbidden = agent.subscribe(topology::node_queue(other), 1);
    let mut state = forbidden.state();
    let refused = |state: &SubscriptionState| matches!(state, SubscriptionState::Refused(_));
    within("the refusal", state.wait_for(refused)).await.unwrap();

    let mut mailbox = agent.subscribe(topology::node_queue(own), 1);
    coordinator.publish(command(own)).await.unwrap();
    next(&mut mailbox).await.ack().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_needs_the_authority_that_signed() {
    let rabbitmq = rabbitmq().await.read().await;
    let url = rabbitmq.amqps_url();
    let with_ca = |ca: &Path| {
        Broker::start(BrokerConfig { ca: Some(ca.to_owned()), ..config(&url) }, Role::Coordinator)
    };

    let broker = connected(with_ca(&rabbitmq.ca_pem_path())).await;
    broker.publish(job("n1")).await.unwrap();

    let dir = tempfile::tempdir().unwrap();
    let stranger = Authority::create(&dir.path().join("ca")).unwrap();
    let error = refusal(&with_ca(&stranger.ca_pem_path())).await;
    assert_eq!(error.code, ErrorCode::BrokerUnavailable);
    assert!(error.message.contains("TLS"), "{error}");

    let error = refusal(&start(&url, Role::Agent)).await;
    assert_eq!(error.code, ErrorCode::BrokerUnavailable, "the system does not know the authority: {error}");

    let empty = dir.path().join("empty.pem");
    fs::write(&empty, "nothing\n").unwrap();
    for ca in [empty.as_path(), &dir.path().join("absent.pem")] {
        let error = refusal(&with_ca(ca)).await;
        assert_eq!(error.code, ErrorCode::BadConfig, "{error}");
        assert!(error.message.contains(ca.to_str().unwrap()), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_processed_is_put_aside_listed_and_sent_again() {
    let lab = Lab::new("dead").await;
    let broker = lab.coordinator().await;
    let mut jobs = broker.subscribe(topology::JOBS, 1);
    let sent = job("n1");
    broker.publish(sent.clone()).await.unwrap();
    broker.publish(Outgoing { body: b"not json".to_vec(), ..job("n2") }).await.unwrap();

    let why = ErrorReport::new(ErrorCode::UnknownNode, "there is no node n1");
    next(&mut jobs).await.dead_letter(&broker, &why).await.unwrap();
    let why = ErrorReport::new(ErrorCode::NotJson, "no");
    next(&mut jobs).await.dead_letter(&broker, &why).await.unwrap();

    // Listed twice: listing takes nothing away.
    for _ in 0..2 {
        let listed = broker.get_dead(10).await.unwrap();
        assert_eq!(listed.len(), 2);
        let letter = listed.iter().find(|letter| letter.id == sent.message_id).unwrap();
        assert_eq!((letter.code.as_str(), letter.reason.as_str()), ("unknown-node", "there is no node n1"));
        assert_eq!((letter.exchange.as_str(), letter.routing_key.as_str()), (topology::JOBS, topology::JOBS));
        assert_eq!((&letter.body, letter.user_id.as_deref()), (&sent.body, Some("guest")));
        assert!(letter.at.is_some());
    }
    assert_eq!(broker.get_dead(1).await.unwrap().len(), 1);

    broker.requeue_dead(&sent.message_id).await.unwrap();
    let again = next(&mut jobs).await;
    assert_eq!(
        (again.body.as_slice(), again.message_id.as_ref()),
        (sent.body.as_slice(), Some(&sent.message_id))
    );
    again.ack().await.unwrap();
    assert_eq!(broker.get_dead(10).await.unwrap().len(), 1);
    let error = broker.requeue_dead(&sent.message_id).await.unwrap_err();
    assert!(matches!(error, BrokerError::NotFound { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_that_has_nowhere_to_go_stays() {
    let lab = Lab::new("stays").await;
    let broker = lab.coordinator().await;
    let node = NodeId::new();
    broker.declare_node_queue(node).await.unwrap();
    let sent = command(node);
    broker.publish(sent.clone()).await.unwrap();
    let mut mailbox = broker.subscribe(topology::node_queue(node), 1);
    let why = ErrorReport::new(ErrorCode::UnknownType, "x");
    next(&mut mailbox).await.dead_letter(&broker, &why).await.unwrap();

    broker.delete_node_queue(node).await.unwrap();
    let error = broker.requeue_dead(&sent.message_id).await.unwrap_err();
    assert!(matches!(error, BrokerError::Publish { source: PublishError::Unroutable { .. }, .. }), "{error}");
    assert_eq!(broker.get_dead(10).await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_broker_itself_puts_aside_is_listed_too() {
    let lab = Lab::new("expired").await;
    let broker = lab.coordinator().await;
    let sent = job("n1").expiring(Duration::from_millis(1));
    broker.publish(sent.clone()).await.unwrap();
    let letter = within("the broker to put it aside", async {
        loop {
            if let Some(letter) = broker.get_dead(10).await.unwrap().pop() {
                break letter;
            }
        }
    })
    .await;
    assert_eq!((letter.id, letter.code.as_str()), (sent.message_id.clone(), "expired"));
    assert_eq!((letter.exchange.as_str(), letter.routing_key.as_str()), (topology::JOBS, topology::JOBS));

    broker.requeue_dead(&sent.message_id).await.unwrap();
    next(&mut broker.subscribe(topology::JOBS, 1)).await.ack().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn prefetch_bounds_what_is_held() {
    let lab = Lab::new("prefetch").await;
    let broker = lab.coordinator().await;
    for _ in 0..5 {
        broker.publish(job("n1")).await.unwrap();
    }
    let mut two = broker.subscribe(topology::JOBS, 2);
    let held = [next(&mut two).await, next(&mut two).await];
    // A second subscription has all the others: the first does not hold more than it may.
    let mut rest = broker.subscribe(topology::JOBS, 10);
    for _ in 0..3 {
        next(&mut rest).await.ack().await.unwrap();
    }
    for delivery in held {
        delivery.ack().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_accepts_and_says_nothing_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let broker = start(&format!("amqp://127.0.0.1:{}", listener.local_addr().unwrap().port()), Role::Agent);
    let (mut peer, _) = within("a connection", listener.accept()).await.unwrap();
    let error = refusal(&broker).await;
    assert!(error.message.contains("handshake"), "{error}");

    // The socket is closed as well: nothing is left of the attempt.
    let mut heard = Vec::new();
    within("the end of the stream", peer.read_to_end(&mut heard)).await.unwrap();
    assert_eq!(heard, b"AMQP\0\0\x09\x01");
    within("the close to end", broker.close()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_that_is_cut_is_made_again() {
    let lab = Lab::new("cut").await;
    let relay = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let relay_port = relay.local_addr().unwrap().port();
    let server = ("127.0.0.1", lab.rabbitmq.amqp_port());
    let url = lab.url.replace(&format!(":{}/", server.1), &format!(":{relay_port}/"));
    let broker = start(&url, Role::Coordinator);
    let mut jobs = broker.subscribe(topology::JOBS, 1);

    for round in 0..3 {
        let (mut near, _) = within("a connection", relay.accept()).await.unwrap();
        let mut far = TcpStream::connect(server).await.unwrap();
        let copying = tokio::spawn(async move {
            // Ends with an error where it is cut, which is what it is for.
            let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
            let _ = near.shutdown().await;
        });
        within("a connection", broker.connected()).await;
        broker.publish(job(&format!("n{round}"))).await.unwrap();
        next(&mut jobs).await.ack().await.unwrap();
        copying.abort();
    }
    within("the close to end", broker.close()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn close_ends_everything_and_twice_is_once() {
    let lab = Lab::new("ends").await;
    let broker = lab.coordinator().await;
    let mut jobs = broker.subscribe(topology::JOBS, 1);
    state_of(&jobs, SubscriptionState::Active).await;
    within("the close", broker.close()).await;
    within("the close", broker.close()).await;
    assert_eq!(*broker.status().borrow(), Status::Closed);
    assert!(within("the end", jobs.next()).await.is_none());
    within("no connection", broker.connected()).await;
    assert!(matches!(broker.publish(job("n1")).await, Err(PublishError::Disconnected { .. })));
}
