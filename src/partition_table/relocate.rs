//! Moves the copy of a GPT to the end of the disk, as `sgdisk --move-second-header` does: an image is smaller than the disk, as a
//! rule, and its copy stands in the middle then, where nobody looks for it.

use std::ops::Range;

use super::check::{primary_header, table};
use super::gpt::{Header, PRIMARY, Places, rewrite};
use super::{Problem, mbr};
use crate::wire::report::Partition;

/// The last bytes of a disk.
#[derive(Debug)]
pub struct Tail<'a> {
    /// What they shall be.
    pub bytes: &'a mut [u8],
    /// Where they begin.
    pub start: u64,
}

/// What was moved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moved {
    /// Where the header of the copy is now, in bytes.
    pub to: u64,
    /// The sector with the header of the copy that the image brought, in bytes, if that lies between head and tail: a GPT that is no
    /// longer true, to be zeroed. One at either end is zeroed already.
    pub stale: Option<Range<u64>>,
}

/// Makes the GPT at the beginning of a disk fit the disk: its copy at the very end, the last sector for partitions right before
/// that, and a protective MBR over all of it. `head` and `tail` are the two ends of a disk of `capacity` bytes with sectors of
/// `sector` bytes, as they shall be written; they do not overlap. `image_end` is where the image ends. Changes nothing and returns
/// nothing where there is no GPT for sectors of this size, or everything is right already.
///
/// # Errors
/// [`Problem`] when the GPT is damaged or does not fit the disk, or there is no room for its copy behind the last partition or in
/// the tail. Nothing is changed then.
pub fn relocate(
    head: &mut [u8],
    tail: Tail<'_>,
    sector: u32,
    capacity: u64,
    image_end: u64,
) -> Result<Option<Moved>, Problem> {
    let Some(header) = primary_header(head, sector, capacity).map_err(Problem::Gpt)? else { return Ok(None) };
    let entries = table(head, &header, sector)?.to_vec();
    let mut ends = Ends::new(head, tail, sector, capacity);
    if header.alternate == ends.last && ends.has_copy_of(&header, &entries) {
        return Ok(None);
    }
    let partitions = header.partitions(&entries, sector).map_err(Problem::Gpt)?;
    let last_of = |one: &Partition| (one.start + one.size) / ends.sector - 1;
    let last_used = partitions.iter().map(last_of).fold(header.first_usable, u64::max);
    let copy = ends.copy_sector(&header);
    let room = ends.in_tail(copy..ends.last + 1).filter(|_| copy > last_used);
    let room = room.ok_or(Problem::NoRoomForCopy { last_used, copy })?;

    let stale = ends.forget_copy(&header, image_end);
    ends.write(&header, &entries, copy, room);
    Ok(Some(Moved { to: ends.last * ends.sector, stale }))
}

/// The two ends of a disk.
struct Ends<'a> {
    head: &'a mut [u8],
    tail: Tail<'a>,
    /// Bytes in a sector.
    sector: u64,
    /// The same.
    sector_bytes: usize,
    /// The last sector of the disk.
    last: u64,
}

impl<'a> Ends<'a> {
    fn new(head: &'a mut [u8], tail: Tail<'a>, sector: u32, capacity: u64) -> Self {
        let (sector, sector_bytes) = (u64::from(sector), sector as usize);
        Self { head, tail, sector, sector_bytes, last: capacity / sector - 1 }
    }

    /// Whether the last sector is the header of a sound copy of this GPT.
    fn has_copy_of(&self, header: &Header, entries: &[u8]) -> bool {
        let bytes = |sectors| self.in_tail(sectors).map(|range| &self.tail.bytes[range]);
        let copy = bytes(self.last..self.last + 1)
            .and_then(|block| Header::parse(block, self.last, self.last + 1).ok().flatten());
        copy.is_some_and(|copy| {
            let table = bytes(copy.table..copy.table.saturating_add(self.sectors(entries.len())));
            copy.describes_as(header) && table.is_some_and(|table| table.starts_with(entries))
        })
    }

    /// Where the entries of the copy begin: right before its header.
    fn copy_sector(&self, header: &Header) -> u64 {
        self.last.saturating_sub(self.sectors(header.table_bytes()))
    }

    fn sectors(&self, bytes: usize) -> u64 {
        (bytes as u64).div_ceil(self.sector)
    }

    /// Where some sectors are in the tail, if all of them are.
    fn in_tail(&self, sectors: Range<u64>) -> Option<Range<usize>> {
        let within = |sector: u64| {
            usize::try_from(sector.checked_mul(self.sector)?.checked_sub(self.tail.start)?).ok()
        };
        let range = within(sectors.start)?..within(sectors.end)?;
        (range.end <= self.tail.bytes.len()).then_some(range)
    }

    /// Zeroes the header of the copy that the image brought, or says where it is. It is taken for one only behind the partitions and
    /// their table: nothing is lost then, whatever the first header says.
    fn forget_copy(&mut self, header: &Header, image_end: u64) -> Option<Range<u64>> {
        let (old, sector) = (header.alternate, self.sector);
        let behind = old > header.last_usable && old >= header.table + self.sectors(header.table_bytes());
        if !behind || old >= self.last || (old + 1) * sector > image_end {
            return None;
        }
        let bytes = old * sector..(old + 1) * sector;
        if let Some(range) = self.in_tail(old..old + 1) {
            self.tail.bytes[range].fill(0);
            return None;
        }
        let in_head = usize::try_from(bytes.start).ok().zip(usize::try_from(bytes.end).ok());
        match in_head.and_then(|(start, end)| self.head.get_mut(start..end)) {
            Some(block) => {
                block.fill(0);
                None
            }
            None => Some(bytes),
        }
    }

    /// Writes both headers, and the entries of the copy into the end of the tail.
    fn write(&mut self, header: &Header, entries: &[u8], copy: u64, room: Range<usize>) {
        let sector = self.sector_bytes;
        let primary = &mut self.head[sector..2 * sector];
        let last_usable = copy - 1;
        rewrite(primary, Places { own: PRIMARY, alternate: self.last, last_usable, table: header.table });
        let room = &mut self.tail.bytes[room];
        let second = room.len() - sector;
        room[..second].fill(0);
        room[..entries.len()].copy_from_slice(entries);
        room[second..].copy_from_slice(primary);
        rewrite(&mut room[second..], Places { own: self.last, alternate: PRIMARY, last_usable, table: copy });
        mbr::protect(self.head, self.last + 1);
    }
}
