//! The partitions that a disk has now, read from the disk itself.

use std::os::unix::fs::FileExt as _;

use super::{DiskError, OpenDisk};
use crate::partition_table::{Header, mbr_partitions};
use crate::wire::report::Partition;

/// The partitions of a disk, by number: of its GPT for sectors of its size, else of its master boot record. Blocks.
///
/// # Errors
/// [`DiskError::BadPartitionTable`] when there is a GPT that is damaged or does not fit the disk, [`DiskError::Io`] when it cannot
/// be read.
pub fn read_partitions(disk: &OpenDisk) -> Result<Vec<Partition>, DiskError> {
    let sector = u64::from(disk.logical_sector());
    let sectors = disk.size() / sector;
    if sectors < 3 {
        return Ok(Vec::new());
    }
    let bad = |reason| DiskError::BadPartitionTable { disk: disk.name().to_owned(), reason };
    let block = read(disk, sector, disk.logical_sector() as usize)?;
    let Some(header) = Header::parse(&block, sectors).map_err(bad)? else {
        return Ok(mbr_partitions(&read(disk, 0, disk.logical_sector() as usize)?, sector));
    };
    let start = header.table.saturating_mul(sector);
    if start.saturating_add(header.table_bytes() as u64) > disk.size() {
        return Err(bad(format!("its entries begin in sector {} and end behind the disk", header.table)));
    }
    let table = read(disk, start, header.table_bytes())?;
    header.partitions(&table, sector).map_err(bad)
}

fn read(disk: &OpenDisk, offset: u64, length: usize) -> Result<Vec<u8>, DiskError> {
    let mut bytes = vec![0; length];
    disk.file().read_exact_at(&mut bytes, offset).map_err(|source| disk.fault_at("read", offset, source))?;
    Ok(bytes)
}
