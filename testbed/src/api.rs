//! The coordinator's HTTP API, as a test or automation calls it: in plain JSON, so that what is checked is what is on the wire.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use reqwest::{Method, StatusCode};
use serde_json::Value;

use crate::wait::wait_for;

/// The states in which nothing more happens to a job.
const FINAL_STATES: [&str; 3] = ["succeeded", "failed", "cancelled"];
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// A client of one coordinator.
#[derive(Clone, Debug)]
pub struct Api {
    base: String,
    token: Option<String>,
    http: reqwest::Client,
}

/// An answer, whatever its status.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The body; `Null` where there is none.
    pub body: Value,
}

impl Answer {
    /// The body, when the status is one of success.
    ///
    /// # Errors
    /// What the coordinator said otherwise.
    pub fn success(self) -> anyhow::Result<Value> {
        ensure!(self.status.is_success(), "the coordinator answered {}: {}", self.status, self.body);
        Ok(self.body)
    }
}

impl Api {
    /// A client of the coordinator at `address`.
    ///
    /// # Errors
    /// When no HTTP client can be made.
    pub fn new(address: SocketAddr, token: Option<String>) -> anyhow::Result<Self> {
        // Fails only where the process has chosen its cryptography already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder()
            .timeout(ANSWER_WITHIN)
            .no_proxy()
            .build()
            .context("cannot make an HTTP client")?;
        Ok(Self { base: format!("http://{address}"), token, http })
    }

    /// The URL of the coordinator, without a slash at the end.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.base
    }

    /// Sends a request to `path`, such as `v1/jobs?state=failed`.
    ///
    /// # Errors
    /// When the coordinator cannot be reached or does not answer with JSON.
    pub async fn request(&self, method: Method, path: &str, body: Option<&Value>) -> anyhow::Result<Answer> {
        let url = format!("{}/{path}", self.base);
        let mut request = self.http.request(method, &url);
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        let response = request.send().await.with_context(|| format!("cannot ask {url}"))?;
        let status = response.status();
        let text = response.text().await.with_context(|| format!("{url} was cut off"))?;
        if text.is_empty() {
            return Ok(Answer { status, body: Value::Null });
        }
        let body = serde_json::from_str(&text)
            .with_context(|| format!("{url} answered {status}, and not with JSON: {text}"))?;
        Ok(Answer { status, body })
    }

    /// The body of a successful `GET`.
    ///
    /// # Errors
    /// As [`Api::request`], and when the status is not one of success.
    pub async fn get(&self, path: &str) -> anyhow::Result<Value> {
        self.request(Method::GET, path, None).await?.success()
    }

    /// The body of a successful `POST`.
    ///
    /// # Errors
    /// As [`Api::get`].
    pub async fn post(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        self.request(Method::POST, path, Some(body)).await?.success()
    }

    /// The metrics, as text.
    ///
    /// # Errors
    /// When the coordinator cannot be reached.
    pub async fn metrics(&self) -> anyhow::Result<String> {
        self.text_at(&format!("{}/metrics", self.base)).await
    }

    /// What an HTTP server says at `url`: the metrics of an agent, for one.
    ///
    /// # Errors
    /// When it cannot be reached, or its status is not one of success.
    pub async fn text_at(&self, url: &str) -> anyhow::Result<String> {
        let response = self.http.get(url).send().await.with_context(|| format!("cannot ask {url}"))?;
        Ok(response.error_for_status()?.text().await?)
    }

    /// Submits a job and gives its identifier.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn submit(&self, request: &Value) -> anyhow::Result<String> {
        let answer = self.post("v1/jobs", request).await?;
        let id = answer["job"]["id"].as_str();
        Ok(id.with_context(|| format!("the answer names no job: {answer}"))?.to_owned())
    }

    /// A job.
    ///
    /// # Errors
    /// As [`Api::get`].
    pub async fn job(&self, id: &str) -> anyhow::Result<Value> {
        self.get(&format!("v1/jobs/{id}")).await
    }

    /// Waits until a job is in `state` and gives it. One that ends otherwise is not waited for any longer.
    ///
    /// # Errors
    /// When it is not in `state` within `bound`, or ends in another one: with the job.
    pub async fn job_is(&self, id: &str, state: &str, bound: Duration) -> anyhow::Result<Value> {
        let job = self
            .job_becomes(id, &format!("is {state}"), bound, |job| {
                job["state"] == state
                    || job["state"].as_str().is_some_and(|state| FINAL_STATES.contains(&state))
            })
            .await?;
        if job["state"] != state {
            bail!("the job {id} was to be {state} and is {}: {job:#}", job["state"]);
        }
        Ok(job)
    }

    /// Waits until a job has ended, in whatever way, and gives it.
    ///
    /// # Errors
    /// When it has not within `bound`.
    pub async fn job_ends(&self, id: &str, bound: Duration) -> anyhow::Result<Value> {
        let ended = |job: &Value| job["state"].as_str().is_some_and(|state| FINAL_STATES.contains(&state));
        self.job_becomes(id, "has ended", bound, ended).await
    }

    /// Waits until a job is what `condition` wants, and gives it; `what` names that in the error.
    ///
    /// # Errors
    /// When it is not within `bound`: with the job as it was last.
    pub async fn job_becomes(
        &self,
        id: &str,
        what: &str,
        bound: Duration,
        condition: impl Fn(&Value) -> bool,
    ) -> anyhow::Result<Value> {
        let mut last = Value::Null;
        wait_for(&format!("the job {id} {what}"), bound, async || {
            last = self.job(id).await?;
            Ok(condition(&last).then(|| last.clone()))
        })
        .await
        .with_context(|| format!("the job was last {last:#}"))
    }

    /// Enrols a node under a name.
    ///
    /// # Errors
    /// As [`Api::get`].
    pub async fn enroll(&self, node: &str, name: &str) -> anyhow::Result<Value> {
        self.post("v1/nodes", &serde_json::json!({ "id": node, "name": name })).await
    }

    /// A node, by its UUID or its name.
    ///
    /// # Errors
    /// As [`Api::get`].
    pub async fn node(&self, node: &str) -> anyhow::Result<Value> {
        self.get(&format!("v1/nodes/{node}")).await
    }

    /// Waits until the agent of a node is alive, and gives the node.
    ///
    /// # Errors
    /// When it is not within `bound`.
    pub async fn node_is_alive(&self, node: &str, bound: Duration) -> anyhow::Result<Value> {
        wait_for(&format!("the agent of {node} is alive"), bound, async || {
            let found = self.node(node).await?;
            Ok((found["agent"]["alive"] == true).then_some(found))
        })
        .await
    }

    /// Waits until the coordinator says that it is ready.
    ///
    /// # Errors
    /// When it does not within `bound`.
    pub async fn is_ready(&self, bound: Duration) -> anyhow::Result<()> {
        wait_for("the coordinator is ready", bound, async || {
            let answer = self.request(Method::GET, "readyz", None).await?;
            answer.success().map(Some)
        })
        .await
        .map(drop)
    }
}
