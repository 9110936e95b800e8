//! The streaming image pipeline: source -> digest -> decode -> write -> commit, in one pass, with no whole image in memory or on
//! another disk.
//!
//! A source is a server or a file ([`Image`]); what comes is hashed as served, decoded, and put in its place on the disk. Nothing here
//! chooses a disk: [`write()`] is given an open one. What makes a disk bootable lies at its two ends, so those are zeroed first and
//! written last, once the digest is right.

mod buffer;
mod decode;
mod digest;
mod download;
mod error;
mod fresh;
mod options;
mod pipeline;
mod request;
mod source;
mod spool;
#[doc(hidden)]
pub mod stage;
mod write;

#[cfg(any(test, fuzzing))]
pub(crate) use decode::qcow2::memory::fuzz as fuzz_qcow2;
pub use decode::{Compression, Container, ImageKind, Qcow2Flaw, Table};
pub use digest::{BadChecksumFile, expected_digest, find_in_checksum_file};
pub use download::{Download, Downloaded};
pub use error::ImageError;
pub use fresh::{FreshUrls, NoFreshUrl};
pub use options::ImageOptions;
pub use pipeline::{Written, write};
pub use request::{Connection, Image, Limits, Policy, Proxies, Settings, Spool};
pub use source::{Head, LastGood, head};
pub use write::{Target, withdraw};
