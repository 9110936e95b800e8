//! Reads header and tables by ranges, before the image is streamed, and makes a map of them.

use std::ops::Range;

use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use tokio::task::yield_now;

use super::chunk::Chunk;
use super::flaw::{Compression, Qcow2Flaw, Table};
use super::header::{HEADER_READ, Header};
use super::map::{Map, PIECES_MAX};
use super::requests::{Piece, REQUEST_MAX, requests};
use super::seal::{Seal, Tables};
use super::tables::Entries;
use crate::image::ImageError;
use crate::wire::ImageUrl;

/// Reads parts of the file.
pub(in crate::image) trait ReadRange {
    /// Returns the bytes `range` of the file, fewer only where the file ends before: none where it begins at or behind the end.
    fn read(&mut self, range: Range<u64>) -> impl Future<Output = Result<Bytes, ImageError>> + Send;
}

/// How to make a disk of an image. Takes memory by the pieces that the image is in, not by its size: 32 MiB at most.
#[derive(Debug)]
pub(in crate::image) struct Plan {
    pub(super) url: Box<ImageUrl>,
    /// Bytes of the file, where they are known.
    pub(super) length: Option<u64>,
    pub(super) virtual_size: u64,
    /// Bytes of a cluster.
    pub(super) cluster: u64,
    pub(super) compression: Compression,
    pub(super) map: Map,
    /// Of the header, the L1 table and the L2 tables.
    pub(super) seals: [Seal; 3],
}

impl Plan {
    /// Reads the header and the tables of an image that has `length` bytes, for a `target` with room for `capacity` bytes.
    ///
    /// # Errors
    /// [`ImageError::TooLarge`] where the disk does not fit, [`ImageError::Qcow2`] for what is refused or makes no sense, and those
    /// of `source`.
    pub(in crate::image) async fn read(
        url: &ImageUrl,
        length: Option<u64>,
        target: &str,
        capacity: u64,
        source: &mut (impl ReadRange + Send),
    ) -> Result<Self, ImageError> {
        let mut planner = Planner { url, length, source };
        let (header, header_seal) = planner.header().await?;
        let virtual_size = header.virtual_size;
        if virtual_size > capacity {
            let (url, target) = (Box::new(url.clone()), target.to_owned());
            return Err(ImageError::TooLarge { url, found: virtual_size, at_least: false, target, capacity });
        }
        let (references, l1_seal) = planner.l1(&header).await?;
        let (map, l2_seal) = planner.l2(&header, references).await?;
        if let Some(length) = length {
            map.check_end(length).map_err(|flaw| ImageError::qcow2(url, flaw))?;
        }
        Ok(Self {
            url: Box::new(url.clone()),
            length,
            virtual_size,
            cluster: header.cluster(),
            compression: header.compression,
            map,
            seals: [header_seal, l1_seal, l2_seal],
        })
    }

    /// Bytes of the disk.
    pub(in crate::image) fn virtual_size(&self) -> u64 {
        self.virtual_size
    }
}

/// That a part of the disk is described by an L2 table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Reference {
    /// Where the table begins in the file.
    table: u64,
    /// Where the part begins on the disk.
    guest: u64,
}

struct Planner<'a, S> {
    url: &'a ImageUrl,
    length: Option<u64>,
    source: &'a mut S,
}

impl<S: ReadRange + Send> Planner<'_, S> {
    async fn header(&mut self) -> Result<(Header, Seal), ImageError> {
        let bytes = self.source.read(0..HEADER_READ).await?;
        let header = Header::parse(&bytes).map_err(|flaw| self.flawed(flaw))?;
        // What follows the first cluster is not of the header.
        let length = usize::try_from(header.cluster()).unwrap_or(usize::MAX).min(bytes.len());
        let digest = Sha256::new_with_prefix(&bytes[..length]);
        Ok((header, Tables::new("header", vec![0], length as u64).seal(digest)))
    }

    /// Reads as much of the L1 table as the disk needs, and returns where L2 tables are, in the order of the file.
    async fn l1(&mut self, header: &Header) -> Result<(Vec<Reference>, Seal), ImageError> {
        let entries = Entries::new(header);
        let table = header.l1_offset..header.l1_offset + header.l1_entries * 8;
        let mut references = Vec::new();
        let mut digest = Sha256::new();
        let mut at = table.start;
        let mut guest = 0;
        while at < table.end {
            let bytes = self.exactly(at..table.end.min(at + REQUEST_MAX), Table::L1).await?;
            digest.update(&bytes);
            for entry in bytes.as_chunks::<8>().0 {
                let found = entries.l1(u64::from_be_bytes(*entry), at).map_err(|flaw| self.flawed(flaw))?;
                if let Some(table) = found {
                    if references.len() == PIECES_MAX {
                        return Err(self.flawed(Qcow2Flaw::Fragmented { limit: PIECES_MAX }));
                    }
                    references.push(Reference { table, guest });
                }
                at += 8;
                guest += entries.l2_covers();
            }
        }
        references.sort_unstable();
        Ok((references, Tables::new("L1 table", vec![table.start], table.end - table.start).seal(digest)))
    }

    /// Reads the L2 tables in the order of the file, those near each other at once.
    async fn l2(&mut self, header: &Header, references: Vec<Reference>) -> Result<(Map, Seal), ImageError> {
        let mut starts: Vec<_> = references.iter().map(|reference| reference.table).collect();
        starts.dedup();
        let tables = Tables::new("L2 table", starts, header.cluster());
        let mut map = Map::new(header.cluster(), header.virtual_size);
        let mut digest = Sha256::new();
        for request in requests(tables.starts(), header.cluster()) {
            let range = request.range();
            let bytes = self.exactly(range.clone(), Table::L2).await?;
            let fetched = Chunk { at: range.start, bytes: &bytes };
            for piece in request.pieces {
                let chunk = fetched.part(&piece.range());
                digest.update(chunk.bytes);
                let read = read_l2(header, &references, &piece, chunk.bytes, &mut map);
                read.map_err(|flaw| self.flawed(flaw))?;
                // One table may stand for many parts of the disk: others shall have their turn between them.
                yield_now().await;
            }
        }
        Ok((map, tables.seal(digest)))
    }

    /// Reads what must be there.
    async fn exactly(&mut self, range: Range<u64>, table: Table) -> Result<Bytes, ImageError> {
        let behind_end = Qcow2Flaw::TableBehindEnd { table, end: range.end };
        if self.length.is_some_and(|length| length < range.end) {
            return Err(self.flawed(behind_end));
        }
        let bytes = self.source.read(range.clone()).await?;
        if bytes.len() as u64 == range.end - range.start { Ok(bytes) } else { Err(self.flawed(behind_end)) }
    }

    fn flawed(&self, flaw: Qcow2Flaw) -> ImageError {
        ImageError::qcow2(self.url, flaw)
    }
}

/// Puts into the map what a piece of an L2 table says of each part of the disk that it stands for.
fn read_l2(
    header: &Header,
    references: &[Reference],
    piece: &Piece,
    bytes: &[u8],
    map: &mut Map,
) -> Result<(), Qcow2Flaw> {
    let entries = Entries::new(header);
    let first = references.partition_point(|reference| reference.table < piece.table);
    let of_table = references[first..].iter().take_while(|reference| reference.table == piece.table);
    for reference in of_table {
        let mut at = piece.start;
        let mut guest =
            reference.guest + (piece.start - piece.table) / entries.l2_entry_bytes() * header.cluster();
        for entry in bytes.chunks_exact(entries.l2_entry_length()) {
            // What an entry behind the end of the disk says does not matter.
            if guest >= header.virtual_size {
                break;
            }
            map.add(guest, entries.l2(entry, at)?)?;
            at += entries.l2_entry_bytes();
            guest += header.cluster();
        }
    }
    Ok(())
}
