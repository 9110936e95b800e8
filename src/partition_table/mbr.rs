//! The master boot record: four entries of 16 bytes in the first sector (UEFI specification 2.10, 5.2).

use super::gpt::u32_at;
use crate::wire::report::Partition;

const ENTRIES: usize = 446;
const ENTRY_BYTES: usize = 16;
const SIGNATURE: (usize, &[u8]) = (510, b"\x55\xaa");
/// Where Windows and Linux keep the number by which they know the disk.
const DISK_SIGNATURE: usize = 440;
/// The type of the entry that protects a GPT from those who know none.
pub(super) const PROTECTIVE: u8 = 0xee;

/// An entry that is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// From 1.
    pub(super) number: u32,
    /// Where it stands in the sector.
    pub(super) at: usize,
    pub(super) kind: u8,
    start: u32,
    sectors: u32,
}

/// The entries that are used; none where there is no boot record.
pub(super) fn entries(head: &[u8]) -> Vec<Entry> {
    let (at, signature) = SIGNATURE;
    if head.get(at..at + signature.len()) != Some(signature) {
        return Vec::new();
    }
    let entry = |number: u32| {
        let at = ENTRIES + ENTRY_BYTES * (number as usize - 1);
        let (kind, start, sectors) = (head[at + 4], u32_at(head, at + 8), u32_at(head, at + 12));
        (kind != 0 && sectors != 0).then_some(Entry { number, at, kind, start, sectors })
    };
    (1..=4).filter_map(entry).collect()
}

/// The primary partitions, by number. What an extended one holds is not looked at. Those of a disk with a GPT are not among them:
/// its one entry protects that.
pub(crate) fn partitions(head: &[u8], sector: u64) -> Vec<Partition> {
    let entries = entries(head).into_iter().filter(|entry| entry.kind != PROTECTIVE);
    let to_partition = |entry: Entry| Partition {
        number: entry.number,
        type_guid: format!("0x{:02x}", entry.kind),
        guid: format!("{:08x}-{:02}", u32_at(head, DISK_SIGNATURE), entry.number),
        label: String::new(),
        start: u64::from(entry.start) * sector,
        size: u64::from(entry.sectors) * sector,
    };
    entries.map(to_partition).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_primary_partitions() {
        let mut head = vec![0; 512];
        head[440..444].copy_from_slice(&0x1234_abcd_u32.to_le_bytes());
        head[510..].copy_from_slice(b"\x55\xaa");
        let at = ENTRIES + ENTRY_BYTES;
        head[at + 4] = 0x83;
        head[at + 8..at + 12].copy_from_slice(&2048_u32.to_le_bytes());
        head[at + 12..at + 16].copy_from_slice(&100_u32.to_le_bytes());
        let found = partitions(&head, 512);
        assert_eq!(found.len(), 1);
        let Partition { number, type_guid, guid, start, size, .. } = &found[0];
        assert_eq!((*number, type_guid.as_str(), guid.as_str()), (2, "0x83", "1234abcd-02"));
        assert_eq!((*start, *size), (2048 * 512, 100 * 512));

        head[at + 4] = PROTECTIVE;
        assert!(partitions(&head, 512).is_empty());
        head[511] = 0;
        assert!(entries(&head).is_empty() && entries(&head[..100]).is_empty());
    }
}
