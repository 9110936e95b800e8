//! The HTTP API over a real socket, with a real store. Every JSON answer is held against the OpenAPI document.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use std::sync::LazyLock;
use std::time::Duration;

use farrier::broker::{Broker, BrokerConfig, Outgoing, Role, topology};
use farrier::telemetry::prometheus::{self, PrometheusHandle};
use farrier::wire::api::StreamEvent;
use farrier::wire::{Coded as _, ErrorCode, ErrorReport, Event, JobRequest, NodeId};
use farrier_coordinator::api::{self, Api};
use farrier_coordinator::feed::Feed;
use farrier_coordinator::store::Store;
use farrier_testbed::rabbitmq::RabbitMq;
use reqwest::header::{ALLOW, CONTENT_TYPE, LOCATION, WWW_AUTHENTICATE};
use reqwest::{Method, RequestBuilder, Response};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

/// The bound on every wait here.
const SOON: Duration = Duration::from_secs(20);

struct Server {
    base: String,
    client: reqwest::Client,
    document: Value,
    feed: Feed,
    shutdown: CancellationToken,
    served: tokio::task::JoinHandle<std::io::Result<()>>,
    _directory: tempfile::TempDir,
}

impl Server {
    async fn start() -> Self {
        Self::start_with(None, no_broker()).await
    }

    async fn start_with(token: Option<&str>, broker: Broker) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let feed = Feed::new();
        let store = Store::open(&directory.path().join("farrier.db"), feed.clone()).await.unwrap();
        let shutdown = CancellationToken::new();
        let api = Api { store, feed: feed.clone(), broker, metrics: metrics(), shutdown: shutdown.clone() };
        let listen_file = directory.path().join("address");
        let listener = api::bind("127.0.0.1:0".parse().unwrap(), Some(&listen_file)).await.unwrap();
        let address = std::fs::read_to_string(listen_file).unwrap();
        let served = tokio::spawn(api::serve(listener, api, token.map(Into::into)));
        Self {
            base: format!("http://{}", address.trim()),
            client: client(),
            document: api::openapi(),
            feed,
            shutdown,
            served,
            _directory: directory,
        }
    }

    fn request(&self, method: &str, path: &str) -> RequestBuilder {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        self.client.request(method, format!("{}{path}", self.base)).timeout(SOON)
    }

    /// Sends, and holds the answer against the status expected and the document.
    async fn ask(&self, method: &str, path: &str, body: Option<Value>, status: u16) -> Value {
        let mut request = self.request(method, path);
        if let Some(body) = body {
            request = request.json(&body);
        }
        let response = request.send().await.unwrap();
        let (found, kind) = (response.status().as_u16(), content_type(&response));
        let text = response.text().await.unwrap();
        assert_eq!(found, status, "{method} {path}: {text}");
        if text.is_empty() {
            return Value::Null;
        }
        let answer =
            serde_json::from_str(&text).unwrap_or_else(|error| panic!("{method} {path}: {error}: {text}"));
        self.fits_the_document(method, path, status, &kind, &answer);
        answer
    }

    async fn get(&self, path: &str, status: u16) -> Value {
        self.ask("GET", path, None, status).await
    }

    async fn post(&self, path: &str, body: Value, status: u16) -> Value {
        self.ask("POST", path, Some(body), status).await
    }

    fn fits_the_document(&self, method: &str, path: &str, status: u16, kind: &str, answer: &Value) {
        let path = path.split('?').next().unwrap();
        let matches = |template: &str| {
            let (template, path) = (template.split('/'), path.split('/'));
            template.clone().count() == path.clone().count()
                && template.zip(path).all(|(part, found)| part.starts_with('{') || part == found)
        };
        let paths = self.document["paths"].as_object().unwrap();
        let Some((_, item)) = paths.iter().find(|(template, _)| matches(template)) else {
            assert_eq!(kind, "application/problem+json", "{path} is not in the document");
            return;
        };
        let responses = &item[method.to_lowercase()]["responses"];
        let response = responses.get(status.to_string()).unwrap_or_else(|| &responses["default"]);
        if response.is_null() {
            assert_eq!(kind, "application/problem+json", "{method} {path} {status} is not in the document");
            return;
        }
        let schema = &response["content"][kind]["schema"];
        assert!(!schema.is_null(), "{method} {path} {status} with {kind} is not in the document: {answer}");
        let schema = json!({"allOf": [schema], "components": self.document["components"]});
        let validator = jsonschema::validator_for(&schema).unwrap();
        let faults: Vec<_> = validator.iter_errors(answer).map(|fault| fault.to_string()).collect();
        assert!(faults.is_empty(), "{method} {path} {status}: {faults:?}\n{answer:#}");
    }

    async fn enrol(&self, name: &str) -> String {
        let id = NodeId::new().to_string();
        self.post("/v1/nodes", json!({"id": id, "name": name}), 201).await;
        id
    }

    async fn submit_noop(&self, node: &str) -> String {
        let submitted = self.post("/v1/jobs", json!({"node": node, "verb": "noop"}), 201).await;
        submitted["job"]["id"].as_str().unwrap().to_owned()
    }
}

/// A broker that is not there.
fn no_broker() -> Broker {
    // Port 1 is not listened on.
    let url = "amqp://nobody:nothing@127.0.0.1:1/".parse().unwrap();
    Broker::start(BrokerConfig { url, ca: None, connection_name: "api test".into() }, Role::Agent)
}

/// There is one recorder in a process.
fn metrics() -> PrometheusHandle {
    static METRICS: LazyLock<PrometheusHandle> = LazyLock::new(|| prometheus::install().unwrap());
    METRICS.clone()
}

fn client() -> reqwest::Client {
    // Fails when another test of this process has done it already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::new()
}

fn content_type(response: &Response) -> String {
    response.headers().get(CONTENT_TYPE).map(|kind| kind.to_str().unwrap().to_owned()).unwrap_or_default()
}

/// The code, the field and the detail of a problem.
fn told(problem: &Value) -> (&str, Option<&str>, &str) {
    (problem["code"].as_str().unwrap(), problem["field"].as_str(), problem["detail"].as_str().unwrap())
}

// ---- nodes

#[tokio::test]
async fn a_node_is_enrolled_shown_changed_and_deleted() {
    let server = Server::start().await;
    let id = NodeId::new().to_string();
    let create = json!({
        "id": id, "name": "n1", "site": "iad1", "rack": "r12",
        "driver_info": {"redfish_address": "https://bmc", "deploy_forces_oob_reboot": true},
        "properties": {"root_device": {"serial": "S1"}},
    });
    let node = server.post("/v1/nodes", create.clone(), 201).await;
    assert_eq!((&node["enrolment"], &node["site"]), (&json!("enrolled"), &json!("iad1")));
    assert_eq!(node["agent"], Value::Null);
    assert_eq!(server.get(&format!("/v1/nodes/{id}"), 200).await, node);
    assert_eq!(server.get("/v1/nodes/n1", 200).await, node);

    let again = server.post("/v1/nodes", create, 409).await;
    assert_eq!(told(&again).0, "conflict");

    let change = json!({"rack": "r13", "driver_info": {"deploy_forces_oob_reboot": null, "image_http_proxy": "http://p"}});
    let changed = server.ask("PATCH", "/v1/nodes/n1", Some(change), 200).await;
    assert_eq!(changed["rack"], "r13");
    assert_eq!(changed["site"], "iad1", "what is absent stays as it is");
    assert_eq!(
        changed["driver_info"],
        json!({"redfish_address": "https://bmc", "image_http_proxy": "http://p"})
    );
    assert_eq!(changed["properties"], node["properties"]);

    assert_eq!(server.ask("DELETE", "/v1/nodes/n1", None, 204).await, Value::Null);
    let gone = server.get(&format!("/v1/nodes/{id}"), 404).await;
    assert_eq!(told(&gone).0, "unknown-node");
}

#[tokio::test]
async fn a_node_that_is_not_there_is_a_404_everywhere() {
    let server = Server::start().await;
    for (method, path, body) in [
        ("GET", "/v1/nodes/n9", None),
        ("PATCH", "/v1/nodes/n9", Some(json!({"rack": "r1"}))),
        ("DELETE", "/v1/nodes/n9", None),
        ("GET", "/v1/nodes/n9/inventory", None),
        ("GET", "/v1/events?node=n9", None),
        ("POST", "/v1/jobs", Some(json!({"node": "n9", "verb": "noop"}))),
    ] {
        let problem = server.ask(method, path, body, 404).await;
        let (code, _, detail) = told(&problem);
        assert_eq!(code, "unknown-node", "{method} {path}");
        assert!(detail.contains("n9"), "{method} {path}: {detail}");
    }
}

#[tokio::test]
async fn an_inventory_that_was_never_taken_is_a_404() {
    let server = Server::start().await;
    server.enrol("n1").await;
    let problem = server.get("/v1/nodes/n1/inventory", 404).await;
    assert!(told(&problem).2.contains("inspect"), "it says how to get one: {problem}");
}

#[tokio::test]
async fn nodes_are_listed_in_pages_and_by_filter() {
    let server = Server::start().await;
    for number in 0..5 {
        let rack = if number < 3 { "r1" } else { "r2" };
        let node = json!({"id": NodeId::new(), "name": format!("n{number}"), "site": "s", "rack": rack});
        server.post("/v1/nodes", node, 201).await;
    }
    assert_eq!(
        pages(&server, "/v1/nodes?limit=2", "name").await,
        (3, vec!["n0", "n1", "n2", "n3", "n4"].into_strings())
    );
    assert_eq!(
        pages(&server, "/v1/nodes?limit=2&rack=r1", "name").await,
        (2, vec!["n0", "n1", "n2"].into_strings())
    );
    assert_eq!(
        pages(&server, "/v1/nodes?rack=r2&site=s&enrolment=enrolled&alive=false", "name").await.1.len(),
        2
    );
    assert_eq!(pages(&server, "/v1/nodes?enrolment=discovered", "name").await.1.len(), 0);
    assert_eq!(pages(&server, "/v1/nodes?alive=true", "name").await.1.len(), 0);
    assert_eq!(pages(&server, "/v1/nodes?site=elsewhere", "name").await.1.len(), 0);
}

/// Follows `next` to the end: how many pages there were, and one field of every entry, sorted.
async fn pages(server: &Server, path: &str, field: &str) -> (usize, Vec<String>) {
    let mut found = Vec::new();
    let mut next: Option<String> = None;
    for count in 1.. {
        let after = next.map(|next| format!("&after={next}")).unwrap_or_default();
        let page = server.get(&format!("{path}{after}"), 200).await;
        found.extend(
            page["items"].as_array().unwrap().iter().map(|item| item[field].as_str().unwrap().to_owned()),
        );
        next = page["next"].as_str().map(str::to_owned);
        if next.is_none() {
            let mut sorted = found.clone();
            sorted.sort();
            sorted.dedup();
            assert_eq!(sorted.len(), found.len(), "no entry comes twice: {found:?}");
            return (count, sorted);
        }
    }
    unreachable!("the loop has no end but the return")
}

trait IntoStrings {
    fn into_strings(self) -> Vec<String>;
}

impl IntoStrings for Vec<&str> {
    fn into_strings(self) -> Vec<String> {
        self.into_iter().map(str::to_owned).collect()
    }
}

// ---- jobs

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

// ---- bad input

#[tokio::test]
async fn a_bad_job_names_the_field_and_leaves_nothing() {
    let server = Server::start().await;
    server.enrol("n1").await;
    let cases = [
        (json!({"node": "n1", "verb": "explode"}), "unknown-verb", "verb"),
        (json!({"verb": "noop"}), "bad-schema", "node"),
        (json!({"node": "n1"}), "bad-schema", "verb"),
        (json!({"node": "", "verb": "noop"}), "bad-schema", "node"),
        (json!({"node": "n1", "verb": "noop", "sepc": {}}), "bad-schema", "sepc"),
        (
            json!({"node": "n1", "verb": "noop", "retry": {"max_attempts": 0}}),
            "bad-schema",
            "retry.max_attempts",
        ),
        (json!({"node": "n1", "verb": "noop", "timeout_seconds": "1h"}), "bad-schema", "timeout_seconds"),
        (
            json!({"node": "n1", "verb": "clean", "spec": {"steps": ["polish"]}}),
            "bad-schema",
            "spec.steps[0]",
        ),
        (
            json!({"node": "n1", "verb": "deploy", "spec": {"image_source": "http://h/"}}),
            "bad-schema",
            "spec.image_checksum",
        ),
        (
            json!({"node": "n1", "verb": "deploy", "spec": {"image_source": "file:///x", "image_checksum": "ab".repeat(32)}}),
            "bad-schema",
            "spec.image_source",
        ),
        (json!({"node": "n1", "verb": "noop", "job": "j1"}), "bad-schema", "job"),
    ];
    for (body, code, field) in cases {
        let problem = server.post("/v1/jobs", body.clone(), 400).await;
        assert_eq!((told(&problem).0, told(&problem).1), (code, Some(field)), "{body}: {problem}");
        assert_eq!(problem["type"], format!("urn:farrier:error:{code}"));
        assert_eq!((&problem["status"], &problem["title"]), (&json!(400), &json!("Bad Request")));
    }
    for body in [json!([]), json!("noop"), json!(null)] {
        assert_eq!(told(&server.post("/v1/jobs", body, 400).await).0, "bad-schema");
    }
    assert_eq!(server.get("/v1/jobs", 200).await["items"], json!([]));
}

#[tokio::test]
async fn a_bad_node_names_the_field_and_leaves_nothing() {
    let server = Server::start().await;
    let id = NodeId::new();
    for (body, field) in [
        (json!({"name": "n1"}), "id"),
        (json!({"id": "n1"}), "id"),
        (json!({"id": id, "nmae": "n1"}), "nmae"),
        (json!({"id": id, "site": "two words"}), "site"),
        (json!({"id": id, "rack": "a.b"}), "rack"),
        (json!({"id": id, "properties": {"root_device": {"serail": "x"}}}), "properties.root_device.serail"),
    ] {
        let problem = server.post("/v1/nodes", body.clone(), 400).await;
        let (code, found, _) = told(&problem);
        // Serde does not tell the path of an unknown key below the one that holds it.
        assert!(
            code == "bad-schema" && found.is_some_and(|found| field.starts_with(found)),
            "{body}: {problem}"
        );
    }
    assert_eq!(server.get("/v1/nodes", 200).await["items"], json!([]));
    server.enrol("n1").await;
    let problem = server.ask("PATCH", "/v1/nodes/n1", Some(json!({"enrolment": "discovered"})), 400).await;
    assert_eq!(told(&problem).1, Some("enrolment"));
}

#[tokio::test]
async fn a_body_that_is_not_json_or_too_large_is_refused() {
    let server = Server::start().await;
    let post = |path: &str, kind: &str, body: String| {
        server.request("POST", path).header(CONTENT_TYPE, kind).body(body).send()
    };
    for path in ["/v1/jobs", "/v1/nodes", "/v1/jobs/00000000-0000-7000-8000-000000000000/cancel"] {
        for (kind, body, status, code) in [
            ("application/json", "{\"node\": ".to_owned(), 400, "not-json"),
            ("application/json", "\u{0}".to_owned(), 400, "not-json"),
            ("text/plain", "{}".to_owned(), 415, "not-declared-json"),
            ("application/json", format!("\"{}\"", "x".repeat(1 << 20)), 413, "body-too-large"),
        ] {
            let response = post(path, kind, body).await.unwrap();
            assert_eq!(
                (response.status().as_u16(), content_type(&response).as_str()),
                (status, "application/problem+json")
            );
            assert_eq!(told(&response.json().await.unwrap()).0, code, "{path}");
        }
    }
    let accepted =
        post("/v1/nodes", "application/JSON; charset=utf-8", json!({"id": NodeId::new()}).to_string()).await;
    assert_eq!(accepted.unwrap().status(), 201);
}

#[tokio::test]
async fn a_bad_query_names_the_parameter() {
    let server = Server::start().await;
    for (path, field) in [
        ("/v1/nodes?enrollment=enrolled", "enrollment"),
        ("/v1/nodes?enrolment=maybe", "enrolment"),
        ("/v1/nodes?alive=perhaps", "alive"),
        ("/v1/nodes?limit=0", "limit"),
        ("/v1/nodes?limit=501", "limit"),
        ("/v1/nodes?limit=-1", "limit"),
        ("/v1/nodes?limit=1&limit=2", "limit"),
        ("/v1/nodes?after=nonsense", "after"),
        ("/v1/jobs?verb=explode", "verb"),
        ("/v1/jobs?state=lost", "state"),
        ("/v1/jobs?sort=asc", "sort"),
        ("/v1/jobs?after=nonsense", "after"),
        ("/v1/events?jobs=1", "jobs"),
        ("/v1/events?job=1", "job"),
        ("/v1/dead?limit=many", "limit"),
    ] {
        let problem = server.get(path, 400).await;
        assert_eq!((told(&problem).0, told(&problem).1), ("bad-schema", Some(field)), "{path}: {problem}");
    }
}

#[tokio::test]
async fn a_page_or_method_that_is_not_there_is_a_problem() {
    let server = Server::start().await;
    for path in ["/", "/v1", "/v2/nodes", "/v1/nodes/a/b/c"] {
        assert_eq!(told(&server.get(path, 404).await).0, "not-found", "{path}");
    }
    let response = server.request("PUT", "/v1/nodes").send().await.unwrap();
    let allow = response.headers()[ALLOW].to_str().unwrap().to_owned();
    assert_eq!(response.status(), 405);
    assert!(allow.contains("GET") && allow.contains("POST"), "{allow}");
    assert_eq!(told(&response.json().await.unwrap()).0, "method-not-allowed");
}

// ---- who may ask

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

// ---- events

/// Reads server-sent events off a response.
struct Events {
    response: Response,
    text: String,
}

impl Events {
    async fn open(server: &Server, query: &str) -> Self {
        // No timeout on the whole: each read has one.
        let response = server.client.get(format!("{}/v1/events{query}", server.base)).send().await.unwrap();
        assert_eq!(
            (response.status().as_u16(), content_type(&response).as_str()),
            (200, "text/event-stream")
        );
        let mut events = Self { response, text: String::new() };
        assert_eq!(events.block().await.as_deref(), Some(": from now on"));
        events
    }

    /// Everything up to the next empty line; nothing at the end of the stream.
    async fn block(&mut self) -> Option<String> {
        loop {
            if let Some((block, rest)) = self.text.split_once("\n\n") {
                let found = block.to_owned();
                self.text = rest.to_owned();
                return Some(found);
            }
            let chunk = tokio::time::timeout(SOON, self.response.chunk())
                .await
                .expect("an event in time")
                .unwrap()?;
            self.text.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    }

    async fn next(&mut self) -> StreamEvent {
        let block = self.block().await.expect("the stream goes on");
        let field = |name: &str| {
            block.lines().find_map(|line| line.strip_prefix(name)).map(str::trim).unwrap().to_owned()
        };
        let (kind, data) = (field("event:"), field("data:"));
        let value: Value = serde_json::from_str(&data).unwrap();
        assert_eq!(value["kind"], kind, "the name of the event is its kind");
        serde_json::from_value(value).unwrap()
    }
}

#[tokio::test]
async fn events_come_as_they_happen_and_by_filter() {
    let server = Server::start().await;
    let (first, second) = (server.enrol("n1").await, server.enrol("n2").await);
    let mut all = Events::open(&server, "").await;
    let mut of_second = Events::open(&server, "?node=n2").await;
    let earlier = server.submit_noop("n1").await;
    let job = server.submit_noop("n2").await;
    let mut of_job = Events::open(&server, &format!("?job={job}")).await;
    server.ask("POST", &format!("/v1/jobs/{earlier}/cancel"), None, 202).await;
    server.ask("POST", &format!("/v1/jobs/{job}/cancel"), None, 202).await;

    let mut seen = Vec::new();
    while seen.len() < 4 {
        if let StreamEvent::Job(changed) = all.next().await {
            seen.push((changed.node.to_string(), changed.state.to_string()));
        }
    }
    let pair = |node: &String, state: &str| (node.clone(), state.to_owned());
    let expected = [
        pair(&first, "queued"),
        pair(&second, "queued"),
        pair(&first, "cancelled"),
        pair(&second, "cancelled"),
    ];
    assert_eq!(seen, expected);

    for expected in ["queued", "cancelled"] {
        let StreamEvent::Job(changed) = of_second.next().await else { panic!("another kind") };
        assert_eq!(
            (changed.node.to_string(), changed.state.to_string()),
            (second.clone(), expected.to_owned())
        );
    }
    let StreamEvent::Job(changed) = of_job.next().await else { panic!("another kind") };
    assert_eq!((changed.job.to_string(), changed.state.as_str()), (job, "cancelled"));
}

// One thread: the reader cannot run while the events are published, so that it must fall behind.
#[tokio::test(flavor = "current_thread")]
async fn a_reader_that_is_too_slow_is_told_what_it_has_missed() {
    let server = Server::start().await;
    server.enrol("n1").await;
    let node = NodeId::new();
    let mut events = Events::open(&server, "?node=n1").await;
    for _ in 0..100_000 {
        server.feed.publish(StreamEvent::Node { node, what: "changed".into() });
    }
    match events.next().await {
        StreamEvent::Missed { count } => assert!((1..100_000).contains(&count), "{count}"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_shutdown_ends_event_streams_and_the_server() {
    let server = Server::start().await;
    let mut events = Events::open(&server, "").await;
    server.shutdown.cancel();
    assert_eq!(events.block().await, None);
    tokio::time::timeout(SOON, server.served).await.expect("the server ends in time").unwrap().unwrap();
}

// ---- the coordinator itself

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
