//! Credentials, permissions and TLS.

use super::*;

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
