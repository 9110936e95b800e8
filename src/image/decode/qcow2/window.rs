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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// The file is gone by piece by piece, as by the unpacker; what is gathered must be what lies in the file.
        #[test]
        fn gathers_what_lies_in_the_file(
            mut ranges in prop::collection::vec((0..5000_u64, 1..200_u64), 1..60),
            piece in 1..700_usize,
        ) {
            let file: Vec<u8> = (0..5200_u32).map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect();
            ranges.sort_unstable();
            let mut ranges = ranges.into_iter().map(|(start, length)| start..start + length).peekable();
            let mut window = Window::default();
            let mut at = 0;
            for bytes in file.chunks(piece) {
                let chunk = Chunk { at, bytes };
                while let Some(range) = ranges.next_if(|range| range.end <= chunk.end()) {
                    let whole = Chunk { at: 0, bytes: &file };
                    prop_assert_eq!(window.gather(chunk, &range), whole.part(&range).bytes);
                }
                match ranges.peek() {
                    Some(next) => window.keep(chunk, next.start),
                    None => window.clear(),
                }
                prop_assert!(window.bytes.len() < 200);
                at = chunk.end();
            }
            prop_assert_eq!(ranges.next(), None);
        }
    }
}
