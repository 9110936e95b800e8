//! Holds the tables that go by in the stream against those that the plan was made from.
//!
//! Only the digest of the whole image says whether it is the one that was meant. It is taken of the stream, so the plan must come from
//! the same bytes: else a server could send one image for the digest and the tables of another.

use std::ops::Range;

use sha2::{Digest as _, Sha256};

use super::chunk::Chunk;
use super::flaw::Qcow2Flaw;

/// Tables of one kind, by their places: all of one length, in the order of the file, none of them overlapping.
#[derive(Debug)]
pub(super) struct Tables {
    what: &'static str,
    starts: Vec<u64>,
    length: u64,
}

impl Tables {
    pub(super) fn new(what: &'static str, starts: Vec<u64>, length: u64) -> Self {
        Self { what, starts, length }
    }

    pub(super) fn starts(&self) -> &[u64] {
        &self.starts
    }

    fn get(&self, number: usize) -> Option<Range<u64>> {
        self.starts.get(number).map(|start| *start..start + self.length)
    }

    /// Closes the seal with the bytes of all the tables, which were read in their order.
    pub(super) fn seal(self, read: Sha256) -> Seal {
        Seal { tables: self, expected: read.finalize().into(), seen: Sha256::new(), next: 0 }
    }
}

/// Tables that must come by as they were.
#[derive(Debug)]
pub(super) struct Seal {
    tables: Tables,
    expected: [u8; 32],
    /// Of the bytes that have come by.
    seen: Sha256,
    /// The first table that has not come by wholly.
    next: usize,
}

impl Seal {
    /// Looks at the next piece of the file.
    pub(super) fn feed(&mut self, chunk: Chunk<'_>) {
        while let Some(table) = self.tables.get(self.next).filter(|table| table.start < chunk.end()) {
            self.seen.update(chunk.part(&table).bytes);
            if table.end > chunk.end() {
                break;
            }
            self.next += 1;
        }
    }

    /// Whether all the tables came by as they were.
    pub(super) fn check(self) -> Result<(), Qcow2Flaw> {
        let is_whole = self.next == self.tables.starts.len();
        if is_whole && self.expected == <[u8; 32]>::from(self.seen.finalize()) {
            return Ok(());
        }
        Err(Qcow2Flaw::Changed { what: self.tables.what })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seal(file: &[u8]) -> Seal {
        let read = [&file[10..20], &file[20..30], &file[50..60]].concat();
        Tables::new("table", vec![10, 20, 50], 10).seal(Sha256::new_with_prefix(read))
    }

    fn check(file: &[u8], stream: &[u8], piece: usize) -> Result<(), Qcow2Flaw> {
        let mut seal = seal(file);
        let mut at = 0;
        for bytes in stream.chunks(piece) {
            seal.feed(Chunk { at, bytes });
            at += bytes.len() as u64;
        }
        seal.check()
    }

    #[test]
    fn only_what_is_sealed_matters_and_all_of_it_does() {
        let file: Vec<u8> = (0..100).collect();
        for piece in [1, 3, 10, 25, 100] {
            check(&file, &file[..60], piece).unwrap();
            assert!(check(&file, &file[..59], piece).is_err());
            for place in 0..file.len() {
                let mut stream = file.clone();
                stream[place] ^= 0x80;
                let is_sealed = (10..30).contains(&place) || (50..60).contains(&place);
                assert_eq!(check(&file, &stream, piece).is_err(), is_sealed, "{place} in pieces of {piece}");
            }
        }
    }
}
