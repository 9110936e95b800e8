//! Every message that passes between the parts of Farrier, and nothing else.
//!
//! Bodies are CloudEvents in structured JSON mode ([`envelope`]). Readers ignore fields that they do not know and have an
//! `Unknown` for every enum; a job's *spec*, like configuration, refuses them ([`job`]). `schemas/` is generated from here.

pub mod api;
mod catalogue;
mod code;
mod command;
mod digest;
pub mod envelope;
mod event;
mod hints;
mod ids;
mod image;
mod image_source;
pub mod inventory;
mod job;
mod no_proxy;
mod power;
mod redacted_url;
pub mod report;
mod secret;

pub use code::{Coded, ErrorCode, ErrorReport};
pub use command::{
    Afterwards, CancelCommand, Command, CommandRef, FreshImageUrls, ImageUrlCommand, RunCommand,
    StatusCommand,
};
pub use digest::{BadDigest, Digest, DigestAlgorithm};
pub use envelope::{CONTENT_TYPE, DecodeError, Event, Payload};
pub use event::{
    Accepted, AgentEvent, AgentState, CommandResult, Heartbeat, Hello, ImageProgress, ImageUrlWanted,
    JobChanged, Log, Origin, Outcome, Progress, Running, StepProgress,
};
pub use hints::{HintValue, RootDeviceHints};
pub use ids::{BootId, CommandId, JobId, NodeId};
pub use image::{BadChecksum, BadImageFormat, Checksum, ImageFormat};
pub use image_source::{
    BadDownloadSource, BadImageSource, ImageDownloadSource, ImageSource, Source, SwiftObject,
};
pub use job::{
    CleanSpec, CleanStep, DEFAULT_TIMEOUT_SECONDS, DeploySpec, InspectSpec, JobRequest, NoopSpec,
    RetryPolicy, Verb, Work,
};
pub use no_proxy::{BadNoProxy, NoProxy};
pub use power::{BootDevice, NodePower, PowerAction, PowerRequest, PowerState};
pub use redacted_url::{BadUrl, HttpUrl, ImageUrl, ProxyUrl};
pub use secret::Secret;
