//! Who the coordinator says it is to a service: by name and password with each request, or by a session (DSP0266 13.3).

use reqwest::header::{HeaderValue, LOCATION};
use reqwest::{Client, RequestBuilder, StatusCode};
use serde_json::json;
use tokio::sync::Mutex;
use tokio_util::task::TaskTracker;
use url::Url;

use super::client::Service;
use crate::driver_info::{AuthType, Credentials};
use crate::power::error::Fault;

/// The header with the token of a session.
const TOKEN: &str = "X-Auth-Token";
/// Where sessions are made, in every service that does not say otherwise.
const SESSIONS: &str = "/redfish/v1/SessionService/Sessions";

/// What a request shows.
#[derive(Clone, Debug)]
pub(super) enum Pass {
    /// Nothing.
    Nobody,
    /// Name and password.
    Basic(Credentials),
    /// The token of a session.
    Token(HeaderValue),
}

impl Pass {
    pub(super) fn show(&self, request: RequestBuilder) -> RequestBuilder {
        match self {
            Self::Nobody => request,
            Self::Basic(Credentials { username, password }) => {
                request.basic_auth(username, Some(password.expose()))
            }
            Self::Token(token) => request.header(TOKEN, token.clone()),
        }
    }
}

/// What is known about logging in. When it is dropped, the session is ended: services have room for few.
#[derive(Debug)]
pub(super) struct Login {
    credentials: Option<Credentials>,
    auth_type: AuthType,
    held: Mutex<Held>,
    /// Gets the end of the session, for which nobody waits.
    tasks: TaskTracker,
}

#[derive(Debug)]
enum Held {
    /// Nothing yet.
    Nothing,
    /// There are no sessions to be had.
    NoSessions,
    /// A session.
    Session(Session),
}

#[derive(Debug)]
struct Session {
    token: HeaderValue,
    http: Client,
    /// Where it is ended, where the service has said that.
    url: Option<Url>,
}

impl Login {
    pub(super) fn new(credentials: Option<Credentials>, auth_type: AuthType, tasks: TaskTracker) -> Self {
        Self { credentials, auth_type, held: Mutex::new(Held::Nothing), tasks }
    }

    /// What to show, after logging in where that has not been done.
    pub(super) async fn pass(&self, service: &Service) -> Result<Pass, Fault> {
        let Some(credentials) = &self.credentials else { return Ok(Pass::Nobody) };
        if self.auth_type == AuthType::Basic {
            return Ok(Pass::Basic(credentials.clone()));
        }
        let mut held = self.held.lock().await;
        if let Held::Nothing = *held {
            *held = self.log_in(credentials, service).await?;
        }
        Ok(match &*held {
            Held::Session(session) => Pass::Token(session.token.clone()),
            Held::Nothing | Held::NoSessions => Pass::Basic(credentials.clone()),
        })
    }

    /// What to show after `pass` was refused; nothing where there is nothing else. A name with a wrong password is not tried again:
    /// services lock users out.
    pub(super) async fn pass_instead_of(
        &self,
        pass: &Pass,
        service: &Service,
    ) -> Result<Option<Pass>, Fault> {
        let Pass::Token(refused) = pass else { return Ok(None) };
        let mut held = self.held.lock().await;
        if let Held::Session(session) = &*held
            && session.token == *refused
        {
            // It has run out: there is nothing to end.
            *held = Held::Nothing;
        }
        drop(held);
        self.pass(service).await.map(Some)
    }

    async fn log_in(&self, credentials: &Credentials, service: &Service) -> Result<Held, Fault> {
        let path = match (service.root().await?.sessions(), self.auth_type) {
            (Some(path), _) => path,
            (None, AuthType::Session) => SESSIONS.to_owned(),
            (None, _) => return Ok(Held::NoSessions),
        };
        let url = service.url(&path)?;
        let body = json!({"UserName": credentials.username, "Password": credentials.password.expose()});
        let answer = service.send(|http| http.post(url.clone()).json(&body)).await?;
        if !answer.status.is_success() {
            let wrong = matches!(answer.status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN);
            // A service may name sessions and not have them. One that knows better who may log in is not asked in another way.
            return if self.auth_type == AuthType::Auto && answer.status.is_client_error() && !wrong {
                Ok(Held::NoSessions)
            } else {
                Err(answer.fault())
            };
        }
        let Some(mut token) = answer.headers.get(TOKEN).cloned() else {
            return Err(Fault::BadAnswer(format!("a session was made, and there is no {TOKEN} for it")));
        };
        token.set_sensitive(true);
        let location = answer.headers.get(LOCATION).and_then(|location| location.to_str().ok());
        // Some services give the whole URL, and it must be one of theirs all the same.
        let url = location
            .and_then(|location| url.join(location).ok())
            .and_then(|ending| service.url(ending.path()).ok().filter(|own| own.origin() == ending.origin()));
        Ok(Held::Session(Session { token, http: service.http().await?.clone(), url }))
    }
}

impl Drop for Login {
    fn drop(&mut self) {
        let Held::Session(Session { token, http, url: Some(url) }) = &*self.held.get_mut() else { return };
        let (token, http, url) = (token.clone(), http.clone(), url.clone());
        // Without a runtime the process is at its end, and the session runs out by itself. So it does where this fails.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let farewell = async move {
                let _ = http.delete(url).header(TOKEN, token).send().await;
            };
            self.tasks.spawn_on(farewell, &runtime);
        }
    }
}
