//! Buffers that are filled from the network and written to the disk, used again and again.

use crate::direct::AlignedBuffer;

/// Bytes in a buffer: large enough to keep a disk busy by one write at a time, small enough that a pool of them is no burden to
/// an agent in a RAM disk.
pub(super) const BUFFER_BYTES: usize = 1 << 20;

/// A piece of the image, where it can be written past the page cache.
pub(super) struct Buffer {
    memory: AlignedBuffer,
    len: usize,
}

impl Buffer {
    pub(super) fn new() -> Self {
        Self { memory: AlignedBuffer::new(BUFFER_BYTES), len: 0 }
    }

    pub(super) fn clear(&mut self) {
        self.len = 0;
    }

    /// Takes as much of `bytes` as there is room for, and says how much that was.
    pub(super) fn fill(&mut self, bytes: &[u8]) -> usize {
        let taken = bytes.len().min(BUFFER_BYTES - self.len);
        self.memory[self.len..self.len + taken].copy_from_slice(&bytes[..taken]);
        self.len += taken;
        taken
    }

    pub(super) fn is_full(&self) -> bool {
        self.len == BUFFER_BYTES
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.memory[..self.len]
    }
}
