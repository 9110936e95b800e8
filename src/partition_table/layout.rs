//! Whether the first bytes of an image are those of a whole disk that can be used on the disk at hand.

use super::gpt::{Header, SIGNATURE};
use super::mbr;

/// Sizes that logical sectors have.
const SECTORS: [u32; 2] = [512, 4096];

/// Why an image is no use on a disk.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LayoutFlaw {
    /// Its table was made for other sectors.
    #[error(
        "its GPT is for sectors of {found} bytes, and the disk has sectors of {expected}: use an image made for such disks"
    )]
    OtherSectorSize {
        /// Of the image.
        found: u32,
        /// Of the disk.
        expected: u32,
    },
    /// Its table is damaged, or reaches behind the disk.
    #[error("its GPT cannot be used: {reason}")]
    Damaged {
        /// What is wrong.
        reason: String,
    },
    /// Its boot record protects a GPT that is not there.
    #[error("its master boot record says that a GPT follows, and none does")]
    NoGpt,
    /// It has no partition.
    #[error("it has no partition: expected a whole-disk image, and not the image of one file system")]
    NoPartition,
}

/// Checks the first bytes of an image for a disk of `capacity` bytes with logical sectors of `sector` bytes. 64 KiB are enough; what
/// lies behind the end of `head` is not judged.
///
/// # Errors
/// [`LayoutFlaw`].
pub fn check(head: &[u8], sector: u32, capacity: u64) -> Result<(), LayoutFlaw> {
    let damaged = |reason| LayoutFlaw::Damaged { reason };
    let size = sector as usize;
    let sectors = capacity / u64::from(sector.max(1));
    let header = match head.get(size..2 * size) {
        Some(block) => Header::parse(block, sectors).map_err(damaged)?,
        None => None,
    };
    if let Some(header) = header {
        let table = usize::try_from(header.table).ok().and_then(|table| table.checked_mul(size));
        let table = table.and_then(|start| head.get(start..start.checked_add(header.table_bytes())?));
        return match table.map(|table| header.partitions(table, sector.into())) {
            Some(Ok(partitions)) if partitions.is_empty() => Err(LayoutFlaw::NoPartition),
            Some(Err(reason)) => Err(damaged(reason)),
            // The entries lie further back than anybody looks here.
            Some(Ok(_)) | None => Ok(()),
        };
    }
    let has_gpt_at = |other: &u32| {
        let at = *other as usize;
        *other != sector && head.get(at..).is_some_and(|rest| rest.starts_with(SIGNATURE))
    };
    if let Some(found) = SECTORS.into_iter().find(has_gpt_at) {
        return Err(LayoutFlaw::OtherSectorSize { found, expected: sector });
    }
    let entries = mbr::entries(head);
    match entries.iter().find(|entry| entry.kind != mbr::PROTECTIVE) {
        Some(_) => Ok(()),
        None if entries.is_empty() => Err(LayoutFlaw::NoPartition),
        None => Err(LayoutFlaw::NoGpt),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::partition_table::relocate::tests::disk_with;

    #[test]
    fn takes_a_gpt_for_the_sectors_of_the_disk_alone() {
        for (sector, other) in [(512, 4096), (4096, 512)] {
            let disk = disk_with(sector, 4096, &[(100, 199)]);
            let capacity = disk.len() as u64;
            assert_eq!(check(&disk, sector, capacity), Ok(()));
            let flaw = LayoutFlaw::OtherSectorSize { found: sector, expected: other };
            assert_eq!(check(&disk, other, capacity), Err(flaw));
        }
    }

    #[test]
    fn says_what_is_wrong() {
        let disk = disk_with(512, 4096, &[(100, 199)]);
        let capacity = disk.len() as u64;
        assert!(matches!(check(&disk, 512, capacity - 512 * 64), Err(LayoutFlaw::Damaged { .. })));
        let mut damaged = disk.clone();
        damaged[1024] ^= 1;
        assert!(matches!(check(&damaged, 512, capacity), Err(LayoutFlaw::Damaged { .. })));
        assert_eq!(check(&disk_with(512, 4096, &[]), 512, capacity), Err(LayoutFlaw::NoPartition));
        let mut protected = disk;
        protected[512..1024].fill(0);
        assert_eq!(check(&protected, 512, capacity), Err(LayoutFlaw::NoGpt));
        assert_eq!(check(&[0; 4096], 512, 4096), Err(LayoutFlaw::NoPartition));
        assert_eq!(check(&[], 512, 4096), Err(LayoutFlaw::NoPartition));
    }

    #[test]
    fn takes_a_master_boot_record_with_a_partition() {
        let mut head = vec![0; 4096];
        head[510..512].copy_from_slice(b"\x55\xaa");
        assert_eq!(check(&head, 512, 1 << 20), Err(LayoutFlaw::NoPartition));
        head[446 + 4] = 0x83;
        head[446 + 12] = 1;
        assert_eq!(check(&head, 512, 1 << 20), Ok(()));
    }

    proptest! {
        #[test]
        fn never_panics(head in prop::collection::vec(any::<u8>(), 0..9000), sector in prop::sample::select(&SECTORS[..]), capacity in any::<u64>()) {
            let _ = check(&head, sector, capacity);
        }
    }
}
