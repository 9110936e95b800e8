//! What is put aside, listed and sent again.

use super::*;

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
    assert!(matches!(error, BrokerError::Publish { cause: PublishError::Unroutable { .. }, .. }), "{error}");
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
