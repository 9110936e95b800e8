//! Disks: which there are, which of them may be touched, choosing, opening, erasing and reading them.
//!
//! [`Access`] says which disks this process may touch, and is the only way to open one. Everything here blocks.

mod access;
mod discovery;
mod duplicates;
mod erase;
mod error;
mod hints;
mod identity;
mod metadata;
mod open;
mod region;
mod sysfs;
mod table;
mod usage;
mod verify;

pub use access::{Access, WholeMachine};
pub use duplicates::{Duplicates, find_duplicates};
pub use erase::erase;
pub use error::DiskError;
pub use hints::{choose_root, split_skipped};
pub use identity::Disk;
pub use metadata::erase_metadata;
pub use open::{OpenDisk, ReadDisk};
pub use table::read_layout;
