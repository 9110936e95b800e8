//! Erases what tells others what is on a disk: partition tables and the marks of file systems, volume groups and arrays.
//!
//! The same places are erased in each partition, so that a new one that begins where an old one did does not find an old file
//! system there, or the member of an array that assembles itself.

use std::time::Instant;

use super::identity::Identity;
use super::region::{Region, merged};
use super::{DiskError, OpenDisk, erase, sysfs, table};
use crate::meter::Meter;
use crate::wire::CleanStep;
use crate::wire::report::{EraseMethod, EraseReport};

/// Erased at either end of the disk and of each partition. In front: the MBR and the GPT, also that of 4096 byte sectors (24 KiB),
/// md 1.1 and 1.2 (4 KiB), LVM (2 KiB), LUKS, two ZFS labels (512 KiB), the superblocks of ext, XFS, btrfs (64 KiB) and their like, UDF
/// (512 KiB). Behind: the other GPT, md 0.90 (128 KiB before the end at most) and 1.0, RAID of firmware, two ZFS labels (768 KiB before the end at most).
const END_BYTES: u64 = 1 << 20;
/// Where else there are marks: the second header of LUKS2, and the copies of btrfs' superblock.
const SPOTS: [u64; 4] = [2 << 20, 4 << 20, 64 << 20, 256 << 30];
const SPOT_BYTES: u64 = 4096;
/// The kernel counts partitions in units of this.
const KERNEL_SECTOR: u64 = 512;

/// Erases the metadata of a disk and of its partitions, and proves it. Blocks.
///
/// # Errors
/// When the disk is no longer the one that was opened or in use, when told to stop, when it fails, and when something is left.
pub fn erase_metadata(disk: &OpenDisk, meter: &Meter) -> Result<EraseReport, DiskError> {
    let begun = Instant::now();
    let regions = regions(disk.size(), &partitions(disk)?);
    let proof = erase::overwrite(disk, &regions, meter)?;
    let step = CleanStep::EraseDevicesMetadata;
    Ok(erase::report(step, disk, EraseMethod::Overwrite, Vec::new(), proof, begun))
}

/// Where there may be metadata on a disk of `size` bytes.
fn regions(size: u64, partitions: &[Region]) -> Vec<Region> {
    let Some(whole) = Region::new(0, size) else { return Vec::new() };
    let partitions = partitions.iter().filter_map(|partition| partition.within(whole));
    merged(std::iter::once(whole).chain(partitions).flat_map(marks).collect())
}

/// Where there may be metadata in the disk or a partition.
fn marks(extent: Region) -> Vec<Region> {
    let head = Region::new(extent.start, extent.start.saturating_add(END_BYTES));
    let tail = Region::new(extent.end.saturating_sub(END_BYTES), extent.end);
    let spots = SPOTS.iter().map(|spot| {
        let start = extent.start.saturating_add(*spot);
        Region::new(start, start.saturating_add(SPOT_BYTES))
    });
    spots.chain([head, tail]).flatten().filter_map(|region| region.within(extent)).collect()
}

/// The partitions by every table that can be read, and those that the kernel knows: it alone tells logical ones, which lie within
/// an extended one.
fn partitions(disk: &OpenDisk) -> Result<Vec<Region>, DiskError> {
    let told = table::read_any_partitions(disk)?;
    let told = told.iter().filter_map(|one| Region::new(one.start, one.start.saturating_add(one.size)));
    Ok(told.chain(kernel_partitions(disk)).collect())
}

fn kernel_partitions(disk: &OpenDisk) -> Vec<Region> {
    let Identity::Block { device, .. } = disk.disk().known_by() else { return Vec::new() };
    let partitions = sysfs::folder(device).map(|folder| sysfs::partitions(&folder)).unwrap_or_default();
    let extent = |(_, folder): (String, std::path::PathBuf)| {
        let bytes = |name| Some(sysfs::number(&folder.join(name))?.saturating_mul(KERNEL_SECTOR));
        let start = bytes("start")?;
        Region::new(start, start.saturating_add(bytes("size")?))
    };
    partitions.into_iter().filter_map(extent).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MIB: u64 = 1 << 20;

    fn is_erased(regions: &[Region], byte: u64) -> bool {
        regions.iter().any(|region| (region.start..region.end).contains(&byte))
    }

    #[test]
    fn every_mark_of_a_disk_is_erased() {
        let size = 300 << 30;
        let regions = regions(size, &[]);
        for mark in [0, 512, 4096, 64 << 10, 512 << 10, 64 * MIB, 256 << 30, size - 512, size - (768 << 10)] {
            assert!(is_erased(&regions, mark), "{mark}");
        }
        assert!(!is_erased(&regions, 100 * MIB));
    }

    #[test]
    fn every_mark_of_a_partition_is_erased() {
        let partition = Region { start: 100 * MIB, end: 200 * MIB };
        let regions = regions(1 << 30, &[partition]);
        for mark in [0, 4096, 64 << 10, 64 * MIB, 100 * MIB - 1] {
            assert!(is_erased(&regions, partition.start + mark), "{mark}");
        }
        for data in [99 * MIB, 150 * MIB, 201 * MIB] {
            assert!(!is_erased(&regions, data), "{data}");
        }
    }

    proptest! {
        #[test]
        fn regions_lie_on_the_disk(size in any::<u64>(), extents in prop::collection::vec((any::<u64>(), any::<u64>()), 0..6)) {
            let partitions: Vec<_> = extents.iter().filter_map(|(start, end)| Region::new(*start, *end)).collect();
            let regions = regions(size, &partitions);
            prop_assert!(regions.iter().all(|region| region.start < region.end && region.end <= size));
            prop_assert_eq!(regions.is_empty(), size == 0);
        }
    }
}
