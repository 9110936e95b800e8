//! Reads a GUID partition table, by the UEFI specification 2.10, chapter 5.
//!
//! What is on a disk is not to be trusted: every length is bounded before anything is read or allocated by it. The crate `gpt`
//! panics on entries that are not 128 bytes long, and allocates what the header asks for.

use crc::{CRC_32_ISO_HDLC, Crc};
use uuid::Uuid;

use crate::wire::report::Partition;

pub(super) const SIGNATURE: &[u8] = b"EFI PART";
pub(super) static CRC32: Crc<u32> = Crc::<u32>::new(&CRC_32_ISO_HDLC);
/// Bytes of the header that the specification defines.
const HEADER_BYTES: usize = 92;
/// Where the header has its own checksum, which counts as zero in it.
pub(super) const CHECKSUM: std::ops::Range<usize> = 16..20;
/// Bytes of the smallest entry; others are this times a power of two.
const ENTRY_BYTES: usize = 128;
/// Tables have 16 KiB as a rule. A longer one than this is none.
const MAX_TABLE_BYTES: usize = 1 << 20;

/// What the header says, checked against the disk.
#[derive(Clone, Debug)]
pub(crate) struct Header {
    first_usable: u64,
    pub(super) last_usable: u64,
    /// The sector of the copy.
    pub(super) alternate: u64,
    /// Bytes of the header that count for its checksum.
    pub(super) length: usize,
    /// The sector in which the entries begin.
    pub(crate) table: u64,
    entries: usize,
    entry_bytes: usize,
    table_checksum: u32,
}

impl Header {
    /// Parses the second sector of a disk of `sectors` sectors. Nothing if it is no header.
    pub(crate) fn parse(block: &[u8], sectors: u64) -> Result<Option<Self>, String> {
        if !block.starts_with(SIGNATURE) {
            return Ok(None);
        }
        let length = u32_at(block, 12) as usize;
        if !(HEADER_BYTES..=block.len()).contains(&length) {
            return Err(format!("its header says that it is {length} bytes long"));
        }
        check_header(&block[..length])?;
        let header = Self {
            alternate: u64_at(block, 32),
            length,
            first_usable: u64_at(block, 40),
            last_usable: u64_at(block, 48),
            table: u64_at(block, 72),
            entries: u32_at(block, 80) as usize,
            entry_bytes: u32_at(block, 84) as usize,
            table_checksum: u32_at(block, 88),
        };
        header.check(sectors)?;
        Ok(Some(header))
    }

    fn check(&self, sectors: u64) -> Result<(), String> {
        let Self { first_usable, last_usable, table, entries, entry_bytes, .. } = *self;
        if !(entry_bytes / ENTRY_BYTES).is_power_of_two() || !entry_bytes.is_multiple_of(ENTRY_BYTES) {
            return Err(format!("its entries are {entry_bytes} bytes long"));
        }
        if entries.checked_mul(entry_bytes).is_none_or(|bytes| bytes > MAX_TABLE_BYTES) {
            return Err(format!("it has {entries} entries of {entry_bytes} bytes"));
        }
        if last_usable >= sectors {
            return Err(format!(
                "it is for a disk of more than {last_usable} sectors; this one has {sectors}"
            ));
        }
        if table < 2 || first_usable > last_usable {
            return Err(format!(
                "its entries begin in sector {table}, its partitions in {first_usable} and end in {last_usable}"
            ));
        }
        Ok(())
    }

    /// Bytes of all entries.
    pub(crate) fn table_bytes(&self) -> usize {
        self.entries * self.entry_bytes
    }

    /// The partitions that the entries describe, by number.
    pub(crate) fn partitions(&self, table: &[u8], sector: u64) -> Result<Vec<Partition>, String> {
        if CRC32.checksum(table) != self.table_checksum {
            return Err("the checksum of its entries is wrong".to_owned());
        }
        let entries = (1..).zip(table.chunks_exact(self.entry_bytes)).filter(|(_, entry)| is_used(entry));
        let mut last: Vec<(u64, u64, u32)> = Vec::new();
        let mut partitions = Vec::new();
        for (number, entry) in entries {
            let (first, end) = self.extent(number, entry)?;
            last.push((first, end, number));
            partitions.push(Partition {
                number,
                type_guid: guid_at(entry, 0),
                guid: guid_at(entry, 16),
                label: label(entry),
                start: first * sector,
                size: (end - first + 1) * sector,
            });
        }
        last.sort_unstable();
        match last.windows(2).find(|pair| pair[0].1 >= pair[1].0) {
            Some(pair) => Err(format!("its partitions {} and {} overlap", pair[0].2, pair[1].2)),
            None => Ok(partitions),
        }
    }

    /// The first and the last sector of a partition.
    fn extent(&self, number: u32, entry: &[u8]) -> Result<(u64, u64), String> {
        let (first, last) = (u64_at(entry, 32), u64_at(entry, 40));
        if first < self.first_usable || last > self.last_usable || first > last {
            return Err(format!(
                "its partition {number} goes from sector {first} to {last}; partitions are from {} to {}",
                self.first_usable, self.last_usable
            ));
        }
        Ok((first, last))
    }
}

fn check_header(header: &[u8]) -> Result<(), String> {
    let mut digest = CRC32.digest();
    digest.update(&header[..CHECKSUM.start]);
    digest.update(&[0; 4]);
    digest.update(&header[CHECKSUM.end..]);
    if digest.finalize() != u32_at(header, CHECKSUM.start) {
        return Err("the checksum of its header is wrong".to_owned());
    }
    match u64_at(header, 24) {
        1 => Ok(()),
        own => Err(format!("its header says that it is in sector {own}, and was found in sector 1")),
    }
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

pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(array_at(bytes, at))
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(array_at(bytes, at))
}

/// # Panics
/// When the bytes end before: callers have checked that there is a whole header or entry.
fn array_at<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut array = [0; N];
    array.copy_from_slice(&bytes[at..at + N]);
    array
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
        for (at, value) in [(24, 1), (40, 34), (48, SECTORS - 34), (72, 2)] {
            header[at..at + 8].copy_from_slice(&u64::to_le_bytes(value));
        }
        seal(&mut header);
        (header, table)
    }

    fn seal(header: &mut [u8]) {
        header[CHECKSUM].fill(0);
        let checksum = CRC32.checksum(&header[..92]);
        header[CHECKSUM].copy_from_slice(&checksum.to_le_bytes());
    }

    fn parse(header: &[u8], table: &[u8]) -> Result<Vec<Partition>, String> {
        Header::parse(header, SECTORS)?.expect("it has the signature").partitions(table, 512)
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
        assert!(Header::parse(&[0; 512], SECTORS).unwrap().is_none());
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
            if let Ok(Some(header)) = Header::parse(&header, u64::MAX / 512) {
                let _ = header.partitions(&table, 512);
            }
        }
    }
}
