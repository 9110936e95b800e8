//! What partitions a disk has, or why it would be of no use with such a table.

use super::gpt::{self, Header, PRIMARY};
use super::mbr::Mbr;
use super::{GptFault, Problem};
use crate::superblock;
use crate::wire::report::Partition;

/// The sizes of sectors for which images are made.
const SECTOR_SIZES: [u32; 2] = [512, 4096];

/// What kind of partition table it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// A GUID partition table, also one with a hybrid MBR.
    Gpt,
    /// A master boot record.
    Mbr,
}

/// A partition table of use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// The kind of table.
    pub scheme: Scheme,
    /// The identifier of the disk: a GUID, or eight hexadecimal digits. `PTUUID` of lsblk.
    pub disk_id: String,
    /// The partitions, by number: one at least.
    pub partitions: Vec<Partition>,
}

/// Reads the partition table at the beginning of a disk of `capacity` bytes with logical sectors of `sector` bytes, by what kernels
/// and firmware look at: the MBR, and the GPT if that announces one. `head` is the first MiB, or the whole disk if that is smaller.
///
/// # Errors
/// [`Problem`] when the disk would be of no use: it has no table or no partitions, its table is damaged, is for sectors of another
/// size, or does not fit. An MBR does not say for what sectors it is.
pub fn check(head: &[u8], sector: u32, capacity: u64) -> Result<Layout, Problem> {
    match Mbr::parse(head) {
        Some(mbr) if mbr.is_protective() => of_gpt(head, sector, capacity),
        Some(mbr) => of_mbr(&mbr, head, sector, capacity),
        None => Err(absence(head, sector, Problem::None)),
    }
}

/// The partitions by whatever table can be read there, whether it is of use or not: what was on a disk that shall be erased.
pub(crate) fn any_partitions(head: &[u8], sector: u32, capacity: u64) -> Vec<Partition> {
    let gpt = read_gpt(head, sector, capacity).ok().flatten().map(|(_, partitions)| partitions);
    let mbr = Mbr::parse(head).map(|mbr| mbr.partitions(sector));
    [gpt, mbr].into_iter().flatten().flatten().collect()
}

fn of_gpt(head: &[u8], sector: u32, capacity: u64) -> Result<Layout, Problem> {
    match read_gpt(head, sector, capacity) {
        Ok(Some((_, partitions))) if partitions.is_empty() => Err(Problem::EmptyGpt),
        Ok(Some((header, partitions))) => {
            Ok(Layout { scheme: Scheme::Gpt, disk_id: header.disk_guid.to_string(), partitions })
        }
        Ok(None) => Err(other_sectors(head, sector).unwrap_or(Problem::NoGpt)),
        Err(problem) => Err(problem),
    }
}

fn of_mbr(mbr: &Mbr<'_>, head: &[u8], sector: u32, capacity: u64) -> Result<Layout, Problem> {
    let partitions = mbr.partitions(sector);
    if partitions.is_empty() {
        return Err(absence(head, sector, Problem::EmptyMbr));
    }
    if let Some(last) = partitions.iter().find(|partition| partition.start + partition.size > capacity) {
        return Err(Problem::BehindDisk { number: last.number, end: last.start + last.size, capacity });
    }
    Ok(Layout { scheme: Scheme::Mbr, disk_id: mbr.disk_id(), partitions })
}

/// Why there is no partition table: what is there instead, if that is known.
fn absence(head: &[u8], sector: u32, otherwise: Problem) -> Problem {
    let has_header = SECTOR_SIZES.iter().chain([&sector]).any(|size| gpt::is_header(block(head, *size)));
    if has_header {
        return Problem::Unprotected;
    }
    match superblock::probe(head) {
        Some(found) => Problem::SingleFilesystem { filesystem: found.kind },
        None => otherwise,
    }
}

/// The header and the partitions of the GPT for sectors of this size, if there is one.
fn read_gpt(head: &[u8], sector: u32, capacity: u64) -> Result<Option<(Header, Vec<Partition>)>, Problem> {
    let Some(header) = primary_header(head, sector, capacity).map_err(Problem::Gpt)? else { return Ok(None) };
    let table = table(head, &header, sector)?;
    let partitions = header.partitions(table, sector).map_err(Problem::Gpt)?;
    Ok(Some((header, partitions)))
}

pub(super) fn primary_header(head: &[u8], sector: u32, capacity: u64) -> Result<Option<Header>, GptFault> {
    Header::parse(block(head, sector), PRIMARY, capacity / u64::from(sector))
}

/// The entries of a GPT, which lie in the first MiB.
pub(super) fn table<'a>(head: &'a [u8], header: &Header, sector: u32) -> Result<&'a [u8], Problem> {
    let place = header.table(sector);
    let within = usize::try_from(place.start).ok().zip(usize::try_from(place.end).ok());
    within
        .and_then(|(start, end)| head.get(start..end))
        .ok_or(Problem::EntriesElsewhere { end: place.end, limit: head.len() as u64 })
}

/// The second sector. Nothing if the head ends before.
fn block(head: &[u8], sector: u32) -> &[u8] {
    let sector = sector as usize;
    head.get(sector..sector.saturating_mul(2)).unwrap_or_default()
}

fn other_sectors(head: &[u8], expected: u32) -> Option<Problem> {
    let found =
        SECTOR_SIZES.into_iter().find(|size| *size != expected && gpt::is_header(block(head, *size)))?;
    Some(Problem::OtherSectors { found, expected })
}
