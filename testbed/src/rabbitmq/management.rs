//! What tests ask of the management plugin (<https://www.rabbitmq.com/docs/management#http-api>).

use std::time::Duration;

use anyhow::{Context as _, ensure};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::{PASSWORD, RabbitMq, USER};

impl RabbitMq {
    /// Makes a virtual host with nothing in it and gives its URL.
    ///
    /// # Errors
    /// When the management plugin refuses.
    pub async fn create_vhost(&self, name: &str) -> anyhow::Result<String> {
        self.management(Method::PUT, &format!("vhosts/{name}"), None).await?;
        self.permit(USER, name, [".*", ".*", ".*"]).await?;
        Ok(self.amqp_url_of(USER, PASSWORD, name))
    }

    /// Makes a user without permissions.
    ///
    /// # Errors
    /// When the management plugin refuses.
    pub async fn create_user(&self, name: &str, password: &str) -> anyhow::Result<()> {
        let user = json!({ "password": password, "tags": "" });
        self.management(Method::PUT, &format!("users/{name}"), Some(user)).await.map(drop)
    }

    /// Permits a user to configure, to write and to read what these patterns match.
    ///
    /// # Errors
    /// When the management plugin refuses.
    pub async fn permit(&self, user: &str, vhost: &str, patterns: [&str; 3]) -> anyhow::Result<()> {
        let [configure, write, read] = patterns;
        let permissions = json!({ "configure": configure, "write": write, "read": read });
        let path = format!("permissions/{}/{user}", vhost.replace('/', "%2f"));
        self.management(Method::PUT, &path, Some(permissions)).await.map(drop)
    }

    /// Has the server close all connections to a virtual host, and says how many there were. It learns of a new one with up to
    /// a second of delay.
    ///
    /// # Errors
    /// When the management plugin refuses.
    pub async fn close_connections(&self, vhost: &str) -> anyhow::Result<usize> {
        let vhost = vhost.replace('/', "%2f");
        let connections = self.management(Method::GET, &format!("vhosts/{vhost}/connections"), None).await?;
        let names: Vec<_> =
            connections.as_array().into_iter().flatten().filter_map(|one| one["name"].as_str()).collect();
        for name in &names {
            // The names are like `127.0.0.1:1 -> 127.0.0.1:2`.
            let name = name.replace(' ', "%20").replace('>', "%3E");
            self.management(Method::DELETE, &format!("connections/{name}"), None).await?;
        }
        Ok(names.len())
    }

    /// Asks the management plugin for `/api/<path>`; `Null` where the answer has no body.
    ///
    /// # Errors
    /// When it cannot be reached or the status is not one of success.
    pub async fn management(&self, method: Method, path: &str, body: Option<Value>) -> anyhow::Result<Value> {
        let url = format!("http://127.0.0.1:{}/api/{path}", self.ports.management);
        let mut request = self.http.request(method, &url).basic_auth(USER, Some(PASSWORD));
        if let Some(body) = body {
            request = request.json(&body);
        }
        let response = request.send().await.with_context(|| format!("cannot ask {url}"))?;
        let status = response.status();
        let text = response.text().await?;
        ensure!(status.is_success(), "{url} answered {status}: {text}");
        if status == StatusCode::NO_CONTENT || text.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_str(&text).with_context(|| format!("{url} did not answer with JSON: {text}"))
    }
}

pub(super) fn http_client() -> anyhow::Result<reqwest::Client> {
    // Fails only where the process has chosen its cryptography already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
        .timeout(Duration::from_secs(10))
        // A connection that was kept would be a dead one after a kill.
        .pool_max_idle_per_host(0)
        .build()
        .context("cannot make an HTTP client")
}
