//! What the coordinator's HTTP API takes and gives, shared by it and the `farrier` command.

use std::fmt;

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub use super::catalogue::{Image, ImageEntry};
use super::event::{AgentState, JobChanged, Running, StepProgress};
use super::inventory::Inventory;
use super::job::RetryPolicy;
use super::report::{Output, StepReport};
use super::{BootId, CommandId, ErrorReport, ImageSource, JobId, NodeId, RootDeviceHints, Verb, Work};

/// Whether a node may be commanded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Enrolment {
    /// An agent has said hello for it; nobody has said that it is ours.
    Discovered,
    /// It is ours and takes jobs.
    Enrolled,
    /// A value that this reader is too old to know.
    #[serde(other)]
    Unknown,
}

/// What an operator says about the machine itself, in Ironic's key names. Used for every job that says nothing else.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NodeProperties {
    /// The disk to deploy to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root_device: Option<RootDeviceHints>,
    /// Disks that no job may touch.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub skip_block_devices: Vec<RootDeviceHints>,
}

/// A node, as the API shows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Node {
    /// Its UUID.
    pub id: NodeId,
    /// Its name, unique.
    pub name: Option<String>,
    /// Where it stands.
    pub site: String,
    /// Where it stands.
    pub rack: String,
    /// Whether it may be commanded.
    pub enrolment: Enrolment,
    /// What is known about reaching and treating it, in Ironic's key names. Secrets are shown as `******`, proxies without their
    /// credentials.
    pub driver_info: Map<String, Value>,
    /// What is known about the machine itself.
    pub properties: NodeProperties,
    /// The agent that speaks for it; absent when none ever has.
    pub agent: Option<NodeAgent>,
    /// The job that it is busy with.
    pub job: Option<JobId>,
    /// When its inventory was taken.
    pub inspected_at: Option<DateTime<Utc>>,
    /// When it was first seen or enrolled.
    pub created_at: DateTime<Utc>,
    /// When it was last changed by a request.
    pub updated_at: DateTime<Utc>,
}

/// The agent of a node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct NodeAgent {
    /// Its boot.
    pub boot_id: BootId,
    /// Its version.
    pub version: String,
    /// Its hostname.
    pub hostname: String,
    /// What it said it is about to do.
    pub state: AgentState,
    /// What it said it is carrying out.
    pub running: Option<Running>,
    /// When it was last heard, by the clock of the coordinator.
    pub last_seen_at: DateTime<Utc>,
    /// Whether that was lately enough to take it for alive.
    pub alive: bool,
}

/// `POST /v1/nodes`: enrols a node, or one that was discovered. Printed without its driver info, which may hold secrets.
#[derive(Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NodeCreate {
    /// Its UUID.
    pub id: NodeId,
    /// Its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its site; for a discovered node, what its agent said where absent, else `default`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub site: Option<String>,
    /// Its rack; likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rack: Option<String>,
    /// See [`Node::driver_info`].
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub driver_info: Map<String, Value>,
    /// See [`Node::properties`].
    #[serde(default)]
    pub properties: NodeProperties,
}

/// `PATCH /v1/nodes/{node}`: what is absent stays as it is. Printed without its driver info, which may hold secrets.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NodeChange {
    /// A new name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// A new site.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub site: Option<String>,
    /// A new rack.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rack: Option<String>,
    /// Keys to set; a key with the value null is removed.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub driver_info: Map<String, Value>,
    /// New properties, whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub properties: Option<NodeProperties>,
}

impl fmt::Debug for NodeCreate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, name, site, rack, driver_info, properties } = self;
        f.debug_struct("NodeCreate")
            .field("id", id)
            .field("name", name)
            .field("site", site)
            .field("rack", rack)
            .field("driver_info", &driver_info.keys())
            .field("properties", properties)
            .finish()
    }
}

impl fmt::Debug for NodeChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, site, rack, driver_info, properties } = self;
        f.debug_struct("NodeChange")
            .field("name", name)
            .field("site", site)
            .field("rack", rack)
            .field("driver_info", &driver_info.keys())
            .field("properties", properties)
            .finish()
    }
}

/// The states of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    /// Waits to be sent: see the `wait` of the job.
    Queued,
    /// Sent; waits for the agent to take it.
    Dispatched,
    /// The agent carries it out.
    Running,
    /// The agent has stopped reporting.
    Interrupted,
    /// The agent has been told to stop.
    Cancelling,
    /// The agent is done; the machine is restarted into what was deployed.
    Finishing,
    /// Done.
    Succeeded,
    /// Given up.
    Failed,
    /// Stopped on request.
    Cancelled,
    /// A state that this reader is too old to know.
    #[serde(other)]
    Unknown,
}

impl JobState {
    /// Every state there is.
    pub const ALL: &[Self] = &[
        Self::Queued,
        Self::Dispatched,
        Self::Running,
        Self::Interrupted,
        Self::Cancelling,
        Self::Finishing,
        Self::Succeeded,
        Self::Failed,
        Self::Cancelled,
    ];

    /// The state as text.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Dispatched => "dispatched",
            Self::Running => "running",
            Self::Interrupted => "interrupted",
            Self::Cancelling => "cancelling",
            Self::Finishing => "finishing",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Unknown => "unknown",
        }
    }

    /// Whether nothing more will happen.
    #[must_use]
    pub fn is_final(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Cancelled)
    }
}

impl fmt::Display for JobState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What a job waits for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Wait {
    /// For what: `agent`, `node_busy`, `backoff`, `image`, `accepted`, `heartbeat`, `cancelled`, `power_off`, `boot_device`, `power_on`,
    /// `agent_gone`.
    pub reason: String,
    /// Since when.
    pub since: DateTime<Utc>,
    /// Until when, and then something else happens.
    pub until: DateTime<Utc>,
}

/// A job, as the API shows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Job {
    /// Its UUID.
    pub id: JobId,
    /// The node.
    pub node: NodeId,
    /// The name of the node.
    pub node_name: Option<String>,
    /// What to do.
    #[serde(flatten)]
    pub work: Work<ImageSource>,
    /// Its state.
    pub state: JobState,
    /// What it waits for, unless it runs or has ended.
    pub wait: Option<Wait>,
    /// The number of the newest attempt; 0 before the first.
    pub attempt: u32,
    /// How often it is tried.
    pub retry: RetryPolicy,
    /// The key under which it was submitted.
    pub idempotency_key: Option<String>,
    /// Who asked: the CloudEvents source, or `http`.
    pub submitted_by: String,
    /// What went wrong last.
    pub error: Option<ErrorReport>,
    /// How far the running attempt is.
    pub progress: Option<StepProgress>,
    /// What came out.
    pub output: Option<Output>,
    /// When it was submitted.
    pub created_at: DateTime<Utc>,
    /// When its first attempt was accepted.
    pub started_at: Option<DateTime<Utc>>,
    /// When it ended.
    pub finished_at: Option<DateTime<Utc>>,
    /// When it is given up.
    pub deadline: DateTime<Utc>,
    /// Its attempts, oldest first. Left out of lists.
    #[serde(default)]
    pub attempts: Vec<Attempt>,
}

/// One attempt of a job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Attempt {
    /// Its number, from 1.
    pub number: u32,
    /// Its command.
    pub command: CommandId,
    /// The boot it was sent to.
    pub boot_id: BootId,
    /// How it ended, or `dispatched` or `running`.
    pub state: String,
    /// When the command was written to the outbox.
    pub dispatched_at: DateTime<Utc>,
    /// When the agent's `accepted` came.
    pub accepted_at: Option<DateTime<Utc>>,
    /// When its result came, or it was given up.
    pub finished_at: Option<DateTime<Utc>>,
    /// What went wrong.
    pub error: Option<ErrorReport>,
    /// Its steps.
    pub steps: Vec<StepReport>,
}

/// The answer to `POST /v1/jobs`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct JobSubmitted {
    /// The job.
    pub job: Job,
    /// False when a job with the same idempotency key was there already.
    pub created: bool,
}

/// `POST /v1/jobs/{job}/cancel`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct JobCancel {
    /// Why, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// A message that nobody could process, as `GET /v1/dead` shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DeadLetter {
    /// Names it for `POST /v1/dead/{id}/requeue`.
    pub id: String,
    /// What was wrong with it: one of Farrier's codes, or the broker's own word where the broker put it aside by itself.
    pub code: String,
    /// The same for people.
    pub reason: String,
    /// The exchange that it was published to.
    pub exchange: String,
    /// The routing key that it was published with.
    pub routing_key: String,
    /// The `type` of the message, where its sender gave one.
    pub kind: Option<String>,
    /// The login name of its sender, where that is known.
    pub user_id: Option<String>,
    /// When it was put aside.
    pub at: Option<DateTime<Utc>>,
    /// The message; bytes that are not UTF-8 are replaced, and secrets in JSON are hidden.
    pub body: String,
}

/// `GET /readyz`: whether the coordinator can do its work.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Readiness {
    /// Whether all of the rest is well.
    pub ready: bool,
    /// What is wrong with the broker.
    pub broker: Option<ErrorReport>,
    /// What is wrong with the store.
    pub store: Option<ErrorReport>,
}

/// A page of a list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "PageOf{T}")]
pub struct Page<T> {
    /// The entries.
    pub items: Vec<T>,
    /// Give this as `after` to have the next page; absent on the last one.
    pub next: Option<String>,
}

/// `GET /v1/nodes/{node}/inventory`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct NodeInventory {
    /// The node.
    pub node: NodeId,
    /// When it was taken.
    pub inspected_at: DateTime<Utc>,
    /// What the node is made of.
    pub inventory: Inventory,
}

/// One event of `GET /v1/events`, told apart by the `event` field of the server-sent event and by `kind`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum StreamEvent {
    /// A job has changed its state.
    Job(JobChanged),
    /// A running job is further.
    Progress {
        /// The job.
        job: JobId,
        /// The node.
        node: NodeId,
        /// The verb.
        verb: Verb,
        /// How far.
        progress: StepProgress,
    },
    /// A node was seen, enrolled, changed or deleted, or its agent came or went.
    Node {
        /// The node.
        node: NodeId,
        /// What happened: `discovered`, `enrolled`, `changed`, `deleted`, `agent_up`, `agent_down`.
        what: String,
    },
    /// A line of an agent.
    Log {
        /// The node.
        node: NodeId,
        /// `error`, `warn` or `info`.
        level: String,
        /// The line.
        message: String,
    },
    /// The reader was too slow and has missed this many events: read the lists again.
    Missed {
        /// How many.
        count: u64,
    },
}

/// Every error of the API, as `application/problem+json` (RFC 9457).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Problem {
    /// A URI for the kind of error: `urn:farrier:error:<code>`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The HTTP status.
    pub status: u16,
    /// What the status means.
    pub title: String,
    /// What went wrong, and what to do.
    pub detail: String,
    /// The stable code.
    pub code: super::ErrorCode,
    /// The field at fault.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_request_about_a_node_is_printed_without_its_secrets() {
        let driver_info = json!({"redfish_password": "hunter2"});
        let create = json!({"id": NodeId::new(), "name": "n1", "driver_info": driver_info});
        let create: NodeCreate = serde_json::from_value(create).unwrap();
        let change: NodeChange = serde_json::from_value(json!({"driver_info": driver_info})).unwrap();
        let printed = format!("{create:?} {change:?}");
        assert!(printed.contains("redfish_password") && !printed.contains("hunter2"), "{printed}");
    }
}
