//! The streaming image pipeline: source -> sniff -> digest -> write -> commit, with no whole image in memory or on another disk.
//!
//! Nothing here chooses a disk: [`write`] is given an open one. What makes a disk bootable lies at its two ends, so those are
//! zeroed first and written last, once the digest is right ([`commit`]).

mod buffer;
mod commit;
mod digest;
mod disk;
mod error;
mod pipeline;
mod sniff;
mod source;
mod write;

pub use commit::withdraw;
pub use disk::Target;
pub use error::ImageError;
pub use pipeline::{Image, Written, write};
pub use source::Limits;
