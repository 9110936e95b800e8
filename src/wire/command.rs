//! What the coordinator sends to an agent.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::envelope::{DecodeError, Event, Payload, from_value, payload};
use super::{BootId, CommandId, ErrorReport, ImageUrl, JobId, NodeId, Work};

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

/// What the agent does when the work has succeeded. After a failure and after a cancel it always stays as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Afterwards {
    /// It waits for the next command.
    #[default]
    Stay,
    /// It brings everything that was written to the media, sends the result, and takes no command any more: the power of the
    /// machine will be switched.
    Flush,
    /// The same, and when the broker has confirmed the result, it powers its machine off.
    PowerOff,
    /// The same, and when the broker has confirmed the result, it restarts its machine.
    Reboot,
    /// Something that this reader is too old to know: it refuses the command.
    #[serde(other)]
    Unknown,
}

impl Afterwards {
    /// Whether it is what a command without a word about it means.
    fn is_stay(&self) -> bool {
        *self == Self::Stay
    }
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
    /// What to do when it has succeeded.
    #[serde(skip_serializing_if = "Afterwards::is_stay")]
    pub afterwards: Afterwards,
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
    #[serde(default)]
    afterwards: Afterwards,
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
            afterwards: raw.afterwards,
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

/// The answer to an agent whose URL of an image has run out while it fetched the image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ImageUrlCommand {
    /// The running command that it is for; where another one runs, it is ignored.
    #[serde(flatten)]
    pub reference: CommandRef,
    /// The node it is for.
    pub node: NodeId,
    /// The URLs, or why there are none.
    #[serde(flatten)]
    pub answer: FreshImageUrls,
}

/// URLs in the place of those that have run out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum FreshImageUrls {
    /// The same image, by URLs that are good again.
    Made {
        /// In the place of the `image_source` of the spec.
        image_source: ImageUrl,
        /// In the place of its `image_mirrors`, in their order.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        image_mirrors: Vec<ImageUrl>,
    },
    /// None can be made.
    NotMade {
        /// Why.
        error: ErrorReport,
    },
}

#[derive(Deserialize)]
struct RawImageUrlCommand {
    #[serde(flatten)]
    reference: CommandRef,
    node: NodeId,
    image_source: Option<ImageUrl>,
    #[serde(default)]
    image_mirrors: Vec<ImageUrl>,
    error: Option<ErrorReport>,
}

impl Payload for ImageUrlCommand {
    const TYPE: &'static str = "dev.farrier.command.image_url.v1";

    fn from_data(data: Value) -> Result<Self, DecodeError> {
        let raw: RawImageUrlCommand = from_value("data", data)?;
        let answer = match (raw.image_source, raw.error) {
            (Some(image_source), None) => {
                FreshImageUrls::Made { image_source, image_mirrors: raw.image_mirrors }
            }
            (None, Some(error)) => FreshImageUrls::NotMade { error },
            (found, _) => {
                let found = if found.is_some() { "both" } else { "neither" };
                return Err(DecodeError::Schema {
                    field: "data.image_source".into(),
                    reason: format!("expected either image_source or error, found {found}"),
                });
            }
        };
        Ok(Self { reference: raw.reference, node: raw.node, answer })
    }
}

/// Any message on the queue of a node.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Carry out.
    Run(Box<RunCommand>),
    /// Stop.
    Cancel(CancelCommand),
    /// Report.
    Status(StatusCommand),
    /// Go on with these URLs.
    ImageUrl(Box<ImageUrlCommand>),
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
            ImageUrlCommand::TYPE => Ok(Self::ImageUrl(Box::new(event.into_typed()?.data))),
            _ => Err(DecodeError::UnknownType {
                found: event.kind,
                expected: [RunCommand::TYPE, CancelCommand::TYPE, StatusCommand::TYPE, ImageUrlCommand::TYPE]
                    .join(", "),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::wire::ErrorCode;

    fn reference() -> Value {
        json!({"job": JobId::new(), "command": CommandId::new(), "attempt": 1, "node": NodeId::new()})
    }

    fn with(mut data: Value, more: &Value) -> Value {
        for (key, value) in more.as_object().unwrap() {
            data[key] = value.clone();
        }
        data
    }

    #[test]
    fn a_command_says_what_comes_after_it_or_that_the_agent_stays() {
        let noop = json!({"boot_id": BootId::new(), "expires_at": "2999-01-01T00:00:00Z", "verb": "noop"});
        let command = with(reference(), &noop);
        let read = |word: &str| {
            RunCommand::from_data(with(command.clone(), &json!({"afterwards": word}))).unwrap().afterwards
        };
        let stays = RunCommand::from_data(command.clone()).unwrap();
        assert_eq!(stays.afterwards, Afterwards::Stay);
        assert!(serde_json::to_value(&stays).unwrap().get("afterwards").is_none());
        for (word, expected) in [
            ("stay", Afterwards::Stay),
            ("flush", Afterwards::Flush),
            ("power_off", Afterwards::PowerOff),
            ("reboot", Afterwards::Reboot),
            ("hibernate", Afterwards::Unknown),
        ] {
            assert_eq!(read(word), expected);
        }
        let off = RunCommand { afterwards: Afterwards::PowerOff, ..stays };
        assert_eq!(RunCommand::from_data(serde_json::to_value(&off).unwrap()).unwrap(), off);
    }

    #[test]
    fn the_answer_to_an_url_that_ran_out_is_urls_or_a_reason() {
        let urls = json!({"image_source": "https://h/a?sig=1", "image_mirrors": ["https://m/a?sig=2"]});
        let error = json!({"error": {"code": "image-not-found", "message": "it is gone"}});
        for answer in [&urls, &error] {
            let command = ImageUrlCommand::from_data(with(reference(), answer)).unwrap();
            let again = ImageUrlCommand::from_data(serde_json::to_value(&command).unwrap()).unwrap();
            assert_eq!(again, command);
            assert_eq!(matches!(command.answer, FreshImageUrls::Made { .. }), answer == &urls);
        }
        for (answer, found) in [(with(urls, &error), "both"), (json!({}), "neither")] {
            let error = ImageUrlCommand::from_data(with(reference(), &answer)).unwrap_err();
            assert_eq!(error.code(), ErrorCode::BadSchema);
            assert!(error.to_string().contains(found), "{error}");
        }
    }
}
