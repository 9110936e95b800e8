//! One Redfish service over HTTP: what is sent, how often, how much is read, and what a status means.

use std::sync::Arc;

use backon::{ConstantBuilder, Retryable as _};
use reqwest::header::{ETAG, IF_MATCH};
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::OnceCell;
use tokio_util::task::TaskTracker;
use url::Url;

use super::ROOT;
use super::login::{Login, Pass};
use super::model::{ErrorAnswer, Root};
use super::transport;
use crate::driver_info::RedfishInfo;
use crate::power::error::Fault;
use crate::power::settings::RedfishSettings;

/// The most of an answer that is read, in bytes. Systems of real services have some ten thousand.
const LARGEST_ANSWER: usize = 1 << 20;
/// The most of what a service says that an error shows, in characters.
const LONGEST_SAID: usize = 300;

/// A service, with the session that is held there.
#[derive(Debug)]
pub(super) struct Service {
    info: RedfishInfo,
    shown: Arc<str>,
    settings: RedfishSettings,
    http: OnceCell<Client>,
    root: OnceCell<Root>,
    login: Login,
}

impl Service {
    pub(super) fn new(info: RedfishInfo, settings: RedfishSettings, tasks: TaskTracker) -> Self {
        let shown = info.address.to_string().trim_end_matches('/').into();
        let login = Login::new(info.credentials.clone(), info.auth_type, tasks);
        Self { info, shown, settings, http: OnceCell::new(), root: OnceCell::new(), login }
    }

    pub(super) fn shown(&self) -> &Arc<str> {
        &self.shown
    }

    pub(super) fn settings(&self) -> &RedfishSettings {
        &self.settings
    }

    pub(super) async fn http(&self) -> Result<&Client, Fault> {
        self.http.get_or_try_init(|| transport::client(&self.info, &self.settings)).await
    }

    /// The root of the service, which needs no credentials.
    pub(super) async fn root(&self) -> Result<&Root, Fault> {
        let read = || async {
            let url = self.url(ROOT)?;
            self.send(|http| http.get(url.clone())).await?.success()?.json()
        };
        self.root.get_or_try_init(read).await
    }

    /// Sends a request with the credentials. A session that has run out is made anew, once.
    pub(super) async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        etag: Option<&str>,
    ) -> Result<Answer, Fault> {
        let url = self.url(path)?;
        let request = |http: &Client, pass: &Pass| {
            let mut request = pass.show(http.request(method.clone(), url.clone()));
            if let Some(body) = body {
                request = request.json(body);
            }
            if let Some(etag) = etag {
                request = request.header(IF_MATCH, etag);
            }
            request
        };
        let pass = self.login.pass(self).await?;
        let answer = self.send(|http| request(http, &pass)).await?;
        if answer.status != StatusCode::UNAUTHORIZED {
            return Ok(answer);
        }
        match self.login.pass_instead_of(&pass, self).await? {
            Some(another) => self.send(|http| request(http, &another)).await,
            None => Ok(answer),
        }
    }

    /// Sends a request, again where the service cannot be reached or says that it is not ready: it has done nothing then.
    pub(super) async fn send(&self, request: impl Fn(&Client) -> RequestBuilder) -> Result<Answer, Fault> {
        let http = self.http().await?;
        let again = ConstantBuilder::default()
            .with_delay(self.settings.connection_retry_interval)
            .with_max_times(usize::try_from(self.settings.connection_attempts - 1).unwrap_or(usize::MAX));
        let once = || async {
            let answer = match request(http).send().await {
                Ok(response) => self.read(response).await.map_err(Attempt::Final)?,
                Err(error) if error.is_connect() => return Err(Attempt::MayPass(transport::fault(error))),
                Err(error) => return Err(Attempt::Final(transport::fault(error))),
            };
            match answer.status {
                StatusCode::SERVICE_UNAVAILABLE => Err(Attempt::MayPass(answer.fault())),
                _ => Ok(answer),
            }
        };
        let sent = once.retry(again).when(|attempt| matches!(attempt, Attempt::MayPass(_))).await;
        sent.map_err(|(Attempt::MayPass(fault) | Attempt::Final(fault))| fault)
    }

    async fn read(&self, mut response: Response) -> Result<Answer, Fault> {
        let status = response.status();
        let etag = response.headers().get(ETAG).and_then(|tag| tag.to_str().ok()).map(str::to_owned);
        let headers = response.headers().clone();
        let mut body = Vec::new();
        while let Some(piece) = response.chunk().await.map_err(transport::fault)? {
            body.extend_from_slice(&piece);
            if body.len() > LARGEST_ANSWER {
                return Err(Fault::BadAnswer(format!("it is larger than {LARGEST_ANSWER} bytes")));
            }
        }
        let said = if status.is_success() { String::new() } else { self.said(&body) };
        Ok(Answer { status, etag, headers, body, said })
    }

    /// What a service says of an error, fit for being shown.
    fn said(&self, body: &[u8]) -> String {
        let message = serde_json::from_slice::<ErrorAnswer>(body).ok().and_then(ErrorAnswer::message);
        let Some(mut message) = message else { return String::new() };
        if let Some(credentials) = &self.info.credentials {
            message = message.replace(credentials.password.expose(), "***");
        }
        let shown = message.chars().map(|c| if c.is_control() { ' ' } else { c }).take(LONGEST_SAID);
        format!(" ({})", shown.collect::<String>().trim())
    }

    /// The URL of a path on this service, and on no other, whoever named the path.
    pub(super) fn url(&self, path: &str) -> Result<Url, Fault> {
        let base = self.info.address.expose();
        match base.join(path) {
            Ok(url) if path.starts_with('/') && url.origin() == base.origin() => Ok(url),
            _ => Err(Fault::BadAnswer("it names a resource that is not a path on it".to_owned())),
        }
    }
}

/// A request that failed.
enum Attempt {
    /// The same may succeed in a moment, and has had no effect.
    MayPass(Fault),
    /// It is over.
    Final(Fault),
}

/// An answer, whatever its status.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) etag: Option<String>,
    pub(super) headers: reqwest::header::HeaderMap,
    body: Vec<u8>,
    said: String,
}

impl Answer {
    /// The answer, when its status is one of success.
    pub(super) fn success(self) -> Result<Self, Fault> {
        if self.status.is_success() { Ok(self) } else { Err(self.fault()) }
    }

    /// What is wrong, by its status.
    pub(super) fn fault(&self) -> Fault {
        let Self { status, said, .. } = self;
        let told = format!("{status}{said}");
        match *status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Fault::Unauthorized(told),
            StatusCode::NOT_FOUND => {
                Fault::Refused(format!("{told}: it has no such resource; is redfish_system_id right?"))
            }
            StatusCode::CONFLICT | StatusCode::PRECONDITION_FAILED => Fault::Conflict(told),
            status if status.is_redirection() => {
                Fault::BadAnswer(format!("{told}: it leads to another server, where nobody goes"))
            }
            status if status.is_client_error() => Fault::Refused(told),
            status if status.is_server_error() => Fault::Failed(told),
            _ => Fault::BadAnswer(told),
        }
    }

    pub(super) fn json<T: DeserializeOwned>(&self) -> Result<T, Fault> {
        serde_json::from_slice(&self.body).map_err(|error| {
            // Where it is, and not what it says.
            let place = format!("line {}, column {}", error.line(), error.column());
            let what =
                if error.is_data() { "it is no resource of the kind asked for" } else { "it is no JSON" };
            Fault::BadAnswer(format!("{what}, at {place}"))
        })
    }
}
