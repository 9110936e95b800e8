//! The streaming image pipeline: source -> sniff -> digest -> write -> commit, with no whole image in memory or on another disk.
//!
//! Nothing here chooses a disk: [`write`] is given an open one. What makes a disk bootable lies at its two ends, so those are
//! zeroed first and written last, once the digest is right ([`commit`]).

mod buffer;
mod decode;
mod digest;
mod error;
mod options;
mod pipeline;
mod request;
mod source;
mod spool;
mod write;

pub use decode::{Compression, Container, ImageKind, Qcow2Flaw, Table};
pub use digest::{BadChecksumFile, find_in_checksum_file};
pub use error::ImageError;
pub use options::ImageOptions;
pub use pipeline::{Written, write};
pub use request::{Connection, Image, Limits, Policy, Proxies, Settings, Spool};
pub use source::LastGood;
pub use write::{Target, withdraw};
