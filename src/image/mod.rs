//! The streaming image pipeline: source -> sniff -> digest -> write -> commit, with no whole image in memory or on another disk.
//!
//! Nothing here chooses a disk: [`write`] is given an open one. What makes a disk bootable lies at its two ends, so those are
//! zeroed first and written last, once the digest is right ([`commit`]).

mod buffer;
mod decode;
mod digest;
mod error;
mod pipeline;
mod request;
mod source;
mod write;

pub use decode::qcow2::{Compression, Qcow2Flaw, Table};
pub use error::ImageError;
pub use pipeline::{Written, write};
pub use request::{Connection, Image, Limits, Policy, Spool};
pub use write::{Target, withdraw};
