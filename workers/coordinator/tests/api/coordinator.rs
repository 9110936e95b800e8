//! The coordinator itself: health, metrics, dead letters, and the address.

use farrier::broker::{Broker, BrokerConfig, Outgoing, Role, topology};
use farrier::wire::{Coded as _, ErrorCode, ErrorReport, Event, JobRequest};
use farrier_coordinator::api;
use farrier_testbed::rabbitmq::RabbitMq;
use serde_json::{Value, json};

use crate::server::{SOON, Server, content_type, told};

#[tokio::test]
async fn health_metrics_and_the_document_are_served() {
    let server = Server::start().await;
    assert_eq!(server.request("GET", "/healthz").send().await.unwrap().status(), 200);
    let readiness = server.get("/readyz", 503).await;
    assert_eq!((&readiness["ready"], &readiness["store"]), (&json!(false), &Value::Null));
    assert_eq!(readiness["broker"]["code"], "broker-unavailable");

    metrics::counter!("farrier_test_total").increment(1);
    let scraped = server.request("GET", "/metrics").send().await.unwrap();
    assert!(content_type(&scraped).starts_with("text/plain; version=0.0.4"));
    assert!(scraped.text().await.unwrap().contains("farrier_test_total"));

    assert_eq!(server.get("/v1/openapi.json", 200).await, api::openapi());
}

#[tokio::test]
async fn without_a_broker_dead_letters_are_unavailable() {
    let server = Server::start().await;
    for (method, path) in [("GET", "/v1/dead"), ("POST", "/v1/dead/x/requeue")] {
        let problem = server.ask(method, path, None, 503).await;
        assert_eq!(told(&problem).0, ErrorCode::BrokerUnavailable.as_str());
    }
}

#[tokio::test]
async fn dead_letters_are_listed_and_sent_again() {
    let directory = tempfile::tempdir().unwrap();
    let files = directory.path().join("rabbitmq");
    let rabbitmq = tokio::task::spawn_blocking(move || RabbitMq::start(&files).unwrap()).await.unwrap();
    let url = rabbitmq.amqp_url().parse().unwrap();
    let broker =
        Broker::start(BrokerConfig { url, ca: None, connection_name: "api test".into() }, Role::Coordinator);
    tokio::time::timeout(SOON, broker.connected()).await.unwrap();
    let server = Server::start_with(None, broker.clone()).await;
    assert_eq!(server.get("/readyz", 200).await["ready"], true);
    assert_eq!(server.get("/v1/dead", 200).await["items"], json!([]));

    let request = JobRequest::from_json(json!({"node": "n9", "verb": "noop"})).unwrap();
    let mut jobs = broker.subscribe(topology::JOBS, 1);
    broker.publish(Outgoing::job(&Event::new("/test", "n9", request))).await.unwrap();
    let job = tokio::time::timeout(SOON, jobs.next()).await.unwrap().unwrap();
    let body = String::from_utf8(job.body.clone()).unwrap();
    job.dead_letter(&broker, &ErrorReport::new(ErrorCode::UnknownNode, "there is no node n9")).await.unwrap();

    let letter = server.get("/v1/dead?limit=10", 200).await["items"][0].clone();
    assert_eq!((&letter["code"], &letter["reason"]), (&json!("unknown-node"), &json!("there is no node n9")));
    assert_eq!((&letter["exchange"], &letter["body"]), (&json!(topology::JOBS), &json!(body)));
    assert_eq!(told(&server.ask("POST", "/v1/dead/another/requeue", None, 404).await).0, "not-found");

    let id = letter["id"].as_str().unwrap();
    server.ask("POST", &format!("/v1/dead/{id}/requeue"), None, 204).await;
    let again = tokio::time::timeout(SOON, jobs.next()).await.unwrap().unwrap();
    assert_eq!(again.body, body.as_bytes());
    assert_eq!(server.get("/v1/dead", 200).await["items"], json!([]));
    broker.close().await;
    drop(rabbitmq);
}

#[tokio::test]
async fn an_address_that_is_taken_is_a_clear_error() {
    let taken = api::bind("127.0.0.1:0".parse().unwrap(), None).await.unwrap();
    let address = taken.local_addr().unwrap();
    let error = api::bind(address, None).await.unwrap_err();
    let message = error.report().message;
    assert!(
        message.starts_with(&format!("cannot listen on {address}")) && message.contains("in use"),
        "{message}"
    );
}
