//! Reads the partition table of a disk.

use super::{DiskError, ReadDisk};
use crate::partition_table::{self, Layout, Problem, Scheme};
use crate::superblock;
use crate::wire::report::Partition;

/// Where everything of a partition table lies that is looked at.
const HEAD_BYTES: usize = 1 << 20;

/// Sectors for which an MBR may have been made.
const SECTOR_SIZES: [u32; 2] = [512, 4096];

/// The partitions of a disk. Blocks.
///
/// # Errors
/// [`DiskError::BadPartitionTable`] when the disk has none, or none that is of use on it, [`DiskError::Io`] when it cannot be read.
pub fn read_layout(disk: &ReadDisk) -> Result<Layout, DiskError> {
    let head = disk.read(0, HEAD_BYTES)?;
    let checked = partition_table::check(&head, disk.logical_sector(), disk.size());
    let problem = match &checked {
        Ok(Layout { scheme: Scheme::Mbr, partitions, .. }) => other_sectors(disk, partitions)?,
        // Too long, in sectors of the wrong size.
        Err(Problem::BehindDisk { .. }) => {
            other_sectors(disk, &partition_table::any_partitions(&head, disk.logical_sector(), disk.size()))?
        }
        _ => None,
    };
    let checked = problem.map_or(checked, Err);
    checked.map_err(|problem| DiskError::BadPartitionTable { disk: disk.name().to_owned(), problem })
}

/// Whether the partitions of an MBR, which does not say for what sectors it is, hold something at its beginning only with sectors of
/// another size.
fn other_sectors(disk: &ReadDisk, partitions: &[Partition]) -> Result<Option<Problem>, DiskError> {
    let expected = disk.logical_sector();
    for found in std::iter::once(expected).chain(SECTOR_SIZES.into_iter().filter(|size| *size != expected)) {
        for partition in partitions {
            let start = (partition.start / u64::from(expected)).saturating_mul(u64::from(found));
            if let Some(superblock) = superblock::probe(&disk.read(start, superblock::HEAD_BYTES)?) {
                let (partition, filesystem) = (partition.number, superblock.kind);
                let problem = Problem::OtherSectorsOfMbr { found, expected, partition, filesystem };
                return Ok((found != expected).then_some(problem));
            }
        }
    }
    Ok(None)
}

/// The partitions by every table that can be read at the beginning of a disk, whether it is of use or not.
pub(super) fn read_any_partitions(disk: &ReadDisk) -> Result<Vec<Partition>, DiskError> {
    let head = disk.read(0, HEAD_BYTES)?;
    Ok(partition_table::any_partitions(&head, disk.logical_sector(), disk.size()))
}
