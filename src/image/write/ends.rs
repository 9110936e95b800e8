//! The two ends of a disk, kept back in memory.
//!
//! Firmware and kernels find partitions by the first sectors of a disk, or by the copy of a GPT in its last ones; a file system
//! without partitions begins in the first sectors too.

use std::ops::Range;

use super::as_u64;
use crate::direct::ALIGNMENT;

/// How much of each end is withheld. A GPT with 128 entries takes 24 KiB at most; bootloaders in front of the first partition
/// lie within the first MiB too.
const END_BYTES: u64 = 1 << 20;

/// What the ends shall hold. Zeros where the image says nothing.
#[derive(Debug)]
pub(super) struct Ends {
    pub(super) head: Vec<u8>,
    pub(super) tail: Vec<u8>,
    tail_start: u64,
}

impl Ends {
    /// The ends of a disk of so many bytes. They do not overlap; the last one begins at an aligned place, so that the body before it
    /// can be written past the page cache to its end.
    pub(super) fn of(capacity: u64) -> Self {
        let head_end = END_BYTES.min(capacity);
        let aligned = capacity.saturating_sub(END_BYTES) / as_u64(ALIGNMENT) * as_u64(ALIGNMENT);
        let tail_start = aligned.max(head_end);
        let zeros = |range: Range<u64>| vec![0; usize::try_from(range.end - range.start).unwrap_or(0)];
        Self { head: zeros(0..head_end), tail: zeros(tail_start..capacity), tail_start }
    }

    /// Where the last end begins.
    pub(super) fn tail_start(&self) -> u64 {
        self.tail_start
    }

    /// What lies between them.
    pub(super) fn body(&self) -> Range<u64> {
        as_u64(self.head.len())..self.tail_start
    }

    /// Keeps what lies at the ends, and says which part of `range` does not.
    pub(super) fn body_of(&self, range: &Range<u64>) -> Range<u64> {
        let body = self.body();
        let start = range.start.clamp(body.start, body.end);
        start..range.end.clamp(start, body.end)
    }

    /// Keeps those of the bytes at `offset` that lie at the ends.
    pub(super) fn keep(&mut self, offset: u64, bytes: &[u8]) {
        overlay(&mut self.head, 0, offset, bytes);
        overlay(&mut self.tail, self.tail_start, offset, bytes);
    }
}

/// Copies what lies at `offset` into the part of an end that begins at `start`, as far as they overlap.
fn overlay(end: &mut [u8], start: u64, offset: u64, bytes: &[u8]) {
    let from = offset.max(start);
    let to = (offset + as_u64(bytes.len())).min(start + as_u64(end.len()));
    if from >= to {
        return;
    }
    let within = |begin: u64| -> Option<Range<usize>> {
        Some(usize::try_from(from - begin).ok()?..usize::try_from(to - begin).ok()?)
    };
    if let (Some(into), Some(out)) = (within(start), within(offset)) {
        end[into].copy_from_slice(&bytes[out]);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_byte_is_of_the_body_or_of_an_end(capacity in 1_u64..5 << 20, offset in 0_u64..5 << 20, length in 0_usize..3 << 20) {
            prop_assume!(offset + length as u64 <= capacity);
            let mut ends = Ends::of(capacity);
            let body = ends.body();
            prop_assert_eq!(ends.head.len() as u64, body.start);
            prop_assert_eq!(body.end + ends.tail.len() as u64, capacity);
            prop_assert!(ends.tail.is_empty() || ends.tail_start().is_multiple_of(4096) || ends.tail_start() == body.start);

            ends.keep(offset, &vec![7; length]);
            let kept = ends.head.iter().chain(&ends.tail).filter(|byte| **byte == 7).count();
            let rest = ends.body_of(&(offset..offset + length as u64));
            prop_assert_eq!(kept as u64 + (rest.end - rest.start), length as u64);
            prop_assert!(rest.is_empty() || (body.contains(&rest.start) && rest.end <= body.end));
        }
    }
}
