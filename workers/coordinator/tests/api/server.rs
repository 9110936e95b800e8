//! A server, what is sent to it, and what is expected of its answers.

use std::sync::LazyLock;
use std::time::Duration;

use farrier::broker::{Broker, BrokerConfig, Role};
use farrier::telemetry::prometheus::{self, PrometheusHandle};
use farrier::wire::NodeId;
use farrier_coordinator::api::{self, Api};
use farrier_coordinator::feed::Feed;
use farrier_coordinator::power::{Power, PowerSettings};
use farrier_coordinator::store::Store;
use farrier_coordinator::vault::Vault;
use farrier_coordinator::vault::keys::SecretKey;
use reqwest::header::CONTENT_TYPE;
use reqwest::{Method, RequestBuilder, Response};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

/// The bound on every wait here.
pub(crate) const SOON: Duration = Duration::from_secs(20);

pub(crate) struct Server {
    pub(crate) base: String,
    pub(crate) client: reqwest::Client,
    pub(crate) document: Value,
    pub(crate) store: Store,
    pub(crate) feed: Feed,
    pub(crate) shutdown: CancellationToken,
    pub(crate) served: tokio::task::JoinHandle<std::io::Result<()>>,
    _directory: tempfile::TempDir,
}

impl Server {
    pub(crate) async fn start() -> Self {
        Self::start_with(None, no_broker()).await
    }

    pub(crate) async fn start_with(token: Option<&str>, broker: Broker) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let feed = Feed::new();
        let vault = Vault::new(vec![SecretKey::new(&[1; 32])]);
        let store = Store::open(&directory.path().join("farrier.db"), feed.clone(), vault).await.unwrap();
        let shutdown = CancellationToken::new();
        let api = Api {
            store: store.clone(),
            feed: feed.clone(),
            broker,
            power: Power::new(PowerSettings::default()),
            metrics: metrics(),
            shutdown: shutdown.clone(),
        };
        let listen_file = directory.path().join("address");
        let listener = api::bind("127.0.0.1:0".parse().unwrap(), Some(&listen_file)).await.unwrap();
        let address = std::fs::read_to_string(listen_file).unwrap();
        let served = tokio::spawn(api::serve(listener, api, token.map(Into::into)));
        Self {
            base: format!("http://{}", address.trim()),
            client: client(),
            document: api::openapi(),
            store,
            feed,
            shutdown,
            served,
            _directory: directory,
        }
    }

    pub(crate) fn request(&self, method: &str, path: &str) -> RequestBuilder {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        self.client.request(method, format!("{}{path}", self.base)).timeout(SOON)
    }

    /// Sends, and holds the answer against the status expected and the document.
    pub(crate) async fn ask(&self, method: &str, path: &str, body: Option<Value>, status: u16) -> Value {
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

    pub(crate) async fn get(&self, path: &str, status: u16) -> Value {
        self.ask("GET", path, None, status).await
    }

    pub(crate) async fn post(&self, path: &str, body: Value, status: u16) -> Value {
        self.ask("POST", path, Some(body), status).await
    }

    pub(crate) fn fits_the_document(
        &self,
        method: &str,
        path: &str,
        status: u16,
        kind: &str,
        answer: &Value,
    ) {
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

    pub(crate) async fn enrol(&self, name: &str) -> String {
        let id = NodeId::new().to_string();
        self.post("/v1/nodes", json!({"id": id, "name": name}), 201).await;
        id
    }

    pub(crate) async fn submit_noop(&self, node: &str) -> String {
        let submitted = self.post("/v1/jobs", json!({"node": node, "verb": "noop"}), 201).await;
        submitted["job"]["id"].as_str().unwrap().to_owned()
    }
}

/// A broker that is not there.
pub(crate) fn no_broker() -> Broker {
    // Port 1 is not listened on.
    let url = "amqp://nobody:nothing@127.0.0.1:1/".parse().unwrap();
    Broker::start(BrokerConfig { url, ca: None, connection_name: "api test".into() }, Role::Agent)
}

/// There is one recorder in a process.
pub(crate) fn metrics() -> PrometheusHandle {
    static METRICS: LazyLock<PrometheusHandle> = LazyLock::new(|| prometheus::install().unwrap());
    METRICS.clone()
}

pub(crate) fn client() -> reqwest::Client {
    // Fails when another test of this process has done it already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::new()
}

pub(crate) fn content_type(response: &Response) -> String {
    response.headers().get(CONTENT_TYPE).map(|kind| kind.to_str().unwrap().to_owned()).unwrap_or_default()
}

/// The code, the field and the detail of a problem.
pub(crate) fn told(problem: &Value) -> (&str, Option<&str>, &str) {
    (problem["code"].as_str().unwrap(), problem["field"].as_str(), problem["detail"].as_str().unwrap())
}

/// Follows `next` to the end: how many pages there were, and one field of every entry, sorted.
pub(crate) async fn pages(server: &Server, path: &str, field: &str) -> (usize, Vec<String>) {
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
