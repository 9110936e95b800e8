//! What agents publish, and the one event that the coordinator publishes beside its commands.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::api::JobState;
use super::envelope::{DecodeError, Event, Payload, payload};
use super::report::{Output, StepReport};
use super::{BootId, CommandRef, ErrorReport, JobId, NodeId, Verb};

/// Who speaks: which boot of which node, and where the node stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Origin {
    /// The node.
    pub node: NodeId,
    /// The site, one word of a routing key.
    pub site: String,
    /// The rack, one word of a routing key.
    pub rack: String,
    /// This run of the agent.
    pub boot_id: BootId,
}

/// What an agent is about to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AgentState {
    /// Waits for a command.
    Idle,
    /// Carries out a command.
    Busy,
    /// Takes no command any more; ends when the running one has ended.
    Draining,
    /// A state that this reader is too old to know.
    #[serde(other)]
    Unknown,
}

/// The first word of an agent after every (re)connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Hello {
    /// Who speaks.
    #[serde(flatten)]
    pub origin: Origin,
    /// The hostname.
    pub hostname: String,
    /// The version of the agent.
    pub version: String,
    /// When this boot of the agent began, by its own clock.
    pub started_at: DateTime<Utc>,
    /// What it is about to do.
    pub state: AgentState,
    /// What it is carrying out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub running: Option<CommandRef>,
    /// The verbs that it can carry out.
    pub verbs: Vec<Verb>,
    /// Whether it stands in a RAM disk. Elsewhere it touches lab disks alone.
    pub ramdisk: bool,
    /// Whether it can power its machine off and restart it.
    #[serde(default)]
    pub can_power: bool,
}
payload!(Hello, "dev.farrier.event.hello.v1");

/// Sent every ten seconds, jittered, and when asked for. A running command lives as long as these name it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Heartbeat {
    /// Who speaks.
    #[serde(flatten)]
    pub origin: Origin,
    /// The version of the agent.
    pub version: String,
    /// Seconds since this boot of the agent began.
    pub uptime_seconds: u64,
    /// What it is about to do.
    pub state: AgentState,
    /// What it is carrying out, and how far it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub running: Option<Running>,
}
payload!(Heartbeat, "dev.farrier.event.heartbeat.v1");

/// A running command.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Running {
    /// Which attempt.
    #[serde(flatten)]
    pub reference: CommandRef,
    /// The verb.
    pub verb: Verb,
    /// How far it is; absent before the first step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<StepProgress>,
}

/// How far a command is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StepProgress {
    /// The name of the step.
    pub step: String,
    /// The place of the step, from 1.
    pub step_number: u32,
    /// How many steps there are.
    pub step_count: u32,
    /// What the step is doing, where it has parts: a phase, or the device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<String>,
    /// How many bytes are done.
    pub bytes_done: u64,
    /// How many there are, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_total: Option<u64>,
    /// Bytes in a second, lately.
    pub bytes_per_second: u64,
    /// Seconds left in this step, where that can be told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds_left: Option<u64>,
    /// How far the image is, in a step that writes one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<ImageProgress>,
}

/// How far an image is on its way: what was received is not yet written, and what was written is not yet durable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ImageProgress {
    /// Bytes received, as served.
    pub source_bytes: u64,
    /// Bytes of the disk that they have become, zeros included.
    pub decoded_bytes: u64,
    /// Bytes that are on the medium for sure.
    pub durable_bytes: u64,
    /// How many requests it took so far: more than one when it had to be resumed or begun again.
    pub attempt: u32,
}

/// The agent has taken a command and is about to begin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Accepted {
    /// Who speaks.
    #[serde(flatten)]
    pub origin: Origin,
    /// Which attempt.
    #[serde(flatten)]
    pub reference: CommandRef,
    /// Grows with every message about one command.
    pub sequence: u64,
}
payload!(Accepted, "dev.farrier.event.accepted.v1");

/// How far a running command is. At most one a second.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Progress {
    /// Who speaks.
    #[serde(flatten)]
    pub origin: Origin,
    /// Which attempt.
    #[serde(flatten)]
    pub reference: CommandRef,
    /// Grows with every message about one command.
    pub sequence: u64,
    /// How far it is.
    pub progress: StepProgress,
}
payload!(Progress, "dev.farrier.event.progress.v1");

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Everything was done.
    Succeeded,
    /// Something went wrong: see `error`.
    Failed,
    /// It was stopped on request.
    Cancelled,
    /// It was never begun: see `error`.
    Rejected,
    /// An outcome that this reader is too old to know.
    #[serde(other)]
    Unknown,
}

/// The end of a command. There is one for every command that was taken or refused.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CommandResult {
    /// Who speaks.
    #[serde(flatten)]
    pub origin: Origin,
    /// Which attempt.
    #[serde(flatten)]
    pub reference: CommandRef,
    /// Grows with every message about one command.
    pub sequence: u64,
    /// How it ended.
    pub outcome: Outcome,
    /// What went wrong, unless it succeeded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorReport>,
    /// When it began, by the clock of the agent.
    pub started_at: DateTime<Utc>,
    /// When it ended, by the clock of the agent.
    pub finished_at: DateTime<Utc>,
    /// The steps that were begun, in order.
    pub steps: Vec<StepReport>,
    /// What came out, as far as it came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<Output>,
}
payload!(CommandResult, "dev.farrier.event.result.v1");

/// A server refused the URL of an image that the agent was sent: it has probably run out. The agent waits for a fresh one for a
/// while and goes on where it stopped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ImageUrlWanted {
    /// Who speaks.
    #[serde(flatten)]
    pub origin: Origin,
    /// The command that has the URL.
    #[serde(flatten)]
    pub reference: CommandRef,
    /// Grows with every message about one command.
    pub sequence: u64,
    /// The URL, without its credentials and its query.
    pub image_source: String,
    /// The HTTP status with which it was refused: 401, 403 or 410.
    pub status: u16,
}
payload!(ImageUrlWanted, "dev.farrier.event.image_url_wanted.v1");

/// A line for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Log {
    /// Who speaks.
    #[serde(flatten)]
    pub origin: Origin,
    /// `error`, `warn` or `info`.
    pub level: String,
    /// The line.
    pub message: String,
    /// What it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<CommandRef>,
}
payload!(Log, "dev.farrier.event.log.v1");

/// A job has changed its state. Published by the coordinator, for automation to follow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct JobChanged {
    /// The job.
    pub job: JobId,
    /// The node.
    pub node: NodeId,
    /// The verb.
    pub verb: Verb,
    /// The state it is in now.
    pub state: JobState,
    /// The number of the newest attempt; 0 before the first.
    pub attempt: u32,
    /// What went wrong, if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorReport>,
}
payload!(JobChanged, "dev.farrier.event.job.v1");

/// Any message of an agent.
#[derive(Clone, Debug, PartialEq)]
pub enum AgentEvent {
    /// See [`Hello`].
    Hello(Hello),
    /// See [`Heartbeat`].
    Heartbeat(Heartbeat),
    /// See [`Accepted`].
    Accepted(Accepted),
    /// See [`Progress`].
    Progress(Progress),
    /// See [`CommandResult`].
    Result(Box<CommandResult>),
    /// See [`ImageUrlWanted`].
    ImageUrlWanted(ImageUrlWanted),
    /// See [`Log`].
    Log(Log),
}

impl AgentEvent {
    /// Reads a message of an agent.
    ///
    /// # Errors
    /// Says what does not fit.
    pub fn decode(body: &[u8]) -> Result<Self, DecodeError> {
        let event = Event::decode(body)?;
        Ok(match event.kind.as_str() {
            Hello::TYPE => Self::Hello(event.into_typed()?.data),
            Heartbeat::TYPE => Self::Heartbeat(event.into_typed()?.data),
            Accepted::TYPE => Self::Accepted(event.into_typed()?.data),
            Progress::TYPE => Self::Progress(event.into_typed()?.data),
            CommandResult::TYPE => Self::Result(Box::new(event.into_typed()?.data)),
            ImageUrlWanted::TYPE => Self::ImageUrlWanted(event.into_typed()?.data),
            Log::TYPE => Self::Log(event.into_typed()?.data),
            _ => {
                return Err(DecodeError::UnknownType {
                    found: event.kind,
                    expected: "an event of an agent (dev.farrier.event.*.v1)".into(),
                });
            }
        })
    }

    /// Who speaks.
    #[must_use]
    pub fn origin(&self) -> &Origin {
        match self {
            Self::Hello(event) => &event.origin,
            Self::Heartbeat(event) => &event.origin,
            Self::Accepted(event) => &event.origin,
            Self::Progress(event) => &event.origin,
            Self::Result(event) => &event.origin,
            Self::ImageUrlWanted(event) => &event.origin,
            Self::Log(event) => &event.origin,
        }
    }
}
