//! What can go wrong when the machine is asked what it is made of.

use std::io;
use std::path::PathBuf;

use crate::disk::DiskError;
use crate::wire::{Coded, ErrorCode};

/// The kernel would not say what every Linux says. What only some machines say is absent from the inventory instead.
#[derive(Debug, thiserror::Error)]
pub enum HardwareError {
    /// A file of the kernel cannot be read.
    #[error("cannot read {path}, which says {what}; are /proc and /sys mounted?")]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// What it would have said.
        what: &'static str,
        /// Why.
        source: io::Error,
    },

    /// A file of the kernel does not say what it must.
    #[error("{path} does not say {what}: expected {expected}, found {found}; is it the kernel's own file?")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What it should have said.
        what: &'static str,
        /// How it would have been said.
        expected: &'static str,
        /// What stands there.
        found: String,
    },

    /// The kernel does not list the addresses.
    #[error("cannot list the addresses of the network interfaces; the kernel must have netlink")]
    Addresses(#[source] nix::Error),

    /// The disks cannot be listed.
    #[error(transparent)]
    Disks(#[from] DiskError),
}

impl Coded for HardwareError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::Read { .. } | Self::Malformed { .. } | Self::Addresses(_) => ErrorCode::Hardware,
            Self::Disks(error) => error.code(),
        }
    }
}
