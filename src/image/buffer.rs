//! Buffers that are filled from the network and written to the disk, used again and again.

/// Bytes in a buffer: large enough to keep a disk busy by one write at a time, small enough that a pool of them is no burden to
/// an agent in a RAM disk.
pub(super) const BUFFER_BYTES: usize = 1 << 20;
/// What `O_DIRECT` asks of the address, the offset and the length of a write, for all sectors up to 4096 bytes.
pub(super) const ALIGNMENT: usize = 4096;

/// A piece of the image, at an address that is a multiple of [`ALIGNMENT`].
pub(super) struct Buffer {
    /// Longer than is needed, so that an aligned stretch lies within: the standard library has no aligned `Vec`.
    memory: Vec<u8>,
    start: usize,
    len: usize,
}

impl Buffer {
    pub(super) fn new() -> Self {
        let memory = vec![0; BUFFER_BYTES + ALIGNMENT];
        // `align_offset` may refuse in theory; the buffer is then written through the page cache.
        let start = match memory.as_ptr().align_offset(ALIGNMENT) {
            start if start < ALIGNMENT => start,
            _ => 0,
        };
        Self { memory, start, len: 0 }
    }

    pub(super) fn clear(&mut self) {
        self.len = 0;
    }

    /// Takes as much of `bytes` as there is room for, and says how much that was.
    pub(super) fn fill(&mut self, bytes: &[u8]) -> usize {
        let taken = bytes.len().min(BUFFER_BYTES - self.len);
        let from = self.start + self.len;
        self.memory[from..from + taken].copy_from_slice(&bytes[..taken]);
        self.len += taken;
        taken
    }

    pub(super) fn is_full(&self) -> bool {
        self.len == BUFFER_BYTES
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.memory[self.start..self.start + self.len]
    }
}
