//! Makes a disk bootable by its last two writes.
//!
//! Firmware and kernels find partitions by the first sectors of a disk, or by the copy of a GPT in its last ones. Both ends are
//! therefore zeroed and flushed before anything else is written, and the parts of the image that belong there are withheld in
//! memory. A crash, a cancelled command or a wrong digest leaves a disk without a partition table, whatever was on it before.
//! With the digest verified the body is flushed, then the last MiB, then the first.

use std::ops::Range;

use super::Target;
use super::disk::{Disk, as_u64};
use crate::direct::ALIGNMENT;
use crate::image::ImageError;
use crate::image::buffer::BUFFER_BYTES;
use crate::image::digest::Verified;

/// How much of each end is withheld. A GPT with 128 entries takes 24 KiB at most; bootloaders in front of the first partition
/// lie within the first MiB too.
const END_BYTES: u64 = 1 << 20;

/// An image on its way to a disk that has no partition table until [`Uncommitted::commit`].
#[derive(Debug)]
pub(in crate::image) struct Uncommitted {
    disk: Disk,
    head: Vec<u8>,
    tail: Vec<u8>,
    length: u64,
}

impl Uncommitted {
    /// Takes the partition table away.
    pub(in crate::image) fn begin(mut disk: Disk) -> Result<Self, ImageError> {
        zero_ends(&mut disk)?;
        Ok(Self { disk, head: Vec::new(), tail: Vec::new(), length: 0 })
    }

    /// Takes the next bytes of the image; those of the ends are kept back. Together they must fit the disk.
    pub(in crate::image) fn append(&mut self, bytes: &[u8]) -> Result<(), ImageError> {
        let [head, tail] = ends(self.disk.capacity());
        let (for_head, rest) = split_at_offset(bytes, self.length, head.end);
        let rest_begins = self.length + as_u64(for_head.len());
        let (body, for_tail) = split_at_offset(rest, rest_begins, tail.start);
        self.head.extend_from_slice(for_head);
        self.disk.write_at(body, rest_begins)?;
        self.tail.extend_from_slice(for_tail);
        self.length += as_u64(bytes.len());
        Ok(())
    }

    /// Makes the image durable and the disk bootable, and says how long the image is.
    ///
    /// When that fails half-way the partition table is taken away again.
    pub(in crate::image) fn commit(mut self, _: Verified) -> Result<u64, ImageError> {
        match self.write_ends() {
            Ok(()) => Ok(self.length),
            Err(error) => {
                if let Err(second) = zero_ends(&mut self.disk) {
                    tracing::warn!(disk = self.disk.name(), %second, "the partition table may be left after a failed commit");
                }
                Err(error)
            }
        }
    }

    fn write_ends(&mut self) -> Result<(), ImageError> {
        let [head, tail] = ends(self.disk.capacity());
        self.disk.flush()?;
        if !self.tail.is_empty() {
            self.disk.write_cached(&self.tail, tail.start)?;
            self.disk.flush()?;
        }
        self.disk.write_cached(&self.head, head.start)?;
        self.disk.flush()
    }
}

/// Takes the partition table of a disk away again: both ends are zeroed and flushed. For an image that was committed and turned
/// out not to be usable on this disk.
///
/// # Errors
/// [`ImageError::Device`].
pub fn withdraw(target: Target) -> Result<(), ImageError> {
    zero_ends(&mut Disk::new(target))
}

fn zero_ends(disk: &mut Disk) -> Result<(), ImageError> {
    let zeros = vec![0; BUFFER_BYTES];
    for end in ends(disk.capacity()) {
        let mut offset = end.start;
        while offset < end.end {
            let length =
                usize::try_from(end.end - offset).map_or(BUFFER_BYTES, |left| left.min(BUFFER_BYTES));
            disk.write_cached(&zeros[..length], offset)?;
            offset += as_u64(length);
        }
    }
    disk.flush()
}

/// The two ends of a disk. They do not overlap; the last one begins at an aligned place, so that the body before it can be
/// written past the page cache to its end.
fn ends(capacity: u64) -> [Range<u64>; 2] {
    let head_end = END_BYTES.min(capacity);
    let tail_start = capacity.saturating_sub(END_BYTES) / as_u64(ALIGNMENT) * as_u64(ALIGNMENT);
    [0..head_end, tail_start.max(head_end)..capacity]
}

/// Parts bytes that lie at `offset` into those before `boundary` and those from there on.
fn split_at_offset(bytes: &[u8], offset: u64, boundary: u64) -> (&[u8], &[u8]) {
    let before = usize::try_from(boundary.saturating_sub(offset)).unwrap_or(usize::MAX);
    bytes.split_at(before.min(bytes.len()))
}
