//! How rows become what the API shows, and back.

use chrono::{DateTime, TimeDelta, Utc};
use farrier::wire::api::{Attempt, Enrolment, Job, JobState, Node, NodeAgent, Wait};
use farrier::wire::{ErrorReport, ImageSource, JobId, NodeId, RetryPolicy, Verb, Work};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use sqlx::FromRow;
use zeroize::Zeroizing;

use super::errands::ErrandKind;
use super::{StoreError, driver_secrets};
use crate::vault::{Place, Vault};

/// Now, in microseconds since 1970.
pub(super) fn now() -> i64 {
    Utc::now().timestamp_micros()
}

/// A time of the store as it stands on the wire.
pub(super) fn time(micros: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_micros(micros).unwrap_or(DateTime::UNIX_EPOCH)
}

/// A duration in microseconds.
pub(super) fn micros(duration: std::time::Duration) -> i64 {
    TimeDelta::from_std(duration).ok().and_then(|delta| delta.num_microseconds()).unwrap_or(i64::MAX / 4)
}

/// A value as JSON.
pub(super) fn json<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("a wire type serialises: its maps have string keys")
}

/// A value that the store holds as JSON.
pub(super) fn from_json<T: DeserializeOwned>(text: &str) -> Result<T, StoreError> {
    serde_json::from_str(text).map_err(|error| corrupt(error.to_string()))
}

/// Something in the store that Farrier did not write there.
pub(super) fn corrupt(what: String) -> StoreError {
    StoreError::Unavailable(sqlx::Error::Decode(format!("the store holds what it cannot: {what}").into()))
}

/// A word of an enum that stands bare in a column.
pub(super) fn word<T: DeserializeOwned>(text: &str) -> Result<T, StoreError> {
    serde_json::from_value(Value::String(text.to_owned())).map_err(|error| corrupt(error.to_string()))
}

/// An identifier.
pub(super) fn id<T: std::str::FromStr>(text: &str) -> Result<T, StoreError> {
    text.parse().map_err(|_| corrupt(format!("{text:?} is not an identifier")))
}

/// Where a text of a job stands.
pub(super) fn job_place<'a>(column: &'a str, job: &'a str) -> Place<'a> {
    Place { table: "jobs", column, row: job }
}

/// Opens a text that may be sealed.
pub(super) fn open(vault: &Vault, place: Place<'_>, stored: &str) -> Result<Zeroizing<String>, StoreError> {
    vault.open(place, stored).map_err(|why| StoreError::SecretUnreadable { what: place.to_string(), why })
}

fn optional<T: DeserializeOwned>(text: Option<&str>) -> Result<Option<T>, StoreError> {
    text.map(from_json).transpose()
}

/// A row of `nodes`, with the job that the node is busy with. Cannot be printed: it may hold secrets.
#[derive(FromRow)]
pub(super) struct NodeRow {
    pub(super) id: String,
    pub(super) name: Option<String>,
    pub(super) site: String,
    pub(super) rack: String,
    pub(super) enrolment: String,
    driver_info: String,
    pub(super) properties: String,
    pub(super) boot_id: Option<String>,
    pub(super) past_boots: String,
    agent_version: Option<String>,
    hostname: Option<String>,
    agent_state: Option<String>,
    running: Option<String>,
    last_seen_at: Option<i64>,
    pub(super) alive: bool,
    pub(super) can_power: bool,
    inspected_at: Option<i64>,
    created_at: i64,
    pub(super) updated_at: i64,
    active_job: Option<String>,
}

/// What [`NodeRow`] is read from; a condition may follow.
pub(super) const NODES: &str = "SELECT nodes.*, (SELECT jobs.id FROM jobs WHERE jobs.node_id = nodes.id AND jobs.state IN \
     ('dispatched', 'running', 'interrupted', 'cancelling', 'finishing') LIMIT 1) AS active_job FROM nodes";

impl NodeRow {
    pub(super) fn id(&self) -> Result<NodeId, StoreError> {
        id(&self.id)
    }

    pub(super) fn enrolment(&self) -> Result<Enrolment, StoreError> {
        word(&self.enrolment)
    }

    fn agent(&self) -> Result<Option<NodeAgent>, StoreError> {
        let (Some(boot), Some(seen)) = (&self.boot_id, self.last_seen_at) else { return Ok(None) };
        Ok(Some(NodeAgent {
            boot_id: id(boot)?,
            version: self.agent_version.clone().unwrap_or_default(),
            hostname: self.hostname.clone().unwrap_or_default(),
            state: self.agent_state.as_deref().map_or(Ok(farrier::wire::AgentState::Unknown), word)?,
            running: optional(self.running.as_deref())?,
            last_seen_at: time(seen),
            alive: self.alive,
        }))
    }

    /// The driver info as it stands: secrets in it are sealed.
    pub(super) fn driver_info(&self) -> Result<Map<String, Value>, StoreError> {
        from_json(&self.driver_info)
    }

    pub(super) fn into_node(self, vault: &Vault) -> Result<Node, StoreError> {
        Ok(Node {
            id: self.id()?,
            agent: self.agent()?,
            enrolment: self.enrolment()?,
            // The API shows it to whoever may read; who uses the secrets opens them.
            driver_info: driver_secrets::shown(vault, &self.id, self.driver_info()?),
            properties: from_json(&self.properties)?,
            job: self.active_job.as_deref().map(id).transpose()?,
            inspected_at: self.inspected_at.map(time),
            created_at: time(self.created_at),
            updated_at: time(self.updated_at),
            name: self.name,
            site: self.site,
            rack: self.rack,
        })
    }
}

/// A row of `jobs`, with what is known of its node. Cannot be printed: it may hold secrets.
#[derive(Clone, FromRow)]
pub(super) struct JobRow {
    pub(super) number: i64,
    id: String,
    node_id: String,
    verb: String,
    request: String,
    work: String,
    /// The work without its secrets. Jobs of before they were sealed have none.
    shown: Option<String>,
    state: String,
    pub(super) state_since: i64,
    pub(super) wait_until: Option<i64>,
    not_before: i64,
    pub(super) attempt: u32,
    retry: String,
    idempotency_key: Option<String>,
    submitted_by: String,
    error: Option<String>,
    progress: Option<String>,
    output: Option<String>,
    pub(super) created_at: i64,
    pub(super) started_at: Option<i64>,
    finished_at: Option<i64>,
    pub(super) deadline: i64,
    pub(super) phase: Option<String>,
    phase_since: Option<i64>,
    pub(super) failed_preparations: u32,
    pub(super) restart: Option<String>,
    pub(super) url_refused: Option<i64>,
    pub(super) url_expires_at: Option<i64>,
    node_name: Option<String>,
    pub(super) node_site: String,
    pub(super) node_rack: String,
    node_busy: bool,
}

/// What [`JobRow`] is read from; a condition may follow.
pub(super) const JOBS: &str = "SELECT jobs.*, nodes.name AS node_name, nodes.site AS node_site, nodes.rack AS node_rack, \
     EXISTS (SELECT 1 FROM jobs AS other WHERE other.node_id = jobs.node_id AND other.state IN \
     ('dispatched', 'running', 'interrupted', 'cancelling', 'finishing')) AS node_busy \
     FROM jobs JOIN nodes ON nodes.id = jobs.node_id";

impl JobRow {
    pub(super) fn id(&self) -> Result<JobId, StoreError> {
        id(&self.id)
    }

    pub(super) fn node(&self) -> Result<NodeId, StoreError> {
        id(&self.node_id)
    }

    pub(super) fn state(&self) -> Result<JobState, StoreError> {
        word(&self.state)
    }

    pub(super) fn verb(&self) -> Result<Verb, StoreError> {
        word(&self.verb)
    }

    /// What to do, with its secrets.
    pub(super) fn work(&self, vault: &Vault) -> Result<Work<ImageSource>, StoreError> {
        from_json(&open(vault, job_place("work", &self.id), &self.work)?)
    }

    /// The request as it was submitted, as JSON, with its secrets.
    pub(super) fn request(&self, vault: &Vault) -> Result<Zeroizing<String>, StoreError> {
        open(vault, job_place("request", &self.id), &self.request)
    }

    /// What may be shown of the work; nothing has to be opened for that.
    fn shown(&self) -> Result<Work<ImageSource>, StoreError> {
        match &self.shown {
            Some(shown) => from_json(shown),
            None => Ok(from_json::<Work<ImageSource>>(&self.work)?.redacted()),
        }
    }

    pub(super) fn retry(&self) -> Result<RetryPolicy, StoreError> {
        from_json(&self.retry)
    }

    pub(super) fn error(&self) -> Result<Option<ErrorReport>, StoreError> {
        optional(self.error.as_deref())
    }

    /// What the job waits for at `now`.
    pub(super) fn wait(&self, now: i64) -> Result<Option<Wait>, StoreError> {
        let until_deadline = self.deadline;
        let until = self.wait_until.unwrap_or(until_deadline);
        let phase = self.phase.as_deref();
        let since = phase.and(self.phase_since).unwrap_or(self.state_since);
        let (reason, since, until) = match self.state()? {
            JobState::Queued if self.not_before > now => ("backoff", self.state_since, self.not_before),
            JobState::Queued if self.node_busy => ("node_busy", self.state_since, until_deadline),
            JobState::Queued => (phase.unwrap_or("agent"), since, until),
            JobState::Dispatched => ("accepted", since, until),
            JobState::Interrupted => ("heartbeat", since, until),
            JobState::Cancelling => ("cancelled", since, until),
            JobState::Finishing => (phase.unwrap_or("power_on"), since, until),
            _ => return Ok(None),
        };
        Ok(Some(Wait { reason: reason.to_owned(), since: time(since), until: time(until) }))
    }

    /// Whether an errand is still to be done for the job.
    pub(super) fn awaits(&self, kind: ErrandKind) -> Result<bool, StoreError> {
        Ok(match kind {
            ErrandKind::PowerOn | ErrandKind::Prepare => self.state()? == JobState::Queued,
            ErrandKind::Refresh => self.state()? == JobState::Running && self.url_refused.is_some(),
            ErrandKind::Restart => self.state()? == JobState::Finishing,
        })
    }

    pub(super) fn into_job(self, attempts: Vec<Attempt>) -> Result<Job, StoreError> {
        Ok(Job {
            id: self.id()?,
            node: self.node()?,
            // The API shows it to whoever may read; the command that is sent has all of it.
            work: self.shown()?,
            state: self.state()?,
            wait: self.wait(now())?,
            attempt: self.attempt,
            retry: self.retry()?,
            error: self.error()?,
            progress: optional(self.progress.as_deref())?,
            output: optional(self.output.as_deref())?,
            created_at: time(self.created_at),
            started_at: self.started_at.map(time),
            finished_at: self.finished_at.map(time),
            deadline: time(self.deadline),
            attempts,
            node_name: self.node_name,
            idempotency_key: self.idempotency_key,
            submitted_by: self.submitted_by,
        })
    }
}

/// A row of `attempts`.
#[derive(Clone, Debug, FromRow)]
pub(super) struct AttemptRow {
    number: u32,
    command_id: String,
    boot_id: String,
    state: String,
    dispatched_at: i64,
    pub(super) accepted_at: Option<i64>,
    pub(super) finished_at: Option<i64>,
    pub(super) last_sequence: i64,
    error: Option<String>,
    steps: String,
}

impl AttemptRow {
    pub(super) fn boot(&self) -> Result<farrier::wire::BootId, StoreError> {
        id(&self.boot_id)
    }

    pub(super) fn command(&self) -> Result<farrier::wire::CommandId, StoreError> {
        id(&self.command_id)
    }

    pub(super) fn into_attempt(self) -> Result<Attempt, StoreError> {
        Ok(Attempt {
            number: self.number,
            command: self.command()?,
            boot_id: self.boot()?,
            dispatched_at: time(self.dispatched_at),
            accepted_at: self.accepted_at.map(time),
            finished_at: self.finished_at.map(time),
            error: optional(self.error.as_deref())?,
            steps: from_json(&self.steps)?,
            state: self.state,
        })
    }
}
