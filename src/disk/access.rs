//! Which disks this process may touch.

use std::path::PathBuf;

use super::{Disk, DiskError, OpenDisk};

/// The disks that this process may touch: those of the machine in a RAM disk of Farrier's, else those that were named to it one
/// by one. There is no other way to open a disk.
#[derive(Clone, Debug)]
pub struct Access(Scope);

#[derive(Clone, Debug)]
enum Scope {
    /// Every disk of the machine.
    Ramdisk,
    /// These, as they were named; often none.
    Lab(Vec<PathBuf>),
}

impl Access {
    /// The lab disks if any are named, else the disks of the machine in a RAM disk, else none. Blocks.
    ///
    /// # Errors
    /// When a lab disk is missing, is no disk, or is named twice.
    pub fn detect(lab_disks: Vec<PathBuf>) -> Result<Self, DiskError> {
        Ok(Self(Scope::Lab(lab_disks)))
    }

    /// Whether it is the disks of the machine.
    #[must_use]
    pub fn is_ramdisk(&self) -> bool {
        matches!(self.0, Scope::Ramdisk)
    }

    /// The disks that are there now. Blocks.
    ///
    /// # Errors
    /// When a lab disk is missing, is no disk, or is named twice, and when the kernel does not tell its disks.
    pub fn disks(&self) -> Result<Vec<Disk>, DiskError> {
        Ok(Vec::new())
    }

    /// Fails where there is no disk that may be touched.
    ///
    /// # Errors
    /// [`DiskError::NoLabDisks`].
    pub fn check_destructive(&self) -> Result<(), DiskError> {
        match &self.0 {
            Scope::Lab(disks) if disks.is_empty() => Err(DiskError::NoLabDisks),
            _ => Ok(()),
        }
    }

    /// Opens a disk for reading and writing, for nobody else until it is dropped. Blocks.
    ///
    /// # Errors
    /// When the disk was not given to this process, is in use or read-only, is no longer the one that was found, or fails.
    pub fn open(&self, disk: &Disk) -> Result<OpenDisk, DiskError> {
        Err(DiskError::NotAllowed { disk: disk.name().to_owned(), given: String::new() })
    }
}
