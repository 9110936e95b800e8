//! Who may ask.

use farrier::wire::NodeId;
use farrier_coordinator::api;
use reqwest::header::WWW_AUTHENTICATE;
use serde_json::{Value, json};

use crate::server::{Server, no_broker, told};

#[tokio::test]
async fn with_a_token_every_page_but_health_needs_it() {
    let server = Server::start_with(Some("s3cret"), no_broker()).await;
    let document = api::openapi();
    for (path, item) in document["paths"].as_object().unwrap() {
        let open = matches!(path.as_str(), "/healthz" | "/readyz" | "/metrics");
        for method in item.as_object().unwrap().keys() {
            let response = server.request(&method.to_uppercase(), path).send().await.unwrap();
            assert_eq!(response.status() != 401, open, "{method} {path}: {}", response.status());
        }
    }
    let refused = server.request("GET", "/v1/nodes").bearer_auth("s3cres").send().await.unwrap();
    assert_eq!(
        (refused.status().as_u16(), refused.headers()[WWW_AUTHENTICATE].to_str().unwrap()),
        (401, "Bearer")
    );
    let problem: Value = refused.json().await.unwrap();
    assert_eq!(told(&problem).0, "unauthorized");
    assert!(!problem.to_string().contains("s3cre"), "{problem}");
    let taken = server.request("GET", "/v1/nodes").bearer_auth("s3cret").send().await.unwrap();
    assert_eq!(taken.status(), 200);
}

#[tokio::test]
async fn without_a_token_a_web_page_may_not_ask() {
    let server = Server::start().await;
    for (header, value) in [("origin", "http://evil.example"), ("host", "evil.example")] {
        let refused =
            server.request("POST", "/v1/nodes").header(header, value).json(&json!({"id": NodeId::new()}));
        let refused = refused.send().await.unwrap();
        assert_eq!(refused.status(), 403, "{header}");
        assert_eq!(told(&refused.json().await.unwrap()).0, "forbidden");
    }
    assert_eq!(server.get("/v1/nodes", 200).await["items"], json!([]));
}
