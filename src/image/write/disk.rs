//! Writing to an open disk, past the page cache where that is possible.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt as _;

use nix::libc;

use crate::direct::{self, ALIGNMENT};
use crate::image::ImageError;

/// How many bytes may lie in the page cache before they are flushed: else a slow disk would leave gigabytes of a fast download
/// in the memory of a RAM disk, and the progress shown would not be that of the disk.
const MAX_UNFLUSHED: u64 = 64 << 20;

/// An open disk to write an image to.
#[derive(Debug)]
pub struct Target {
    /// What errors call it.
    pub name: String,
    /// The disk, open for writing.
    pub file: File,
    /// Its size in bytes.
    pub capacity: u64,
    /// Bytes in one of its logical sectors.
    pub sector: u32,
}

impl Target {
    /// The disk that is open as `disk`, which stays open.
    ///
    /// # Errors
    /// [`ImageError::Device`] when this process may open no more files.
    pub fn of(name: String, disk: &File, capacity: u64, sector: u32) -> Result<Self, ImageError> {
        match disk.try_clone() {
            Ok(file) => Ok(Self { name, file, capacity, sector }),
            Err(source) => Err(ImageError::Device { target: name, action: "open", offset: 0, source }),
        }
    }
}

/// A disk that is being written.
#[derive(Debug)]
pub(in crate::image) struct Disk {
    name: String,
    capacity: u64,
    cached: File,
    /// The same disk opened with `O_DIRECT`, where it takes that.
    direct: Option<File>,
    unflushed: u64,
}

impl Disk {
    pub(in crate::image) fn new(target: Target) -> Self {
        let Target { name, file: cached, capacity, sector } = target;
        let aligned_enough = usize::try_from(sector).is_ok_and(|sector| sector <= ALIGNMENT);
        let direct = if aligned_enough { reopen_direct(&cached) } else { None };
        Self { name, capacity, cached, direct, unflushed: 0 }
    }

    pub(in crate::image) fn name(&self) -> &str {
        &self.name
    }

    pub(in crate::image) fn capacity(&self) -> u64 {
        self.capacity
    }

    /// Writes what can go past the page cache that way, and the rest through it.
    pub(in crate::image) fn write_at(&mut self, bytes: &[u8], offset: u64) -> Result<(), ImageError> {
        let direct_bytes = self.write_direct(bytes, offset)?;
        let rest = &bytes[direct_bytes..];
        if rest.is_empty() { Ok(()) } else { self.write_cached(rest, offset + as_u64(direct_bytes)) }
    }

    /// Writes through the page cache, which takes any length at any place.
    pub(in crate::image) fn write_cached(&mut self, bytes: &[u8], offset: u64) -> Result<(), ImageError> {
        self.cached.write_all_at(bytes, offset).map_err(|source| self.error("write", offset, source))?;
        self.unflushed += as_u64(bytes.len());
        if self.unflushed >= MAX_UNFLUSHED { self.flush() } else { Ok(()) }
    }

    /// Returns once all that was written is on the medium.
    pub(in crate::image) fn flush(&mut self) -> Result<(), ImageError> {
        self.cached.sync_data().map_err(|source| self.error("flush", 0, source))?;
        self.unflushed = 0;
        Ok(())
    }

    /// Says how many of the bytes it wrote.
    fn write_direct(&mut self, bytes: &[u8], offset: u64) -> Result<usize, ImageError> {
        let Some(direct) = &self.direct else { return Ok(0) };
        let length = bytes.len() - bytes.len() % ALIGNMENT;
        let aligned = bytes.as_ptr().align_offset(ALIGNMENT) == 0 && offset.is_multiple_of(as_u64(ALIGNMENT));
        if length == 0 || !aligned {
            return Ok(0);
        }
        match direct.write_all_at(&bytes[..length], offset) {
            Ok(()) => Ok(length),
            // The file system or the device below wants another alignment than it said: the page cache gives any.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
                tracing::debug!(disk = self.name, "O_DIRECT is refused; writing through the page cache");
                self.direct = None;
                Ok(0)
            }
            Err(source) => Err(self.error("write", offset, source)),
        }
    }

    fn error(&self, action: &'static str, offset: u64, source: io::Error) -> ImageError {
        ImageError::Device { target: self.name.clone(), action, offset, source }
    }
}

fn reopen_direct(file: &File) -> Option<File> {
    direct::reopen(file, OpenOptions::new().write(true))
        .inspect_err(|error| tracing::debug!(%error, "no O_DIRECT; writing through the page cache"))
        .ok()
}

/// A `usize` is never wider than 64 bits here.
pub(in crate::image) fn as_u64(bytes: usize) -> u64 {
    bytes as u64
}
