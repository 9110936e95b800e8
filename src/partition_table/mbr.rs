//! Reads a master boot record: the classic partition table, in the first 512 bytes of a disk whatever its sectors.
//!
//! By the UEFI specification 2.10, section 5.2, and by what Linux takes for one (`block/partitions/msdos.c`). Logical partitions are
//! not followed: the extended partition that holds them is listed as what it is.

use std::ops::Range;

use crate::little_endian::{array_at, u32_at};
use crate::wire::report::Partition;

/// Bytes of the record.
const BYTES: usize = 512;
/// Where its four entries are.
const ENTRIES: Range<usize> = 446..510;
const ENTRY_BYTES: usize = 16;
const SIGNATURE: [u8; 2] = [0x55, 0xaa];
/// Where the identifier of the disk is.
const DISK_ID: usize = 440;
/// The type of an entry that only says that there is a GPT.
const PROTECTIVE: u8 = 0xee;

/// A master boot record.
#[derive(Debug)]
pub(super) struct Mbr<'a>(&'a [u8]);

impl<'a> Mbr<'a> {
    /// The record at the beginning of a disk, if that has the signature of one. File systems have boot sectors with the same
    /// signature: their bytes at the place of the entries make none, as a rule.
    pub(super) fn parse(head: &'a [u8]) -> Option<Self> {
        let record = head.get(..BYTES)?;
        record.ends_with(&SIGNATURE).then_some(Self(record))
    }

    /// Whether it says that there is a GPT. One with other entries beside, a hybrid, says so too.
    pub(super) fn is_protective(&self) -> bool {
        self.entries().any(|(_, entry)| entry.kind() == PROTECTIVE)
    }

    /// The identifier of the disk.
    pub(super) fn disk_id(&self) -> String {
        format!("{:08x}", u32_at(self.0, DISK_ID))
    }

    /// The primary partitions, by number, for sectors of so many bytes.
    pub(super) fn partitions(&self, sector: u32) -> Vec<Partition> {
        let sector = u64::from(sector);
        let disk_id = self.disk_id();
        let partition = |(number, entry): (u32, Entry<'_>)| Partition {
            number,
            type_guid: format!("0x{:02x}", entry.kind()),
            guid: format!("{disk_id}-{number:02x}"),
            label: String::new(),
            start: u64::from(entry.start()) * sector,
            size: u64::from(entry.sectors()) * sector,
        };
        self.entries().filter(|(_, entry)| entry.kind() != PROTECTIVE).map(partition).collect()
    }

    /// The entries in use and their numbers. None when one of the four cannot be an entry.
    fn entries(&self) -> impl Iterator<Item = (u32, Entry<'a>)> {
        let entries = self.0[ENTRIES].chunks_exact(ENTRY_BYTES).map(Entry);
        let sane = entries.clone().all(|entry| entry.is_sane());
        (1..).zip(entries).filter(move |(_, entry)| sane && entry.is_used())
    }
}

/// One of the four entries.
#[derive(Clone, Copy, Debug)]
struct Entry<'a>(&'a [u8]);

impl Entry<'_> {
    /// What boots is marked by 0x80, the rest by zero.
    fn is_sane(self) -> bool {
        [0, 0x80].contains(&self.0[0])
    }

    fn is_used(self) -> bool {
        self.kind() != 0 && self.sectors() > 0
    }

    fn kind(self) -> u8 {
        self.0[4]
    }

    fn start(self) -> u32 {
        u32_at(self.0, 8)
    }

    fn sectors(self) -> u32 {
        u32_at(self.0, 12)
    }
}

/// Makes a record that only protects a GPT cover a disk of so many sectors. A hybrid is left as it is: where its protective entry
/// ends is its own matter.
pub(super) fn protect(head: &mut [u8], sectors: u64) {
    let only_protects =
        Mbr::parse(head).is_some_and(|mbr| mbr.is_protective() && mbr.partitions(1).is_empty());
    if !only_protects {
        return;
    }
    let size = u32::try_from(sectors - 1).unwrap_or(u32::MAX);
    for entry in head[ENTRIES].chunks_exact_mut(ENTRY_BYTES) {
        if array_at::<1>(entry, 4) == [PROTECTIVE] {
            // No address by cylinder, head and sector.
            entry[5..8].fill(0xff);
            entry[12..].copy_from_slice(&size.to_le_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn record(entries: &[(u8, u8, u32, u32)]) -> Vec<u8> {
        let mut record = vec![0; 1024];
        record[440..444].copy_from_slice(&0x6c6f_ab1e_u32.to_le_bytes());
        record[510..512].copy_from_slice(&SIGNATURE);
        for (entry, (boot, kind, start, sectors)) in record[ENTRIES].chunks_exact_mut(16).zip(entries) {
            entry[0] = *boot;
            entry[4] = *kind;
            entry[8..12].copy_from_slice(&start.to_le_bytes());
            entry[12..].copy_from_slice(&sectors.to_le_bytes());
        }
        record
    }

    #[test]
    fn primary_and_extended_partitions_are_listed() {
        let record = record(&[(0x80, 0x83, 2048, 100), (0, 0, 0, 0), (0, 0x0f, 4096, 50)]);
        let mbr = Mbr::parse(&record).unwrap();
        assert!(!mbr.is_protective());
        let found = mbr.partitions(4096);
        let found: Vec<_> =
            found.iter().map(|one| (one.number, &*one.type_guid, &*one.guid, one.start, one.size)).collect();
        assert_eq!(
            found,
            [
                (1, "0x83", "6c6fab1e-01", 2048 * 4096, 100 * 4096),
                (3, "0x0f", "6c6fab1e-03", 4096 * 4096, 50 * 4096)
            ]
        );
    }

    #[test]
    fn a_protective_record_is_told_from_a_real_one() {
        let protective = record(&[(0, PROTECTIVE, 1, u32::MAX)]);
        let mbr = Mbr::parse(&protective).unwrap();
        assert!(mbr.is_protective() && mbr.partitions(512).is_empty());
        let hybrid = record(&[(0, 0x83, 2048, 10), (0, PROTECTIVE, 1, 2047)]);
        assert!(Mbr::parse(&hybrid).unwrap().is_protective());
    }

    #[test]
    fn a_boot_sector_with_code_at_the_place_of_the_entries_has_none() {
        let record = record(&[(0x80, 0x83, 2048, 100), (0x74, 0x20, 1, 1)]);
        assert!(Mbr::parse(&record).unwrap().partitions(512).is_empty());
        assert!(Mbr::parse(&[0; 512]).is_none());
        assert!(Mbr::parse(&record[..511]).is_none());
    }

    #[test]
    fn only_what_protects_alone_is_made_to_cover_the_disk() {
        let size = |head: &[u8]| u32_at(head, 446 + 12);
        let mut head = record(&[(0, PROTECTIVE, 1, 99)]);
        protect(&mut head, 1000);
        assert_eq!((size(&head), &head[446 + 5..446 + 8]), (999, &[0xff; 3][..]));
        protect(&mut head, 1 << 33);
        assert_eq!(size(&head), u32::MAX);
        let mut hybrid = record(&[(0, PROTECTIVE, 1, 99), (0, 0x83, 100, 10)]);
        protect(&mut hybrid, 1000);
        assert_eq!(size(&hybrid), 99);
    }

    proptest! {
        #[test]
        fn never_panics(mut head in prop::collection::vec(any::<u8>(), 0..600), sectors in 1_u64.., sane in any::<bool>()) {
            if sane && head.len() >= 512 {
                head[510..512].copy_from_slice(&SIGNATURE);
                for entry in head[ENTRIES].chunks_exact_mut(16) {
                    entry[0] &= 0x80;
                }
            }
            if let Some(mbr) = Mbr::parse(&head) {
                prop_assert!(mbr.partitions(4096).iter().all(|one| one.size > 0));
            }
            protect(&mut head, sectors);
        }
    }
}
