//! An open disk that several threads write to at once, past the page cache where that is possible.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, FileTypeExt as _};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use nix::fcntl::{FallocateFlags, PosixFadviseAdvice, fallocate, posix_fadvise};
use nix::libc;

use crate::direct::{self, ALIGNMENT};
use crate::image::ImageError;
use crate::ioctl;

/// How many bytes may lie in the page cache before they are flushed: else a slow disk would leave gigabytes of a fast download
/// in the memory of a RAM disk, and the progress shown would not be that of the disk.
const MAX_UNFLUSHED: u64 = 64 << 20;
/// How many may lie in the cache of the drive alone: progress counts bytes as durable once they have been flushed.
const MAX_UNFLUSHED_DIRECT: u64 = 512 << 20;

/// An open disk to write an image to.
#[derive(Debug)]
pub struct Target {
    /// What errors call it.
    pub name: String,
    /// The disk, open for reading and writing.
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
    sector: u32,
    cached: File,
    /// The same disk opened with `O_DIRECT`, where it takes that.
    direct: Option<File>,
    /// Whether a direct write was refused although the disk could be opened so.
    direct_refused: AtomicBool,
    is_block_device: bool,
    /// Whether the disk has said that it cannot make zeros.
    cannot_zero: AtomicBool,
    written: AtomicU64,
    durable: AtomicU64,
}

impl Disk {
    pub(in crate::image) fn new(target: Target) -> Self {
        let Target { name, file: cached, capacity, sector } = target;
        let aligned_enough = usize::try_from(sector).is_ok_and(|sector| sector <= ALIGNMENT);
        let direct = if aligned_enough { reopen_direct(&cached) } else { None };
        let is_block_device = cached.metadata().is_ok_and(|found| found.file_type().is_block_device());
        Self {
            name,
            capacity,
            sector,
            cached,
            direct,
            direct_refused: AtomicBool::new(false),
            is_block_device,
            cannot_zero: AtomicBool::new(false),
            written: AtomicU64::new(0),
            durable: AtomicU64::new(0),
        }
    }

    pub(in crate::image) fn name(&self) -> &str {
        &self.name
    }

    pub(in crate::image) fn capacity(&self) -> u64 {
        self.capacity
    }

    /// Bytes in a logical sector.
    pub(in crate::image) fn sector(&self) -> u32 {
        self.sector
    }

    /// Counts what is written from now on.
    pub(in crate::image) fn begin_count(&self) {
        self.written.store(0, Ordering::Release);
        self.durable.store(0, Ordering::Release);
    }

    /// How many bytes, of all that were written or made zero since the count began, are on the medium for sure.
    pub(in crate::image) fn durable(&self) -> u64 {
        self.durable.load(Ordering::Relaxed)
    }

    /// Writes what can go past the page cache that way, and the rest through it.
    pub(in crate::image) fn write_at(&self, bytes: &[u8], offset: u64) -> Result<(), ImageError> {
        let direct_bytes = self.write_direct(bytes, offset)?;
        let rest = &bytes[direct_bytes..];
        if rest.is_empty() { Ok(()) } else { self.write_cached(rest, offset + as_u64(direct_bytes)) }
    }

    /// Writes through the page cache, which takes any length at any place.
    pub(in crate::image) fn write_cached(&self, bytes: &[u8], offset: u64) -> Result<(), ImageError> {
        self.cached.write_all_at(bytes, offset).map_err(|source| self.error("write", offset, source))?;
        self.count(as_u64(bytes.len()), MAX_UNFLUSHED)
    }

    /// Makes a range zero, whatever was there before: by what the disk offers for that, else by writing.
    pub(in crate::image) fn zero(&self, start: u64, end: u64) -> Result<(), ImageError> {
        let length = end.saturating_sub(start);
        // A disk zeroes whole sectors; the kernel can zero any byte of a file.
        let sector = if self.is_block_device { self.sector.into() } else { 1 };
        let whole = start.is_multiple_of(sector) && length.is_multiple_of(sector);
        if length == 0 {
            return Ok(());
        }
        if whole && !self.cannot_zero.load(Ordering::Relaxed) {
            match self.make_zero(start, length) {
                Ok(()) => return self.count(length, MAX_UNFLUSHED_DIRECT),
                Err(error) if is_not_offered(&error) => {
                    tracing::debug!(disk = self.name, %error, "the disk makes no zeros; writing them");
                    self.cannot_zero.store(true, Ordering::Relaxed);
                }
                Err(source) => return Err(self.error("make zeros on", start, source)),
            }
        }
        self.write_zeros(start, length)
    }

    /// Returns once all that was written is on the medium.
    pub(in crate::image) fn flush(&self) -> Result<(), ImageError> {
        let written = self.written.load(Ordering::Acquire);
        self.cached.sync_data().map_err(|source| self.error("flush", 0, source))?;
        self.durable.fetch_max(written, Ordering::AcqRel);
        Ok(())
    }

    /// Makes the next read come from the disk itself, as far as the kernel can see to it.
    pub(in crate::image) fn forget_cached(&self) -> Result<(), ImageError> {
        self.flush()?;
        let forgotten = if self.is_block_device {
            ioctl::flush_cache(&self.cached)
        } else {
            posix_fadvise(&self.cached, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED)
                .map_err(io::Error::from)
        };
        forgotten.map_err(|source| self.error("drop the cache of", 0, source))
    }

    pub(in crate::image) fn read_at(&self, bytes: &mut [u8], offset: u64) -> Result<(), ImageError> {
        self.cached.read_exact_at(bytes, offset).map_err(|source| self.error("read", offset, source))
    }

    /// Says how many of the bytes it wrote.
    fn write_direct(&self, bytes: &[u8], offset: u64) -> Result<usize, ImageError> {
        let Some(direct) = &self.direct else { return Ok(0) };
        let length = bytes.len() - bytes.len() % ALIGNMENT;
        let aligned = bytes.as_ptr().align_offset(ALIGNMENT) == 0 && offset.is_multiple_of(as_u64(ALIGNMENT));
        if length == 0 || !aligned || self.direct_refused.load(Ordering::Relaxed) {
            return Ok(0);
        }
        match direct.write_all_at(&bytes[..length], offset) {
            Ok(()) => {
                self.count(as_u64(length), MAX_UNFLUSHED_DIRECT)?;
                Ok(length)
            }
            // The file system or the device below wants another alignment than it said: the page cache gives any.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
                tracing::debug!(disk = self.name, "O_DIRECT is refused; writing through the page cache");
                self.direct_refused.store(true, Ordering::Relaxed);
                Ok(0)
            }
            Err(source) => Err(self.error("write", offset, source)),
        }
    }

    fn make_zero(&self, offset: u64, length: u64) -> io::Result<()> {
        if self.is_block_device {
            return ioctl::zero_out(&self.cached, offset, length);
        }
        let out_of_range = |_| io::Error::from_raw_os_error(libc::EOPNOTSUPP);
        let (offset, length) =
            (i64::try_from(offset).map_err(out_of_range)?, i64::try_from(length).map_err(out_of_range)?);
        let hole = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
        fallocate(&self.cached, hole, offset, length).map_err(io::Error::from)
    }

    fn write_zeros(&self, offset: u64, length: u64) -> Result<(), ImageError> {
        let zeros = direct::AlignedBuffer::new(1 << 20);
        let mut done = 0;
        while done < length {
            let piece = usize::try_from(length - done).map_or(zeros.len(), |left| left.min(zeros.len()));
            self.write_at(&zeros[..piece], offset + done)?;
            done += as_u64(piece);
        }
        Ok(())
    }

    /// Counts what was written, and flushes when too much of it is not durable. One thread does while the others go on.
    fn count(&self, bytes: u64, most: u64) -> Result<(), ImageError> {
        let before = self.written.fetch_add(bytes, Ordering::AcqRel);
        let crossed = before / most != (before + bytes) / most;
        if crossed { self.flush() } else { Ok(()) }
    }

    fn error(&self, action: &'static str, offset: u64, source: io::Error) -> ImageError {
        ImageError::Device { target: self.name.clone(), action, offset, source }
    }
}

/// What a disk or a file system says that has no way to make zeros.
fn is_not_offered(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EOPNOTSUPP | libc::ENOTTY | libc::EINVAL | libc::ENOSYS))
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
