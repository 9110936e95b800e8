//! Reads the partition table of a disk.

use super::{DiskError, ReadDisk};
use crate::partition_table::{self, Layout};
use crate::wire::report::Partition;

/// Where everything of a partition table lies that is looked at.
const HEAD_BYTES: usize = 1 << 20;

/// The partitions of a disk. Blocks.
///
/// # Errors
/// [`DiskError::BadPartitionTable`] when the disk has none, or none that is of use on it, [`DiskError::Io`] when it cannot be read.
pub fn read_layout(disk: &ReadDisk) -> Result<Layout, DiskError> {
    let head = disk.read(0, HEAD_BYTES)?;
    partition_table::check(&head, disk.logical_sector(), disk.size())
        .map_err(|problem| DiskError::BadPartitionTable { disk: disk.name().to_owned(), problem })
}

/// The partitions by every table that can be read at the beginning of a disk, whether it is of use or not.
pub(super) fn read_any_partitions(disk: &ReadDisk) -> Result<Vec<Partition>, DiskError> {
    let head = disk.read(0, HEAD_BYTES)?;
    Ok(partition_table::any_partitions(&head, disk.logical_sector(), disk.size()))
}
