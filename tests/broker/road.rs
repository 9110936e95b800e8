//! The plain road: topology, publishing, taking, closing.

use super::*;

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
    let expected =
        ["accepted.#", "heartbeat.#", "hello.#", "image_url_wanted.#", "log.#", "progress.#", "result.#"];
    assert_eq!(keys, expected);
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
