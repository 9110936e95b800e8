//! What the coordinator sends to an agent.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::envelope::{DecodeError, Event, Payload, from_value, payload};
use super::{BootId, CommandId, JobId, NodeId, Work};

/// Names one attempt of a job. `attempt` is the fencing number: it only grows, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct CommandRef {
    /// The job.
    pub job: JobId,
    /// This attempt's command.
    pub command: CommandId,
    /// The number of the attempt.
    #[schemars(range(min = 1))]
    pub attempt: u32,
}

/// Carry out one attempt of a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct RunCommand {
    /// Which attempt this is.
    #[serde(flatten)]
    pub reference: CommandRef,
    /// The node it is for.
    pub node: NodeId,
    /// The boot of the agent it is for: another boot refuses it, so that an old command can never outlive a reboot.
    pub boot_id: BootId,
    /// When it is too late to begin, by the clock of the coordinator.
    pub expires_at: DateTime<Utc>,
    /// What to do.
    #[serde(flatten)]
    pub work: Work,
}

#[derive(Deserialize)]
struct RawRunCommand {
    #[serde(flatten)]
    reference: CommandRef,
    node: NodeId,
    boot_id: BootId,
    expires_at: DateTime<Utc>,
    verb: String,
    spec: Option<Value>,
}

impl Payload for RunCommand {
    const TYPE: &'static str = "dev.farrier.command.run.v1";

    fn from_data(data: Value) -> Result<Self, DecodeError> {
        let raw: RawRunCommand = from_value("data", data)?;
        Ok(Self {
            reference: raw.reference,
            node: raw.node,
            boot_id: raw.boot_id,
            expires_at: raw.expires_at,
            work: Work::from_parts(&raw.verb, raw.spec)?,
        })
    }
}

/// Stop carrying out a command. Cancelling what is not running does nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CancelCommand {
    /// What to stop.
    #[serde(flatten)]
    pub reference: CommandRef,
    /// The node it is for.
    pub node: NodeId,
    /// Why, for people.
    pub reason: String,
}
payload!(CancelCommand, "dev.farrier.command.cancel.v1");

/// Say at once, by a heartbeat, what is being done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StatusCommand {
    /// The node it is for.
    pub node: NodeId,
}
payload!(StatusCommand, "dev.farrier.command.status.v1");

/// Any message on the queue of a node.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Carry out.
    Run(Box<RunCommand>),
    /// Stop.
    Cancel(CancelCommand),
    /// Report.
    Status(StatusCommand),
}

impl Command {
    /// Reads a message from the queue of a node.
    ///
    /// # Errors
    /// Says what does not fit.
    pub fn decode(body: &[u8]) -> Result<Self, DecodeError> {
        let event = Event::decode(body)?;
        match event.kind.as_str() {
            RunCommand::TYPE => Ok(Self::Run(Box::new(event.into_typed()?.data))),
            CancelCommand::TYPE => Ok(Self::Cancel(event.into_typed()?.data)),
            StatusCommand::TYPE => Ok(Self::Status(event.into_typed()?.data)),
            _ => Err(DecodeError::UnknownType {
                found: event.kind,
                expected: [RunCommand::TYPE, CancelCommand::TYPE, StatusCommand::TYPE].join(", "),
            }),
        }
    }
}
