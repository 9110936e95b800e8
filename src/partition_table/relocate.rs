//! Moves the copy of a GPT to the end of a disk that is larger than the image, as `sgdisk -e` does.
//!
//! Firmware looks for the copy in the last sector and nowhere else (UEFI specification 2.10, 5.3.2), and partitions may then reach
//! to the end of the disk.

use std::ops::Range;

use super::gpt::{CHECKSUM, CRC32, Header};
use super::layout::LayoutFlaw;
use super::mbr;

/// The ends of a disk, in memory.
#[derive(Debug)]
pub(crate) struct Ends<'a> {
    /// The first bytes.
    pub(crate) head: &'a mut [u8],
    /// The last ones.
    pub(crate) tail: &'a mut [u8],
    /// Where those begin.
    pub(crate) tail_start: u64,
    /// Bytes of the disk.
    pub(crate) capacity: u64,
    /// Bytes in a logical sector.
    pub(crate) sector: u32,
}

/// What was moved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Relocated {
    /// The bytes in which the header of the copy stood. They are of no partition, and may lie in none of the ends.
    pub(crate) stale: Option<Range<u64>>,
}

/// Where the fields of a header are.
mod field {
    pub(super) const OWN: usize = 24;
    pub(super) const ALTERNATE: usize = 32;
    pub(super) const LAST_USABLE: usize = 48;
    pub(super) const TABLE: usize = 72;
}

/// Moves the copy; nothing where there is no GPT, or where the copy is in its place.
///
/// # Errors
/// [`LayoutFlaw::Damaged`] when there is a GPT that makes no sense on this disk, or whose entries are in neither end.
pub(crate) fn relocate(ends: &mut Ends<'_>) -> Result<Option<Relocated>, LayoutFlaw> {
    let damaged = |reason| LayoutFlaw::Damaged { reason };
    let size = ends.sector as usize;
    let sectors = ends.capacity / u64::from(ends.sector);
    let Some(block) = ends.head.get(size..2 * size) else { return Ok(None) };
    let Some(header) = Header::parse(block, sectors).map_err(damaged)? else { return Ok(None) };
    if header.alternate == sectors - 1 {
        return Ok(None);
    }
    let mut block = block.to_vec();
    let table = entries_of(ends.head, &header, size).map_err(damaged)?;
    let last = sectors - 1;
    let table_sector = last.saturating_sub(table.len().div_ceil(size) as u64);
    // What the partitions say was checked against the old bounds, which lie within the new ones.
    if table_sector <= header.last_usable {
        return Err(damaged(format!(
            "there is no room for its copy between sector {} and the end of the disk, which has {sectors}",
            header.last_usable
        )));
    }
    put(&mut block, field::ALTERNATE, last);
    put(&mut block, field::LAST_USABLE, table_sector - 1);
    seal(&mut block, header.length);
    ends.head[size..2 * size].copy_from_slice(&block);
    protect(ends.head, sectors);

    put(&mut block, field::OWN, last);
    put(&mut block, field::ALTERNATE, 1);
    put(&mut block, field::TABLE, table_sector);
    seal(&mut block, header.length);
    // What the image had between the old copy and the new one is not of any partition.
    place(ends, table_sector, size, &table).map_err(damaged)?;
    place(ends, last, size, &block).map_err(damaged)?;
    let is_outside = header.alternate > header.last_usable && header.alternate < table_sector;
    let stale = header.alternate * size as u64;
    Ok(Some(Relocated { stale: is_outside.then(|| stale..stale + size as u64) }))
}

fn entries_of(head: &[u8], header: &Header, size: usize) -> Result<Vec<u8>, String> {
    let start = usize::try_from(header.table).ok().and_then(|table| table.checked_mul(size));
    let range = start.and_then(|start| Some(start..start.checked_add(header.table_bytes())?));
    let entries = range.and_then(|range| head.get(range));
    let entries = entries.ok_or_else(|| {
        format!("its entries begin in sector {}; expected them in the first MiB", header.table)
    })?;
    header.partitions(entries, size as u64)?;
    Ok(entries.to_vec())
}

/// Puts bytes into the last end.
fn place(ends: &mut Ends<'_>, sector: u64, size: usize, bytes: &[u8]) -> Result<(), String> {
    let start = (sector * size as u64).checked_sub(ends.tail_start);
    let start = start.and_then(|start| usize::try_from(start).ok());
    let place = start.and_then(|start| ends.tail.get_mut(start..start.checked_add(bytes.len())?));
    let place = place.ok_or_else(|| "its entries are too many for the last MiB of the disk".to_owned())?;
    place.copy_from_slice(bytes);
    Ok(())
}

/// The entry that protects the GPT covers the disk, as far as its 32 bits can say.
fn protect(head: &mut [u8], sectors: u64) {
    let size = u32::try_from(sectors - 1).unwrap_or(u32::MAX);
    if let [entry] = mbr::entries(head)[..]
        && entry.kind == mbr::PROTECTIVE
    {
        head[entry.at + 12..entry.at + 16].copy_from_slice(&size.to_le_bytes());
    }
}

fn put(block: &mut [u8], at: usize, value: u64) {
    block[at..at + 8].copy_from_slice(&value.to_le_bytes());
}

fn seal(block: &mut [u8], length: usize) {
    block[CHECKSUM].fill(0);
    let checksum = CRC32.checksum(&block[..length]);
    block[CHECKSUM].copy_from_slice(&checksum.to_le_bytes());
}

#[cfg(test)]
pub(super) mod tests {
    use std::process::Command;

    use proptest::prelude::*;

    use super::*;
    use crate::partition_table::gpt::{SIGNATURE, u64_at};

    const MIB: usize = 1 << 20;

    /// A disk with a GPT of 128 entries and its copy.
    pub(in crate::partition_table) fn disk_with(
        sector: u32,
        sectors: u64,
        extents: &[(u64, u64)],
    ) -> Vec<u8> {
        let size = sector as usize;
        let mut table = vec![0; 128 * 128];
        for (number, (entry, (first, last))) in (1_u8..).zip(table.chunks_exact_mut(128).zip(extents)) {
            entry[..16].copy_from_slice(&[0x11; 16]);
            entry[16..32].copy_from_slice(&[number; 16]);
            put(entry, 32, *first);
            put(entry, 40, *last);
        }
        let table_sectors = (table.len() / size) as u64;
        let mut header = vec![0; size];
        header[..8].copy_from_slice(SIGNATURE);
        header[8..12].copy_from_slice(&[0, 0, 1, 0]);
        for (at, value) in [(12, 92), (80, 128), (84, 128), (88, CRC32.checksum(&table))] {
            header[at..at + 4].copy_from_slice(&u32::to_le_bytes(value));
        }
        let last_usable = sectors - 2 - table_sectors;
        header[56..72].fill(0x22);
        let fields = [(24, 1), (32, sectors - 1), (40, 2 + table_sectors), (48, last_usable), (72, 2)];
        for (at, value) in fields {
            put(&mut header, at, value);
        }
        seal(&mut header, 92);
        let mut copy = header.clone();
        for (at, value) in [(24, sectors - 1), (32, 1), (72, sectors - 1 - table_sectors)] {
            put(&mut copy, at, value);
        }
        seal(&mut copy, 92);
        let mut disk = vec![0; sectors as usize * size];
        disk[446 + 4] = mbr::PROTECTIVE;
        disk[446 + 8] = 1;
        disk[446 + 12..446 + 16].copy_from_slice(&(sectors as u32 - 1).to_le_bytes());
        disk[510..512].copy_from_slice(b"\x55\xaa");
        disk[size..2 * size].copy_from_slice(&header);
        disk[2 * size..2 * size + table.len()].copy_from_slice(&table);
        let end = disk.len();
        disk[end - size..].copy_from_slice(&copy);
        disk[end - size - table.len()..end - size].copy_from_slice(&table);
        disk
    }

    /// Puts an image on a larger disk full of ones, as the writer does.
    fn on_larger(
        image: &[u8],
        capacity: usize,
        sector: u32,
    ) -> Result<(Vec<u8>, Option<Relocated>), LayoutFlaw> {
        let mut disk = vec![1; capacity];
        disk[..image.len()].copy_from_slice(image);
        let tail_start = (capacity - MIB) / 4096 * 4096;
        disk[tail_start.max(image.len())..].fill(0);
        let (body, tail) = disk.split_at_mut(tail_start);
        let mut ends = Ends {
            head: &mut body[..MIB],
            tail,
            tail_start: tail_start as u64,
            capacity: capacity as u64,
            sector,
        };
        let relocated = relocate(&mut ends)?;
        if let Some(Relocated { stale: Some(stale) }) = &relocated {
            disk[stale.start as usize..stale.end as usize].fill(0);
        }
        Ok((disk, relocated))
    }

    #[test]
    fn other_tools_agree_with_the_result() {
        let dir = tempfile::tempdir().unwrap();
        let image = disk_with(512, 8192, &[(2048, 4095), (4096, 8000)]);
        for room in [512, 5 * 512, MIB, 3 * MIB + 512, 40 * MIB] {
            let (disk, relocated) = on_larger(&image, image.len() + room, 512).unwrap();
            assert!(relocated.is_some());
            let path = dir.path().join("disk");
            std::fs::write(&path, &disk).unwrap();
            let verify = Command::new("sfdisk").arg("--verify").arg(&path).output().unwrap();
            let said = String::from_utf8_lossy(&verify.stdout) + String::from_utf8_lossy(&verify.stderr);
            assert!(verify.status.success() && said.contains("No errors detected"), "{room}: {said}");
            // Nothing but the two tables has changed.
            assert!(disk[MIB..4 * MIB - 40 * 512] == image[MIB..4 * MIB - 40 * 512], "{room}");
        }
    }

    #[test]
    fn what_is_in_its_place_is_left_alone() {
        let image = disk_with(512, 8192, &[(2048, 4095)]);
        let (disk, relocated) = on_larger(&image, image.len(), 512).unwrap();
        assert!(relocated.is_none() && disk == image);
        let nothing = vec![0; 4 * MIB];
        assert_eq!(on_larger(&nothing, 5 * MIB, 512).unwrap().1, None);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn both_copies_say_the_same_on_a_disk_of_any_size(
            sector in prop::sample::select(vec![512_u32, 4096]),
            room in 1_u64..4000,
            odd in 0_usize..512,
        ) {
            let image = disk_with(sector, 4096, &[(300, 400), (500, 3990)]);
            let capacity = image.len() + room as usize * sector as usize + odd;
            let (disk, _) = on_larger(&image, capacity, sector).unwrap();
            let size = sector as usize;
            let sectors = capacity / size;
            let first = Header::parse(&disk[size..2 * size], sectors as u64).unwrap().unwrap();
            prop_assert_eq!(first.alternate as usize, sectors - 1);
            let copy = &disk[(sectors - 1) * size..sectors * size];
            let (own, table) = (u64_at(copy, 24) as usize, u64_at(copy, 72) as usize);
            prop_assert_eq!((own, u64_at(copy, 32)), (sectors - 1, 1));
            prop_assert_eq!(first.last_usable as usize, table - 1);
            let bytes = first.table_bytes();
            prop_assert!(disk[table * size..table * size + bytes] == disk[2 * size..2 * size + bytes]);
            // The place of the old copy no longer looks like one.
            let old = &disk[image.len() - size..image.len()];
            prop_assert!(!old.starts_with(SIGNATURE) || room as usize * size < size);
        }

        #[test]
        fn never_panics(mut head in prop::collection::vec(any::<u8>(), 1024..20000), fields in any::<[u64; 4]>(), capacity in 1024_u64..1 << 40) {
            head[512..520].copy_from_slice(SIGNATURE);
            head[524..528].copy_from_slice(&92_u32.to_le_bytes());
            put(&mut head[512..], 24, 1);
            for (at, value) in [(32, fields[0]), (40, fields[1] % 100), (48, fields[2] % 5000), (72, fields[3] % 30)] {
                put(&mut head[512..], at, value);
            }
            head[592..600].copy_from_slice(&[8, 0, 0, 0, 128, 0, 0, 0]);
            let start = (fields[3] % 30) as usize * 512;
            let checksum = head.get(start..start + 1024).map_or(0, |table| CRC32.checksum(table));
            head[600..604].copy_from_slice(&checksum.to_le_bytes());
            seal(&mut head[512..1024], 92);
            let mut tail = vec![0; 4096.min(capacity as usize)];
            let tail_start = capacity - tail.len() as u64;
            let _ = relocate(&mut Ends { head: &mut head, tail: &mut tail, tail_start, capacity, sector: 512 });
        }
    }
}
