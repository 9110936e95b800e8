//! A disk as it was found: what it is like, and by what it is known again.

use crate::wire::inventory;
use crate::wire::report::DiskIdentity;

/// A disk that this process was given. Whoever has one can look at it; only [`Access::open`](super::Access::open) opens it.
#[derive(Clone, Debug)]
pub struct Disk {
    facts: inventory::Disk,
    identity: Identity,
}

/// What the kernel knows a disk by, beside the size, serial number and World Wide Name in its facts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Identity {
    /// A whole block device.
    Block {
        /// Its number.
        device: u64,
        /// Counts every disk that ever appeared, so that a number that is used again is noticed. Linux 5.15 and later.
        sequence: Option<u64>,
    },
    /// A file that stands for a disk.
    File {
        /// The file system it is on.
        device: u64,
        /// Its inode.
        inode: u64,
    },
}

impl Disk {
    pub(super) fn new(facts: inventory::Disk, identity: Identity) -> Self {
        Self { facts, identity }
    }

    /// A disk that is nowhere, for tests of what only looks at facts.
    #[cfg(test)]
    #[must_use]
    pub(crate) fn of_facts(facts: inventory::Disk) -> Self {
        Self::new(facts, Identity::File { device: 0, inode: 0 })
    }

    /// What it is like.
    #[must_use]
    pub fn facts(&self) -> &inventory::Disk {
        &self.facts
    }

    /// By what people know it.
    #[must_use]
    pub fn identity(&self) -> DiskIdentity {
        DiskIdentity {
            name: self.facts.name.clone(),
            size: self.facts.size,
            serial: self.facts.serial.clone(),
            wwn: self.facts.wwn.clone(),
            by_path: self.facts.by_path.clone(),
        }
    }

    /// Its size in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.facts.size
    }

    /// The path by which it is opened; what errors call it.
    pub(super) fn name(&self) -> &str {
        &self.facts.name
    }

    pub(super) fn known_by(&self) -> Identity {
        self.identity
    }
}
