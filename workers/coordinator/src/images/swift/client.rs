//! Asking Swift whether an object is there.

use std::time::Duration;

use backon::{ExponentialBuilder, Retryable as _};
use chrono::Utc;
use farrier::wire::SwiftObject;
use reqwest::header::{ACCEPT_ENCODING, CONTENT_LENGTH, ETAG, HeaderMap};
use reqwest::{Certificate, ClientBuilder, Response, StatusCode, redirect};
use secrecy::ExposeSecret as _;

use super::config::Glance;
use super::error::SwiftError;
use super::temp_url::{Method, temp_url};

const CONNECTED_WITHIN: Duration = Duration::from_secs(5);
const ANSWERED_WITHIN: Duration = Duration::from_secs(15);
/// Of the URL that asks. Clocks may differ by as much.
const SIGNED_FOR_SECONDS: i64 = 300;
/// How often Swift is asked again, and how long after the first time; the waits double.
const RETRIES: usize = 3;
const FIRST_WAIT: Duration = Duration::from_millis(200);

/// What there is of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) length: u64,
    pub(super) etag: String,
}

#[derive(Debug)]
pub(super) struct Client(reqwest::Client);

impl Client {
    pub(super) fn new(glance: &Glance) -> Result<Self, SwiftError> {
        // Fails when there is a provider already, and that one serves as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let given = match &glance.authorities {
            Some(pem) => Certificate::from_pem_bundle(pem).map_err(SwiftError::Client)?,
            None => Vec::new(),
        };
        let merged = builder().tls_certs_merge(given.clone()).build();
        // A container may have no certificates. Those that were given are enough, and plain HTTP needs none.
        let client = match merged {
            Err(_) if !given.is_empty() || glance.endpoint.starts_with("http:") => {
                builder().tls_certs_only(given).build()
            }
            client => client,
        };
        client.map(Self).map_err(SwiftError::Client)
    }

    /// Asks for an object by a URL that is signed for that alone. Swift gets some tries: it may be restarted just now.
    pub(super) async fn head(
        &self,
        glance: &Glance,
        object: &SwiftObject,
        path: &str,
    ) -> Result<Found, SwiftError> {
        let ask = || self.ask(glance, object, path);
        let waits =
            ExponentialBuilder::new().with_min_delay(FIRST_WAIT).with_max_times(RETRIES).with_jitter();
        ask.retry(waits).when(may_pass).await
    }

    async fn ask(&self, glance: &Glance, object: &SwiftObject, path: &str) -> Result<Found, SwiftError> {
        let expires = Utc::now().timestamp().saturating_add(SIGNED_FOR_SECONDS);
        let (endpoint, key) = (&glance.endpoint, glance.key.expose_secret());
        let url = temp_url(endpoint, path, Method::Head, expires, key, glance.digest);
        let answer = self.0.head(url).header(ACCEPT_ENCODING, "identity").send().await;
        match answer {
            Ok(answer) => judge(glance, object, &answer),
            Err(error) => Err(not_answered(glance, object, error)),
        }
    }
}

/// A client that knows no proxy: those of the environment and of the nodes are not for the coordinator.
fn builder() -> ClientBuilder {
    ClientBuilder::new()
        .connect_timeout(CONNECTED_WITHIN)
        .timeout(ANSWERED_WITHIN)
        .no_proxy()
        .redirect(redirect::Policy::none())
        .user_agent(concat!("farrier-coordinator/", env!("CARGO_PKG_VERSION")))
}

fn judge(glance: &Glance, object: &SwiftObject, answer: &Response) -> Result<Found, SwiftError> {
    let (object, account, endpoint) = (object.clone(), glance.account.clone(), glance.endpoint.clone());
    match answer.status() {
        StatusCode::OK => found(answer.headers()).ok_or_else(|| {
            let found = "200 without a length or an ETag".to_owned();
            SwiftError::BadAnswer { object, endpoint, found }
        }),
        StatusCode::NOT_FOUND => Err(SwiftError::NotFound { object, account }),
        status @ (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => {
            Err(SwiftError::Refused { object, account, digest: glance.digest.as_str(), status })
        }
        status if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS => {
            Err(SwiftError::Unavailable { object, endpoint, status })
        }
        status => Err(SwiftError::BadAnswer { object, endpoint, found: status.to_string() }),
    }
}

fn found(headers: &HeaderMap) -> Option<Found> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let length = text(CONTENT_LENGTH)?.parse().ok()?;
    let etag = text(ETAG)?.trim_matches('"').to_owned();
    (!etag.is_empty()).then_some(Found { length, etag })
}

fn not_answered(glance: &Glance, object: &SwiftObject, error: reqwest::Error) -> SwiftError {
    let (object, endpoint) = (object.clone(), glance.endpoint.clone());
    if error.is_timeout() && !error.is_connect() {
        return SwiftError::Silent { object, endpoint, waited: ANSWERED_WITHIN };
    }
    SwiftError::Connect { object, endpoint, source: error.without_url() }
}

fn may_pass(error: &SwiftError) -> bool {
    matches!(error, SwiftError::Connect { .. } | SwiftError::Unavailable { .. })
}
