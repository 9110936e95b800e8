//! A file and a disk in memory, for tests and fuzzing.

use std::ops::Range;

use bytes::Bytes;

use super::{Decoder, Plan, ReadRange};
use crate::image::ImageError;
use crate::image::buffer::Buffer;
use crate::image::decode::Sink;
use crate::wire::ImageUrl;

/// What disks are full of before.
const OLD: u8 = 0xa5;
/// Bytes of the largest disk: large enough to be of several L2 tables, small enough to be made again and again.
pub(super) const CAPACITY: u64 = 64 << 20;

/// A file, read by ranges.
pub(super) struct File {
    pub(super) bytes: Bytes,
    /// What was asked for.
    pub(super) requests: Vec<Range<u64>>,
}

impl File {
    pub(super) fn new(bytes: &[u8]) -> Self {
        Self { bytes: Bytes::copy_from_slice(bytes), requests: Vec::new() }
    }
}

impl ReadRange for File {
    async fn read(&mut self, range: Range<u64>) -> Result<Bytes, ImageError> {
        assert!(!range.is_empty() && range.end - range.start <= 1 << 20, "{range:?}");
        self.requests.push(range.clone());
        let index = |at: u64| usize::try_from(at).unwrap_or(usize::MAX).min(self.bytes.len());
        Ok(self.bytes.slice(index(range.start)..index(range.end)))
    }
}

/// A disk full of old data that notices when a place is written twice, or not at all.
pub(super) struct Disk {
    bytes: Vec<u8>,
    /// Of each byte, whether it was written, as 0 and 1: bytes are sought and set fast even in code that is not optimised.
    written: Vec<u8>,
}

impl Disk {
    pub(super) fn new(size: u64) -> Self {
        let size = usize::try_from(size).expect("disks of tests are small");
        Self { bytes: vec![OLD; size], written: vec![0; size] }
    }

    fn place(&mut self, offset: u64, length: usize) -> &mut [u8] {
        let start = usize::try_from(offset).expect("disks of tests are small");
        let end = start + length;
        assert!(end <= self.bytes.len(), "{start} to {end} is behind the end of the disk");
        let written = &mut self.written[start..end];
        assert!(!written.contains(&1), "{start} to {end} was written before");
        written.fill(1);
        &mut self.bytes[start..end]
    }

    pub(super) fn content(self) -> Vec<u8> {
        assert!(!self.written.contains(&0), "a part of the disk was not written");
        self.bytes
    }
}

impl Sink for Disk {
    fn buffer(&mut self) -> Buffer {
        unreachable!("content of qcow2 images is copied")
    }

    fn write(&mut self, _: u64, _: Buffer) -> Result<(), ImageError> {
        unreachable!("content of qcow2 images is copied")
    }

    fn copy(&mut self, offset: u64, bytes: &[u8]) -> Result<(), ImageError> {
        self.place(offset, bytes.len()).copy_from_slice(bytes);
        Ok(())
    }

    fn zero(&mut self, range: Range<u64>) -> Result<(), ImageError> {
        let length = range.end.checked_sub(range.start).expect("a range ends behind where it begins");
        let length = usize::try_from(length).expect("disks of tests are small");
        self.place(range.start, length).fill(0);
        Ok(())
    }
}

/// Reads the tables of `bytes`, for a disk of [`CAPACITY`].
pub(super) fn plan(bytes: &[u8], length: Option<u64>) -> Result<Plan, ImageError> {
    plan_of(&mut File::new(bytes), length)
}

/// The same of a file.
pub(super) fn plan_of(file: &mut File, length: Option<u64>) -> Result<Plan, ImageError> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("there are threads");
    let url: ImageUrl = "http://h/image.qcow2".parse().expect("a URL");
    runtime.block_on(Plan::read(&url, length, "/dev/disk", CAPACITY, file))
}

/// Decodes `stream` by the tables of `bytes`, in pieces of these lengths, again and again.
pub(super) fn decode_other(
    bytes: &[u8],
    stream: &[u8],
    length: Option<u64>,
    pieces: &[usize],
) -> Result<Vec<u8>, ImageError> {
    let plan = plan(bytes, length)?;
    let mut disk = Disk::new(plan.virtual_size());
    let mut decoder = Decoder::begin(plan, &mut disk)?;
    let mut rest = stream;
    for piece in pieces.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (piece, after) = rest.split_at((*piece).clamp(1, rest.len()));
        decoder.feed(piece, &mut disk)?;
        rest = after;
    }
    decoder.finish(&mut disk)?;
    Ok(disk.content())
}

/// Decodes an image whose length is known, in pieces of these lengths, again and again.
pub(super) fn decode(bytes: &[u8], pieces: &[usize]) -> Result<Vec<u8>, ImageError> {
    decode_other(bytes, bytes, Some(bytes.len() as u64), pieces)
}

/// For fuzzing: whatever the bytes are, this must neither panic nor take much memory or time.
pub(crate) fn fuzz(bytes: &[u8]) {
    let _ = decode(bytes, &[1000, 1 << 20]);
}

/// Fails where the two differ, saying where.
#[cfg(test)]
pub(super) fn assert_same(found: &[u8], expected: &[u8]) {
    assert_eq!(found.len(), expected.len(), "length");
    if found == expected {
        return;
    }
    if let Some(at) = found.iter().zip(expected).position(|(found, expected)| found != expected) {
        panic!("byte {at}: found {:#04x}, expected {:#04x}", found[at], expected[at]);
    }
}
