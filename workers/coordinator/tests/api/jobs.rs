//! `/v1/jobs`.

use reqwest::header::LOCATION;
use serde_json::{Value, json};

use crate::server::{Server, pages, told};

#[tokio::test]
async fn a_job_is_submitted_shown_listed_and_cancelled() {
    let server = Server::start().await;
    let node = server.enrol("n1").await;
    let request = json!({
        "node": "n1", "verb": "deploy", "idempotency_key": "k1", "retry": {"max_attempts": 2}, "timeout_seconds": 60,
        "spec": {
            "image_source": "http://images/i.raw", "image_checksum": format!("sha256:{}", "0".repeat(64)),
            "root_device": {"serial": "S1"},
        },
    });
    let response = server.request("POST", "/v1/jobs").json(&request).send().await.unwrap();
    assert_eq!(response.status(), 201);
    let location = response.headers()[LOCATION].to_str().unwrap().to_owned();
    let submitted: Value = response.json().await.unwrap();
    assert_eq!(submitted["created"], true);
    let job = &submitted["job"];
    assert_eq!(
        (&job["state"], &job["node"], &job["verb"]),
        (&json!("queued"), &json!(node), &json!("deploy"))
    );
    assert_eq!((&job["retry"]["max_attempts"], &job["submitted_by"]), (&json!(2), &json!("http")));
    assert_eq!(job["wait"]["reason"], "agent", "a job that waits says for what");
    assert_eq!(job["node_name"], "n1");

    let again = server.post("/v1/jobs", request.clone(), 200).await;
    assert_eq!((&again["created"], &again["job"]["id"]), (&json!(false), &job["id"]));

    let mut other = request;
    other["spec"]["image_source"] = json!("http://images/other.raw");
    let conflict = server.post("/v1/jobs", other, 409).await;
    assert_eq!(told(&conflict).0, "conflict");

    assert_eq!(server.get(&location, 200).await["id"], job["id"]);
    let list = server.get("/v1/jobs?node=n1&verb=deploy&state=queued", 200).await;
    assert_eq!(list["items"][0]["id"], job["id"]);

    let cancelled = server.post(&format!("{location}/cancel"), json!({"reason": "not today"}), 202).await;
    assert_eq!(cancelled["state"], "cancelled");
    assert!(cancelled["error"]["message"].as_str().unwrap().contains("not today"), "{cancelled}");
    let again = server.ask("POST", &format!("{location}/cancel"), None, 409).await;
    assert_eq!(told(&again).0, "conflict");
}

#[tokio::test]
async fn jobs_are_listed_the_newest_first_in_pages_and_by_filter() {
    let server = Server::start().await;
    server.enrol("n1").await;
    server.enrol("n2").await;
    let mut ids = Vec::new();
    for _ in 0..5 {
        ids.push(server.submit_noop("n1").await);
    }
    let other = server.submit_noop("n2").await;
    let newest = server.get("/v1/jobs?limit=1&node=n1", 200).await;
    assert_eq!(newest["items"][0]["id"], json!(ids[4]));
    let (count, found) = pages(&server, "/v1/jobs?limit=2&node=n1", "id").await;
    ids.sort();
    assert_eq!((count, found), (3, ids));
    assert_eq!(pages(&server, "/v1/jobs?node=n2", "id").await.1, std::slice::from_ref(&other));

    // No body is no reason.
    server.ask("POST", &format!("/v1/jobs/{other}/cancel"), None, 202).await;
    assert_eq!(pages(&server, "/v1/jobs?state=cancelled", "id").await.1, [other]);
    assert_eq!(pages(&server, "/v1/jobs?verb=clean", "id").await.1.len(), 0);
}

#[tokio::test]
async fn a_job_that_is_not_there_is_a_404() {
    let server = Server::start().await;
    for id in ["00000000-0000-7000-8000-000000000000", "nonsense", "%ff"] {
        for (method, suffix) in [("GET", ""), ("POST", "/cancel")] {
            let problem = server.ask(method, &format!("/v1/jobs/{id}{suffix}"), None, 404).await;
            let expected = if id == "%ff" { "not-found" } else { "unknown-job" };
            assert_eq!(told(&problem).0, expected, "{problem}");
        }
    }
    server.get("/v1/events?job=00000000-0000-7000-8000-000000000000", 404).await;
}
