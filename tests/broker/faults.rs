//! Connections, channels and queues that go away.

use super::*;

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
