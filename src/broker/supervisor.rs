//! Keeps one connection up, for ever.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures_util::StreamExt as _;
use lapin::Event;
use metrics::{counter, gauge};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;

use super::backoff::Backoff;
use super::config::BrokerConfig;
use super::connection::{self, Link};
use super::error::{BrokerError, ConnectError};
use super::publish::Publisher;
use super::topology;
use crate::telemetry::names;
use crate::wire::{Coded as _, ErrorCode, ErrorReport};

/// The first wait is drawn from zero to this.
const FIRST_WAIT: Duration = Duration::from_millis(200);
/// No wait is longer than this.
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// A connection that lived for less is one more failed attempt, or a broker that drops us at once would be hammered.
const STABLE_AFTER: Duration = Duration::from_secs(10);
/// How often the connection is looked at. lapin speaks up about most ends of a connection, not about all.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Bound on declaring exchanges and queues.
const DECLARE_TIMEOUT: Duration = Duration::from_secs(30);

/// Which part of Farrier is connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// An agent: takes what is there.
    Agent,
    /// A coordinator: declares all exchanges and queues at each connection.
    Coordinator,
}

impl Role {
    /// The role as the label of a metric.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Coordinator => "coordinator",
        }
    }
}

/// How the connection is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Status {
    /// There is none; one is being made, or is waited with.
    Connecting {
        /// How often it has been tried in a row, from 1.
        attempt: u32,
        /// What went wrong last: [`ErrorCode::BrokerRefused`] where the broker does not let us in.
        error: Option<ErrorReport>,
    },
    /// There is one, and exchanges and queues are declared.
    Connected {
        /// Since when.
        since: DateTime<Utc>,
    },
    /// There will be none any more.
    Closed,
}

/// One connection, for as long as it lives.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) link: Arc<Link>,
    pub(super) publisher: Publisher,
}

impl Session {
    pub(super) fn is_alive(&self) -> bool {
        self.link.connection.status().connected()
    }
}

/// What the supervisor tells the rest of the broker client, and hears from it.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) status: watch::Sender<Status>,
    pub(super) session: watch::Sender<Option<Arc<Session>>>,
    /// Ends the supervisor.
    pub(super) stop: CancellationToken,
    /// The supervisor has ended.
    pub(super) closed: CancellationToken,
    /// Something failed: look at the connection now.
    pub(super) nudge: Notify,
}

impl Shared {
    pub(super) fn new() -> Self {
        Self {
            status: watch::Sender::new(Status::Connecting { attempt: 1, error: None }),
            session: watch::Sender::new(None),
            stop: CancellationToken::new(),
            closed: CancellationToken::new(),
            nudge: Notify::new(),
        }
    }

    /// The connection, if there is one that lives.
    pub(super) fn session(&self) -> Option<Arc<Session>> {
        self.session.borrow().clone().filter(|session| session.is_alive())
    }

    /// Waits for a connection that lives. `None` once there will be none.
    pub(super) async fn wait_for_session(&self) -> Option<Arc<Session>> {
        let mut sessions = self.session.subscribe();
        let alive =
            |session: &Option<Arc<Session>>| session.as_ref().is_some_and(|session| session.is_alive());
        tokio::select! {
            biased;
            () = self.closed.cancelled() => None,
            found = sessions.wait_for(alive) => found.ok().and_then(|found| found.clone()),
        }
    }
}

/// Marks the end, also where the supervisor panicked: nobody shall wait for a connection that will not come.
struct Ending<'a>(&'a Shared);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.session.send_replace(None);
        self.0.status.send_replace(Status::Closed);
        self.0.closed.cancel();
    }
}

/// Connects, and connects again whenever the connection is lost, until told to stop.
pub(super) async fn supervise(config: BrokerConfig, role: Role, shared: Arc<Shared>) {
    let _ending = Ending(&shared);
    let connected = gauge!(names::CONNECTED, "role" => role.as_str());
    let mut backoff = Backoff::new(FIRST_WAIT, LONGEST_WAIT);
    let mut attempt: u32 = 1;
    let mut been_connected = false;
    connected.set(0.0);
    loop {
        let established = tokio::select! {
            biased;
            () = shared.stop.cancelled() => return,
            established = establish(&config, role) => established,
        };
        let error = match established {
            Ok(session) => {
                if been_connected {
                    counter!(names::RECONNECTS, "role" => role.as_str()).increment(1);
                }
                been_connected = true;
                let since = Instant::now();
                tracing::info!(broker = %config.url, "connected to the broker");
                connected.set(1.0);
                let lost = hold(session, &shared).await;
                connected.set(0.0);
                let Some(lost) = lost else { return };
                if since.elapsed() >= STABLE_AFTER {
                    backoff.reset();
                    attempt = 0;
                }
                ErrorReport::new(
                    ErrorCode::BrokerUnavailable,
                    format!("the connection to {} was lost: {lost}", config.url),
                )
            }
            Err(error) => error.report(),
        };
        attempt = attempt.saturating_add(1);
        let wait = backoff.next();
        tracing::warn!(code = %error.code, "{}; trying again in {wait:.1?}", error.message);
        shared.status.send_replace(Status::Connecting { attempt, error: Some(error) });
        tokio::select! {
            biased;
            () = shared.stop.cancelled() => return,
            () = sleep(wait) => {}
        }
    }
}

async fn establish(config: &BrokerConfig, role: Role) -> Result<Session, ConnectError> {
    let link = Arc::new(connection::dial(config).await?);
    if role == Role::Coordinator {
        tokio::time::timeout(DECLARE_TIMEOUT, declare(&link)).await.unwrap_or_else(|_| {
            Err(BrokerError::TimedOut {
                action: "declare exchanges and queues".into(),
                after: DECLARE_TIMEOUT,
            })
        })?;
    }
    let publisher = Publisher::new(link.clone(), config.url.user_id());
    Ok(Session { link, publisher })
}

async fn declare(link: &Link) -> Result<(), BrokerError> {
    let channel = link
        .connection
        .create_channel()
        .await
        .map_err(|error| BrokerError::from_lapin(&error, "declare exchanges and queues"))?;
    topology::declare_all(&channel).await
}

/// Offers the session until it is lost, and says why; `None` when told to stop.
async fn hold(session: Session, shared: &Shared) -> Option<String> {
    let link = session.link.clone();
    let mut events = link.connection.events_listener();
    let mut looks = interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut last_error = None;
    shared.session.send_replace(Some(Arc::new(session)));
    shared.status.send_replace(Status::Connected { since: Utc::now() });
    let stopped = loop {
        tokio::select! {
            biased;
            () = shared.stop.cancelled() => break true,
            event = events.next() => match event {
                // Also what closed a single channel; only the state of the connection tells.
                Some(Event::Error(error)) => last_error = Some(error),
                Some(Event::ConnectionBlocked(reason)) => {
                    tracing::warn!(reason, "the broker takes no messages: it is short of memory or disk");
                }
                Some(Event::ConnectionUnblocked) => tracing::info!("the broker takes messages again"),
                Some(_) => {}
                None => break false,
            },
            () = shared.nudge.notified() => {}
            _ = looks.tick() => {}
        }
        if !link.connection.status().connected() {
            break false;
        }
    };
    shared.session.send_replace(None);
    if stopped {
        link.close().await;
        return None;
    }
    Some(connection::lost_because(last_error.as_ref()))
}
