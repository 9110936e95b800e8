//! Reading and writing past the page cache, by `O_DIRECT`.

use std::fs::{File, OpenOptions};
use std::io;
use std::ops::{Deref, DerefMut};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::OpenOptionsExt as _;

use nix::libc;

/// What `O_DIRECT` asks of the address, the offset and the length, for all sectors up to 4096 bytes.
pub(crate) const ALIGNMENT: usize = 4096;

/// Opens what `file` is once more, whatever its path leads to now. The flag would else hold for every clone of `file`.
///
/// # Errors
/// When the file system has no `O_DIRECT`.
pub(crate) fn reopen(file: &File, options: &mut OpenOptions) -> io::Result<File> {
    options.custom_flags(libc::O_DIRECT).open(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

/// Bytes at an address that is a multiple of [`ALIGNMENT`].
#[derive(Debug)]
pub(crate) struct AlignedBuffer {
    /// Longer than is needed, so that an aligned stretch lies within: the standard library has no aligned `Vec`.
    memory: Vec<u8>,
    start: usize,
    length: usize,
}

impl AlignedBuffer {
    pub(crate) fn new(length: usize) -> Self {
        let memory = vec![0; length + ALIGNMENT];
        // `align_offset` may refuse in theory; the page cache is used then.
        let start = match memory.as_ptr().align_offset(ALIGNMENT) {
            start if start < ALIGNMENT => start,
            _ => 0,
        };
        Self { memory, start, length }
    }
}

impl Deref for AlignedBuffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.memory[self.start..self.start + self.length]
    }
}

impl DerefMut for AlignedBuffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.memory[self.start..self.start + self.length]
    }
}
