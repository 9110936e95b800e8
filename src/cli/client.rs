//! The coordinator's HTTP API, as a client sees it.

use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use eventsource_stream::Eventsource as _;
use farrier::wire::api::{Problem, StreamEvent};
use farrier::wire::{Coded, ErrorCode, ErrorReport, HttpUrl};
use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::error::Failure;
use super::exit::Exit;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// From the request to the last byte of the answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// The same for a request that waits for a machine: the coordinator has bounds of its own, and they are settings.
const MACHINE_TIMEOUT: Duration = Duration::from_secs(3600);
/// An event stream says that it is alive every few seconds: a silent one is a broken one.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(60);

/// What happens, until the connection ends.
pub(crate) type EventStream = BoxStream<'static, Result<StreamEvent, ClientError>>;

/// Speaks to one coordinator.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    http: reqwest::Client,
    api: HttpUrl,
    token: Option<SecretString>,
}

/// Why a request has no result.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientError {
    #[error(
        "cannot reach the coordinator at {api}: {reason}; is it running there? Name it with --api or FARRIER_API"
    )]
    Unreachable { api: HttpUrl, reason: String },
    #[error("{}", .0.detail)]
    Refused(Box<Problem>),
    #[error("{api} does not answer as a Farrier coordinator does: {reason}; is --api right?")]
    Foreign { api: HttpUrl, status: StatusCode, reason: String },
    #[error("the token cannot be sent in an HTTP header: expected printable ASCII characters")]
    BadToken,
    #[error("cannot set up the HTTP client: {0}")]
    SetUp(String),
}

impl Coded for ClientError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::Unreachable { .. } => ErrorCode::HttpConnect,
            Self::Refused(problem) => problem.code,
            Self::Foreign { .. } => ErrorCode::HttpStatus,
            Self::BadToken => ErrorCode::BadConfig,
            Self::SetUp(_) => ErrorCode::Internal,
        }
    }

    fn report(&self) -> ErrorReport {
        let field = match self {
            Self::Refused(problem) => problem.field.clone(),
            _ => None,
        };
        ErrorReport { field, ..ErrorReport::new(self.code(), self.to_string()) }
    }
}

impl ClientError {
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Unreachable { .. } => Exit::Unavailable,
            Self::Refused(problem) => exit_of(problem.status),
            Self::Foreign { status, .. } => exit_of(status.as_u16()),
            Self::BadToken => Exit::Usage,
            Self::SetUp(_) => Exit::Failed,
        }
    }

    /// Whether the same request may be answered a little later.
    pub(crate) fn may_pass(&self) -> bool {
        self.exit() == Exit::Unavailable
    }
}

fn exit_of(status: u16) -> Exit {
    match status {
        404 => Exit::NotFound,
        400..=499 => Exit::Usage,
        _ => Exit::Unavailable,
    }
}

/// The token: from the file, else from `FARRIER_TOKEN`. There is no flag for it, for anybody can read the flags of a process.
pub(crate) async fn token(file: Option<&Path>) -> Result<Option<SecretString>, Failure> {
    let Some(path) = file else {
        return Ok(std::env::var("FARRIER_TOKEN")
            .ok()
            .filter(|token| !token.is_empty())
            .map(SecretString::from));
    };
    match tokio::fs::read_to_string(path).await {
        Ok(text) => Ok(Some(text.trim().into())),
        Err(source) => Err(Failure::Unreadable { what: "the token file", path: path.to_owned(), source }),
    }
}

impl Client {
    pub(crate) fn new(api: HttpUrl, token: Option<SecretString>) -> Result<Self, ClientError> {
        Ok(Self { http: http(&api, SILENCE_TIMEOUT)?, api, token })
    }

    pub(crate) async fn get<T: DeserializeOwned>(
        &self,
        path: &[&str],
        query: &[(&str, String)],
    ) -> Result<T, ClientError> {
        let response =
            self.answer(self.request(Method::GET, path).query(query).timeout(ANSWER_TIMEOUT)).await?;
        self.read(response).await
    }

    pub(crate) async fn send<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &[&str],
        body: &impl Serialize,
    ) -> Result<T, ClientError> {
        let response = self.answer(self.request(method, path).json(body).timeout(ANSWER_TIMEOUT)).await?;
        self.read(response).await
    }

    /// The same, for a request that is answered when a machine has done what it shall.
    pub(crate) async fn send_to_machine<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &[&str],
        body: &impl Serialize,
    ) -> Result<T, ClientError> {
        let patient = self.patient()?;
        let request = patient.request(method, path).json(body).timeout(MACHINE_TIMEOUT);
        patient.read(patient.answer(request).await?).await
    }

    /// What a machine says: its controller may take its time.
    pub(crate) async fn get_from_machine<T: DeserializeOwned>(
        &self,
        path: &[&str],
    ) -> Result<T, ClientError> {
        let patient = self.patient()?;
        let request = patient.request(Method::GET, path).timeout(MACHINE_TIMEOUT);
        patient.read(patient.answer(request).await?).await
    }

    fn patient(&self) -> Result<Self, ClientError> {
        Ok(Self { http: http(&self.api, MACHINE_TIMEOUT)?, ..self.clone() })
    }

    /// For requests that carry nothing and whose answer says nothing more than that it was done.
    pub(crate) async fn act(&self, method: Method, path: &[&str]) -> Result<(), ClientError> {
        self.answer(self.request(method, path).timeout(ANSWER_TIMEOUT)).await.map(drop)
    }

    /// The stream of events. Kinds that this client is too old to know are left out.
    pub(crate) async fn events(&self, query: &[(&str, String)]) -> Result<EventStream, ClientError> {
        let request = self.request(Method::GET, &["events"]).query(query);
        let stream = self.answer(request).await?.bytes_stream().eventsource();
        let api = self.api.clone();
        Ok(Box::pin(stream.filter_map(move |event| {
            let item = match event {
                Ok(event) => serde_json::from_str(&event.data).ok().map(Ok),
                Err(error) => {
                    Some(Err(ClientError::Unreachable { api: api.clone(), reason: error.to_string() }))
                }
            };
            std::future::ready(item)
        })))
    }

    fn request(&self, method: Method, path: &[&str]) -> RequestBuilder {
        let mut url = self.api.expose().clone();
        // An http or https URL always has a path: there is nothing else to do in the other case.
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().push("v1").extend(path);
        }
        let request = self.http.request(method, url);
        match &self.token {
            Some(token) => request.bearer_auth(token.expose_secret()),
            None => request,
        }
    }

    async fn answer(&self, request: RequestBuilder) -> Result<Response, ClientError> {
        let response = request.send().await.map_err(|error| self.lost(error))?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status();
        let body = response.bytes().await.map_err(|error| self.lost(error))?;
        match serde_json::from_slice(&body) {
            Ok(problem) => Err(ClientError::Refused(Box::new(problem))),
            Err(_) => Err(self.foreign(status, format!("it says {status}"))),
        }
    }

    async fn read<T: DeserializeOwned>(&self, response: Response) -> Result<T, ClientError> {
        let status = response.status();
        let body = response.bytes().await.map_err(|error| self.lost(error))?;
        serde_json::from_slice(&body).map_err(|error| self.foreign(status, error.to_string()))
    }

    fn foreign(&self, status: StatusCode, reason: String) -> ClientError {
        ClientError::Foreign { api: self.api.clone(), status, reason }
    }

    fn lost(&self, error: reqwest::Error) -> ClientError {
        if error.is_builder() {
            return ClientError::BadToken;
        }
        // The URL stands in the message already, without its credentials.
        ClientError::Unreachable { api: self.api.clone(), reason: chain(&error.without_url()) }
    }
}

/// An HTTP client that takes a server for dead that is silent for so long.
fn http(api: &HttpUrl, silence: Duration) -> Result<reqwest::Client, ClientError> {
    // Fails only when a provider is installed already, and then there is one.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut builder = reqwest::Client::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .read_timeout(silence)
        .user_agent(concat!("farrier/", env!("CARGO_PKG_VERSION")));
    if is_loopback(api) {
        builder = builder.no_proxy();
    }
    builder.build().map_err(|error| ClientError::SetUp(chain(&error)))
}

fn is_loopback(api: &HttpUrl) -> bool {
    let host = api.expose().host_str().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// The error and its causes; only the last of them says what really happened.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
