//! What compressed clusters need of the file that has gone by.

use std::ops::Range;

use super::chunk::Chunk;

/// The last bytes of the file that came before the current piece of it, as far as anything needs them: two clusters at most between
/// pieces, and two more while a piece is worked on.
#[derive(Debug, Default)]
pub(super) struct Window {
    /// Where in the file `bytes` begins.
    at: u64,
    bytes: Vec<u8>,
}

impl Window {
    /// The bytes `range` of the file, which ends within `chunk` or before it, and begins there or in what was kept.
    pub(super) fn gather<'a>(&'a mut self, chunk: Chunk<'a>, range: &Range<u64>) -> &'a [u8] {
        if range.start >= chunk.at {
            return chunk.part(range).bytes;
        }
        let end = self.end();
        self.bytes.extend_from_slice(chunk.part(&(end..range.end)).bytes);
        Chunk { at: self.at, bytes: &self.bytes }.part(range).bytes
    }

    /// Keeps what there is of the file from `start` on, up to the end of `chunk`, and nothing else.
    pub(super) fn keep(&mut self, chunk: Chunk<'_>, start: u64) {
        if start >= chunk.at {
            self.bytes.clear();
            let kept = chunk.part(&(start..chunk.end()));
            self.bytes.extend_from_slice(kept.bytes);
            self.at = kept.at;
            return;
        }
        let end = self.end();
        self.bytes.extend_from_slice(chunk.part(&(end..chunk.end())).bytes);
        let useless = usize::try_from(start - self.at).map_or(self.bytes.len(), |n| n.min(self.bytes.len()));
        self.bytes.drain(..useless);
        self.at = start;
    }

    /// Keeps nothing.
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
    }

    fn end(&self) -> u64 {
        self.at + self.bytes.len() as u64
    }
}
