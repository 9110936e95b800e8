//! Disks: which there are, which of them may be touched, choosing, opening, erasing and reading them.
//!
//! [`Access`] says which disks this process may touch, and is the only way to open one. Everything here blocks.

mod access;
mod discovery;
mod error;
mod gpt;
mod identity;
mod open;
mod sysfs;
mod usage;

pub use access::Access;
pub use error::DiskError;
pub use gpt::read_partitions;
pub use identity::Disk;
pub use open::OpenDisk;
