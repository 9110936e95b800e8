//! Disks: which there are, which of them may be touched, choosing, opening, erasing and reading them.
//!
//! [`Access`] says which disks this process may touch, and is the only way to open one. Everything here blocks.

mod access;
mod error;
mod hints;
mod identity;
mod open;

pub use access::Access;
pub use error::DiskError;
pub use hints::{choose_root, split_skipped};
pub use identity::Disk;
pub use open::OpenDisk;
