//! The CloudEvents 1.0 envelope around every message, in structured JSON mode
//! (<https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/json-format.md>).
//!
//! The CloudEvents AMQP binding speaks of AMQP 1.0 only; on AMQP 0-9-1 the body is the JSON event and the
//! content type is [`CONTENT_TYPE`].

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use super::code::ErrorCode;

/// The content type of a CloudEvent in structured JSON mode.
pub const CONTENT_TYPE: &str = "application/cloudevents+json";

/// What a message of one type carries.
pub trait Payload: Serialize + JsonSchema + Sized {
    /// The CloudEvents `type`. A breaking change is a new type, never a changed meaning.
    const TYPE: &'static str;

    /// Reads the `data` of an event of this type.
    ///
    /// # Errors
    /// The field that does not fit, and why.
    fn from_data(data: Value) -> Result<Self, DecodeError>;
}

/// A CloudEvent. Attributes that Farrier does not know are ignored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Event<T> {
    /// The version of CloudEvents: `1.0`.
    pub specversion: String,
    /// Identifies the event together with `source`; a repeated pair is the same event again.
    pub id: String,
    /// Who sent it: `/agents/<node>`, `/coordinator`, or what the client calls itself.
    pub source: String,
    /// What `data` is.
    #[serde(rename = "type")]
    pub kind: String,
    /// What it is about: the job, or the node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// When it was made, in UTC, by the sender's clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<DateTime<Utc>>,
    /// The content type of `data`: `application/json`, or absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub datacontenttype: Option<String>,
    /// The message itself.
    pub data: T,
}

impl<T: Payload> Event<T> {
    /// Wraps `data`, now, with a new identifier.
    pub fn new(source: impl Into<String>, subject: impl Into<String>, data: T) -> Self {
        Self {
            specversion: "1.0".into(),
            id: Uuid::now_v7().to_string(),
            source: source.into(),
            kind: T::TYPE.into(),
            subject: Some(subject.into()),
            time: Some(Utc::now()),
            datacontenttype: Some("application/json".into()),
            data,
        }
    }

    /// The event as the body of a message.
    ///
    /// # Panics
    /// Never for the types of this crate: their maps have string keys and their writers do not fail.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a message type serialises to JSON")
    }
}

impl Event<Value> {
    /// Reads the envelope of a message and leaves its `data` unread.
    ///
    /// # Errors
    /// [`DecodeError::NotJson`] or [`DecodeError::Schema`] with the attribute that is missing or wrong.
    pub fn decode(body: &[u8]) -> Result<Self, DecodeError> {
        let value: Value = serde_json::from_slice(body)
            .map_err(|source| DecodeError::NotJson { reason: source.to_string() })?;
        let event: Self = from_value("", value)?;
        if event.specversion != "1.0" {
            return Err(DecodeError::Schema {
                field: "specversion".into(),
                reason: format!("expected \"1.0\", found {:?}", event.specversion),
            });
        }
        Ok(event)
    }

    /// Reads `data` as the type that the envelope claims.
    ///
    /// # Errors
    /// [`DecodeError::UnknownType`] when the envelope names another type, else what [`Payload::from_data`] says.
    pub fn into_typed<T: Payload>(self) -> Result<Event<T>, DecodeError> {
        if self.kind != T::TYPE {
            return Err(DecodeError::UnknownType { found: self.kind, expected: T::TYPE.into() });
        }
        Ok(Event {
            specversion: self.specversion,
            id: self.id,
            source: self.source,
            kind: self.kind,
            subject: self.subject,
            time: self.time,
            datacontenttype: self.datacontenttype,
            data: T::from_data(self.data)?,
        })
    }
}

/// Why a message could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The body is not JSON.
    #[error("the message is not JSON: {reason}; send a CloudEvents 1.0 JSON event")]
    NotJson {
        /// What the parser said.
        reason: String,
    },
    /// A field is missing, of the wrong kind, or not known.
    #[error("the field `{field}` does not fit: {reason}; see schemas/ for what it may be")]
    Schema {
        /// The path of the field, with dots.
        field: String,
        /// What was expected and what was found.
        reason: String,
    },
    /// The envelope names a type that this reader does not take.
    #[error("the message has the type {found:?}, expected {expected}")]
    UnknownType {
        /// The type found.
        found: String,
        /// The types that would have been read.
        expected: String,
    },
    /// The message asks for a verb that does not exist.
    #[error("unknown verb {found:?}: expected one of {expected}")]
    UnknownVerb {
        /// The verb found.
        found: String,
        /// The verbs that exist.
        expected: String,
    },
}

impl DecodeError {
    /// The stable code on the wire.
    #[must_use]
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::NotJson { .. } => ErrorCode::NotJson,
            Self::Schema { .. } => ErrorCode::BadSchema,
            Self::UnknownType { .. } => ErrorCode::UnknownType,
            Self::UnknownVerb { .. } => ErrorCode::UnknownVerb,
        }
    }

    /// The path of the field at fault, if one is.
    #[must_use]
    pub fn field(&self) -> Option<&str> {
        match self {
            Self::Schema { field, .. } => Some(field),
            Self::UnknownVerb { .. } => Some("verb"),
            Self::UnknownType { .. } => Some("type"),
            Self::NotJson { .. } => None,
        }
    }
}

/// Reads a value, naming the field at fault; `prefix` is put before its path.
///
/// # Errors
/// [`DecodeError::Schema`].
pub fn from_value<T: DeserializeOwned>(prefix: &str, value: Value) -> Result<T, DecodeError> {
    serde_path_to_error::deserialize(value).map_err(|error| schema_error(prefix, error))
}

/// What a reader of any format says, as [`DecodeError::Schema`] with the field at fault; `prefix` is put before its path.
pub fn schema_error<E: std::fmt::Display>(prefix: &str, error: serde_path_to_error::Error<E>) -> DecodeError {
    let path = error.path().to_string();
    let reason = error.into_inner().to_string();
    let field = match (prefix, path.as_str()) {
        ("", ".") => named_in(&reason).unwrap_or(".").to_owned(),
        ("", path) => path.to_owned(),
        (prefix, ".") => match named_in(&reason) {
            Some(name) => format!("{prefix}.{name}"),
            None => prefix.to_owned(),
        },
        (prefix, path) => format!("{prefix}.{path}"),
    };
    DecodeError::Schema { field, reason }
}

/// The name in serde's "missing field `x`" and its like, which carry no path of their own.
fn named_in(reason: &str) -> Option<&str> {
    let rest = ["missing field `", "unknown field `", "duplicate field `"].iter();
    let rest = rest.filter_map(|beginning| reason.strip_prefix(beginning)).next()?;
    rest.split_once('`').map(|(name, _)| name)
}

/// Implements [`Payload`] for a type that reads itself with serde alone.
macro_rules! payload {
    ($name:ty, $kind:literal) => {
        impl $crate::wire::Payload for $name {
            const TYPE: &'static str = $kind;

            fn from_data(data: serde_json::Value) -> Result<Self, $crate::wire::DecodeError> {
                $crate::wire::envelope::from_value("data", data)
            }
        }
    };
}
pub(crate) use payload;
