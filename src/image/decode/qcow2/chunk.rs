//! A piece of the file as it goes by.

use std::ops::Range;

/// Some bytes of the file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Chunk<'a> {
    /// Where they begin in the file.
    pub(super) at: u64,
    pub(super) bytes: &'a [u8],
}

impl<'a> Chunk<'a> {
    /// The first byte of the file after it.
    pub(super) fn end(&self) -> u64 {
        self.at + self.bytes.len() as u64
    }

    /// What it holds of `range` of the file; nothing where they do not meet.
    pub(super) fn part(&self, range: &Range<u64>) -> Chunk<'a> {
        let start = range.start.clamp(self.at, self.end());
        let end = range.end.clamp(start, self.end());
        let index = |at: u64| usize::try_from(at - self.at).expect("not behind the end of the bytes");
        Chunk { at: start, bytes: &self.bytes[index(start)..index(end)] }
    }
}
