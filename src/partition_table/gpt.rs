//! Reads a GUID partition table, by the UEFI specification 2.10, section 5.3.

use std::ops::Range;

use crc::{CRC_32_ISO_HDLC, Crc};
use uuid::Uuid;

use crate::little_endian::{array_at, u32_at, u64_at};
use crate::wire::report::Partition;

const SIGNATURE: &[u8] = b"EFI PART";
static CRC32: Crc<u32> = Crc::<u32>::new(&CRC_32_ISO_HDLC);
/// Bytes of the header that the specification defines.
const HEADER_BYTES: usize = 92;
/// Where the header has its own checksum, which counts as zero in it.
const CHECKSUM: Range<usize> = 16..20;
/// Bytes of the smallest entry; others are this times a power of two.
const ENTRY_BYTES: usize = 128;
/// Tables have 16 KiB as a rule. A longer one than this is none.
const MAX_TABLE_BYTES: usize = 1 << 20;
/// The sector with the first header.
pub(super) const PRIMARY: u64 = 1;

/// What is wrong with a GPT.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GptFault {
    /// A header shorter than its fields, or longer than a sector.
    #[error("its header says that it is {0} bytes long")]
    HeaderLength(u32),
    /// A damaged header.
    #[error("the checksum of its header is wrong")]
    HeaderChecksum,
    /// A header that belongs elsewhere.
    #[error("its header says that it is in sector {own}, and was found in sector {found}")]
    HeaderElsewhere {
        /// Where it says it is.
        own: u64,
        /// Where it is.
        found: u64,
    },
    /// Entries that are not 128 bytes, times a power of two.
    #[error("its entries are {0} bytes long")]
    EntryLength(u32),
    /// More entries than anybody needs.
    #[error("it has {count} entries of {bytes} bytes")]
    TooManyEntries {
        /// How many.
        count: u32,
        /// Bytes of each.
        bytes: u32,
    },
    /// A table for a larger disk.
    #[error("it is for a disk of more than {last_usable} sectors; this one has {sectors}")]
    BehindDisk {
        /// The last sector that a partition may have.
        last_usable: u64,
        /// The sectors of the disk.
        sectors: u64,
    },
    /// Places that contradict each other.
    #[error("its entries begin in sector {table}, its partitions in {first_usable} and end in {last_usable}")]
    Places {
        /// Where the entries begin.
        table: u64,
        /// The first sector that a partition may have.
        first_usable: u64,
        /// The last.
        last_usable: u64,
    },
    /// Damaged entries.
    #[error("the checksum of its entries is wrong")]
    TableChecksum,
    /// A partition that is not among the sectors for partitions.
    #[error(
        "its partition {number} goes from sector {first} to {last}; partitions are from {first_usable} to {last_usable}"
    )]
    Extent {
        /// The partition.
        number: u32,
        /// Its first sector.
        first: u64,
        /// Its last sector.
        last: u64,
        /// The first sector that a partition may have.
        first_usable: u64,
        /// The last.
        last_usable: u64,
    },
    /// Partitions that share sectors.
    #[error("its partitions {0} and {1} overlap")]
    Overlap(u32, u32),
}

/// What a header says, checked against the disk.
#[derive(Debug)]
pub(super) struct Header {
    /// The sector with the other header.
    pub(super) alternate: u64,
    pub(super) disk_guid: Uuid,
    /// The first sector that a partition may have.
    pub(super) first_usable: u64,
    /// The last.
    pub(super) last_usable: u64,
    /// The sector in which the entries begin.
    pub(super) table: u64,
    entries: usize,
    entry_bytes: usize,
    table_checksum: u32,
}

impl Header {
    /// Parses the sector `place` of a disk of `sectors` sectors. Nothing if it is no header.
    pub(super) fn parse(block: &[u8], place: u64, sectors: u64) -> Result<Option<Self>, GptFault> {
        if !block.starts_with(SIGNATURE) {
            return Ok(None);
        }
        check_header(block, place)?;
        let header = Self {
            alternate: u64_at(block, 32),
            first_usable: u64_at(block, 40),
            last_usable: u64_at(block, 48),
            disk_guid: Uuid::from_bytes_le(array_at(block, 56)),
            table: u64_at(block, 72),
            entries: u32_at(block, 80) as usize,
            entry_bytes: u32_at(block, 84) as usize,
            table_checksum: u32_at(block, 88),
        };
        header.check(u32_at(block, 80), u32_at(block, 84), sectors)?;
        Ok(Some(header))
    }

    fn check(&self, count: u32, bytes: u32, sectors: u64) -> Result<(), GptFault> {
        let Self { first_usable, last_usable, table, entries, entry_bytes, .. } = *self;
        if !(entry_bytes / ENTRY_BYTES).is_power_of_two() || !entry_bytes.is_multiple_of(ENTRY_BYTES) {
            return Err(GptFault::EntryLength(bytes));
        }
        if entries.checked_mul(entry_bytes).is_none_or(|bytes| bytes > MAX_TABLE_BYTES) {
            return Err(GptFault::TooManyEntries { count, bytes });
        }
        if last_usable >= sectors {
            return Err(GptFault::BehindDisk { last_usable, sectors });
        }
        if table < 2 || table >= sectors || first_usable > last_usable {
            return Err(GptFault::Places { table, first_usable, last_usable });
        }
        Ok(())
    }

    /// Where the entries are on a disk with sectors of so many bytes.
    pub(super) fn table(&self, sector: u32) -> Range<u64> {
        let start = self.table * u64::from(sector);
        start..start.saturating_add(self.table_bytes() as u64)
    }

    pub(super) fn table_bytes(&self) -> usize {
        self.entries * self.entry_bytes
    }

    /// Whether another header, that of the copy, says the same of the disk and its partitions.
    pub(super) fn describes_as(&self, other: &Self) -> bool {
        let said = |header: &Self| {
            let Self { disk_guid, first_usable, last_usable, entries, entry_bytes, table_checksum, .. } =
                *header;
            (disk_guid, first_usable, last_usable, entries, entry_bytes, table_checksum)
        };
        said(self) == said(other)
    }

    /// The partitions by the entries, which are all of the table.
    pub(super) fn partitions(&self, table: &[u8], sector: u32) -> Result<Vec<Partition>, GptFault> {
        if CRC32.checksum(table) != self.table_checksum {
            return Err(GptFault::TableChecksum);
        }
        let sector = u64::from(sector);
        let entries = (1..).zip(table.chunks_exact(self.entry_bytes)).filter(|(_, entry)| is_used(entry));
        let mut extents: Vec<(u64, u64, u32)> = Vec::new();
        let mut partitions = Vec::new();
        for (number, entry) in entries {
            let (first, last) = self.extent(number, entry)?;
            extents.push((first, last, number));
            partitions.push(Partition {
                number,
                type_guid: guid_at(entry, 0),
                guid: guid_at(entry, 16),
                label: label(entry),
                start: first * sector,
                size: (last - first + 1) * sector,
            });
        }
        extents.sort_unstable();
        match extents.windows(2).find(|pair| pair[0].1 >= pair[1].0) {
            Some(pair) => Err(GptFault::Overlap(pair[0].2, pair[1].2)),
            None => Ok(partitions),
        }
    }

    /// The first and the last sector of a partition.
    fn extent(&self, number: u32, entry: &[u8]) -> Result<(u64, u64), GptFault> {
        let (first, last) = (u64_at(entry, 32), u64_at(entry, 40));
        let Self { first_usable, last_usable, .. } = *self;
        if first < first_usable || last > last_usable || first > last {
            return Err(GptFault::Extent { number, first, last, first_usable, last_usable });
        }
        Ok((first, last))
    }
}

/// Whether a sector is the undamaged first header of some disk, whatever its size.
pub(super) fn is_header(block: &[u8]) -> bool {
    block.starts_with(SIGNATURE) && check_header(block, PRIMARY).is_ok()
}

/// Where a header lies that is made of another: with its copy, and its entries.
#[derive(Clone, Copy, Debug)]
pub(super) struct Places {
    pub(super) own: u64,
    pub(super) alternate: u64,
    pub(super) last_usable: u64,
    pub(super) table: u64,
}

/// Moves the header in a sector, which is one, to other places.
pub(super) fn rewrite(block: &mut [u8], places: Places) {
    let Places { own, alternate, last_usable, table } = places;
    for (at, value) in [(24, own), (32, alternate), (48, last_usable), (72, table)] {
        block[at..at + 8].copy_from_slice(&value.to_le_bytes());
    }
    let length = u32_at(block, 12) as usize;
    let checksum = header_checksum(&block[..length]);
    block[CHECKSUM].copy_from_slice(&checksum.to_le_bytes());
}

fn check_header(block: &[u8], place: u64) -> Result<(), GptFault> {
    let length = block.get(..HEADER_BYTES).map_or(0, |block| u32_at(block, 12));
    let Some(header) = block.get(..length as usize).filter(|header| header.len() >= HEADER_BYTES) else {
        return Err(GptFault::HeaderLength(length));
    };
    if header_checksum(header) != u32_at(header, CHECKSUM.start) {
        return Err(GptFault::HeaderChecksum);
    }
    match u64_at(header, 24) {
        own if own == place => Ok(()),
        own => Err(GptFault::HeaderElsewhere { own, found: place }),
    }
}

fn header_checksum(header: &[u8]) -> u32 {
    let mut digest = CRC32.digest();
    digest.update(&header[..CHECKSUM.start]);
    digest.update(&[0; 4]);
    digest.update(&header[CHECKSUM.end..]);
    digest.finalize()
}

/// An entry without a type is free.
fn is_used(entry: &[u8]) -> bool {
    entry[..16] != [0; 16]
}

/// UTF-16, ended by a zero if it is shorter than its field.
fn label(entry: &[u8]) -> String {
    let units = entry[56..ENTRY_BYTES].chunks_exact(2).map(|unit| u16::from_le_bytes([unit[0], unit[1]]));
    let units: Vec<_> = units.take_while(|unit| *unit != 0).collect();
    String::from_utf16_lossy(&units)
}

fn guid_at(bytes: &[u8], at: usize) -> String {
    Uuid::from_bytes_le(array_at(bytes, at)).to_string()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECTORS: u64 = 4096;

    /// A table of 128 entries with these partitions, and its header.
    fn table_of(extents: &[(u64, u64)]) -> (Vec<u8>, Vec<u8>) {
        let mut table = vec![0; 128 * ENTRY_BYTES];
        for (entry, (first, last)) in table.chunks_exact_mut(ENTRY_BYTES).zip(extents) {
            entry[..32].copy_from_slice(&[0x11; 32]);
            entry[32..40].copy_from_slice(&first.to_le_bytes());
            entry[40..48].copy_from_slice(&last.to_le_bytes());
            entry[56..60].copy_from_slice(b"a\0b\0");
        }
        let mut header = vec![0; 512];
        header[..8].copy_from_slice(SIGNATURE);
        for (at, value) in [(12, 92), (80, 128), (84, 128), (88, CRC32.checksum(&table))] {
            header[at..at + 4].copy_from_slice(&u32::to_le_bytes(value));
        }
        for (at, value) in [(24, PRIMARY), (40, 34), (48, SECTORS - 34), (72, 2)] {
            header[at..at + 8].copy_from_slice(&u64::to_le_bytes(value));
        }
        seal(&mut header);
        (header, table)
    }

    fn seal(header: &mut [u8]) {
        let checksum = header_checksum(&header[..92]);
        header[CHECKSUM].copy_from_slice(&checksum.to_le_bytes());
    }

    fn parse(header: &[u8], table: &[u8]) -> Result<Vec<Partition>, String> {
        let header = Header::parse(header, PRIMARY, SECTORS).map_err(|fault| fault.to_string())?;
        header.expect("it has the signature").partitions(table, 512).map_err(|fault| fault.to_string())
    }

    #[test]
    fn reads_partitions() {
        let (header, table) = table_of(&[(34, 99), (2048, 4000)]);
        let partitions = parse(&header, &table).unwrap();
        assert_eq!(
            partitions.iter().map(|one| (one.number, one.start, one.size)).collect::<Vec<_>>(),
            [(1, 34 * 512, 66 * 512), (2, 2048 * 512, 1953 * 512),]
        );
        assert_eq!(partitions[0].label, "ab");
        assert_eq!(partitions[0].type_guid, "11111111-1111-1111-1111-111111111111");
    }

    #[test]
    fn a_sector_without_the_signature_is_no_header() {
        assert!(Header::parse(&[0; 512], PRIMARY, SECTORS).unwrap().is_none());
    }

    #[test]
    fn tables_that_make_no_sense_are_refused() {
        for (extents, part) in [
            (vec![(33, 99)], "partition 1 goes from sector 33"),
            (vec![(34, 99), (100, SECTORS)], "partition 2"),
            (vec![(99, 34)], "partition 1"),
            (vec![(200, 300), (34, 200)], "2 and 1 overlap"),
        ] {
            let (header, table) = table_of(&extents);
            let reason = parse(&header, &table).unwrap_err();
            assert!(reason.contains(part), "{reason}");
        }
    }

    #[test]
    fn headers_that_make_no_sense_are_refused() {
        for (at, value, part) in [
            (12, 91, "91 bytes long"),
            (12, 513, "513 bytes long"),
            (24, 2, "in sector 2"),
            (48, 4096, "more than 4096 sectors"),
            (72, 1, "begin in sector 1"),
            (80, u32::MAX, "entries of 128"),
            (84, 0, "0 bytes long"),
            (84, 384, "384 bytes long"),
        ] {
            let (mut header, table) = table_of(&[]);
            header[at..at + 4].copy_from_slice(&value.to_le_bytes());
            seal(&mut header);
            let reason = parse(&header, &table).unwrap_err();
            assert!(reason.contains(part), "{reason}");
        }
    }

    #[test]
    fn damage_is_noticed() {
        let (mut header, mut table) = table_of(&[(34, 99)]);
        table[5000] = 1;
        assert!(parse(&header, &table).unwrap_err().contains("entries is wrong"));
        header[60] ^= 1;
        assert!(parse(&header, &table).unwrap_err().contains("header is wrong"));
    }

    proptest! {
        #[test]
        fn never_panics(mut header in prop::collection::vec(any::<u8>(), 512), table in prop::collection::vec(any::<u8>(), 0..4096), sane in any::<bool>()) {
            header[..8].copy_from_slice(SIGNATURE);
            header[12..16].copy_from_slice(&92_u32.to_le_bytes());
            header[24..32].copy_from_slice(&1_u64.to_le_bytes());
            if sane {
                header[84..88].copy_from_slice(&128_u32.to_le_bytes());
                header[88..92].copy_from_slice(&CRC32.checksum(&table).to_le_bytes());
            }
            seal(&mut header);
            if let Ok(Some(header)) = Header::parse(&header, PRIMARY, u64::MAX / 512) {
                let _ = header.partitions(&table, 512);
            }
        }
    }
}
