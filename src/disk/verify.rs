//! Reads a disk back from its medium, to prove that nothing is left on it.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt as _;

use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};
use nix::libc;

use super::region::Region;
use super::{DiskError, OpenDisk};
use crate::direct::{self, ALIGNMENT, AlignedBuffer};
use crate::meter::Meter;

/// Bytes that are read at a time.
const READ_BYTES: u64 = 1 << 20;

/// Reads every byte of these regions and says how many they were. All that was written must be flushed before.
///
/// # Errors
/// [`DiskError::EraseNotProven`] when a byte is not zero, [`DiskError::Io`] when one cannot be read, and when told to stop.
pub(super) fn all_zero(disk: &OpenDisk, regions: &[Region], meter: &Meter) -> Result<u64, DiskError> {
    meter.phase("verify", Some(regions.iter().map(Region::length).sum()));
    let mut medium = Medium::of(disk);
    let mut verified = 0;
    for piece in regions.iter().flat_map(|region| region.pieces(READ_BYTES)) {
        meter.check()?;
        let bytes = medium.read(&piece).map_err(|source| disk.fault_at("read back", piece.start, source))?;
        if let Some((offset, found)) = first_not_zero(bytes) {
            let offset = piece.start + offset;
            return Err(DiskError::EraseNotProven { disk: disk.name().to_owned(), offset, found });
        }
        verified += piece.length();
        meter.advance(piece.length());
    }
    Ok(verified)
}

fn first_not_zero(bytes: &[u8]) -> Option<(u64, u8)> {
    // That each byte is the one before it is a single comparison of memory, far quicker than one of each byte.
    if bytes.is_empty() || bytes[0] == 0 && bytes[1..] == bytes[..bytes.len() - 1] {
        return None;
    }
    (0..).zip(bytes).find(|(_, byte)| **byte != 0).map(|(offset, byte)| (offset, *byte))
}

/// A disk, read past the page cache, which would only tell what was written to it.
struct Medium<'a> {
    cached: &'a File,
    /// Where there is `O_DIRECT`. Else the page cache is told to forget what it holds before each read: all of it is clean, since it
    /// has been flushed. On a file system that is memory alone, the page cache is the medium.
    direct: Option<File>,
    buffer: AlignedBuffer,
}

impl<'a> Medium<'a> {
    fn of(disk: &'a OpenDisk) -> Self {
        let direct = direct::reopen(disk.file(), OpenOptions::new().read(true)).ok();
        // A piece that begins and ends within a block needs the whole blocks.
        let length = usize::try_from(READ_BYTES).unwrap_or(ALIGNMENT) + 2 * ALIGNMENT;
        Self { cached: disk.file(), direct, buffer: AlignedBuffer::new(length) }
    }

    fn read(&mut self, piece: &Region) -> io::Result<&[u8]> {
        let block = ALIGNMENT as u64;
        let start = piece.start - piece.start % block;
        let (from, to) = (as_usize(piece.start - start)?, as_usize(piece.end - start)?);
        self.fill(start, to)?;
        Ok(&self.buffer[from..to])
    }

    /// Reads at least `wanted` bytes from `start` on, which is a multiple of the alignment.
    fn fill(&mut self, start: u64, wanted: usize) -> io::Result<()> {
        let buffer = &mut self.buffer[..wanted.next_multiple_of(ALIGNMENT)];
        if let Some(file) = &self.direct {
            match read_at_least(file, buffer, start, wanted) {
                // The file system or the device wants another alignment than it said.
                Err(error) if error.raw_os_error() == Some(libc::EINVAL) => self.direct = None,
                result => return result,
            }
        }
        let length = libc::off_t::try_from(buffer.len()).map_err(io::Error::other)?;
        let offset = libc::off_t::try_from(start).map_err(io::Error::other)?;
        posix_fadvise(self.cached, offset, length, PosixFadviseAdvice::POSIX_FADV_DONTNEED)?;
        read_at_least(self.cached, buffer, start, wanted)
    }
}

/// Whole blocks are asked for, of which the last may reach beyond the end of the disk.
fn read_at_least(file: &File, buffer: &mut [u8], start: u64, wanted: usize) -> io::Result<()> {
    let mut done = 0;
    while done < wanted {
        match file.read_at(&mut buffer[done..], start + done as u64) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(length) => done += length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn as_usize(bytes: u64) -> io::Result<usize> {
    usize::try_from(bytes).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::Access;

    fn disk_with(length: usize, dirty: Option<usize>) -> (tempfile::TempDir, OpenDisk) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("disk");
        let mut content = vec![0; length];
        if let Some(at) = dirty {
            content[at] = 0xa5;
        }
        std::fs::write(&path, content).unwrap();
        let access = Access::detect(vec![path]).unwrap();
        let open = access.open(&access.disks().unwrap()[0]).unwrap();
        open.flush().unwrap();
        (dir, open)
    }

    #[test]
    fn one_byte_that_is_left_is_found_where_it_is() {
        const LENGTH: usize = (2 << 20) + 4097;
        for at in [0, 511, 4096, 1 << 20, (2 << 20) - 1, LENGTH - 1] {
            let (_dir, disk) = disk_with(LENGTH, Some(at));
            let whole = Region { start: 0, end: LENGTH as u64 };
            let error = all_zero(&disk, &[whole], &Meter::unobserved()).unwrap_err();
            assert!(
                matches!(error, DiskError::EraseNotProven { offset, found: 0xa5, .. } if offset == at as u64),
                "{error}"
            );
            let message = error.to_string();
            assert!(message.contains(disk.name()) && message.contains("0xa5"), "{message}");
        }
    }

    #[test]
    fn only_the_regions_are_read() {
        let (_dir, disk) = disk_with(10_000, Some(5000));
        let region = |start, end| Region { start, end };
        let around = [region(100, 5000), region(5001, 10_000)];
        assert_eq!(all_zero(&disk, &around, &Meter::unobserved()).unwrap(), 9899);
        assert!(all_zero(&disk, &[region(4999, 5001)], &Meter::unobserved()).is_err());
    }

    #[test]
    fn a_disk_that_ends_early_is_a_fault() {
        let (_dir, disk) = disk_with(4096, None);
        let error = all_zero(&disk, &[Region { start: 0, end: 4097 }], &Meter::unobserved()).unwrap_err();
        assert!(matches!(error, DiskError::Io { .. }), "{error}");
    }

    #[test]
    fn finds_the_first_byte_that_is_not_zero() {
        let mut bytes = vec![0; 9000];
        assert_eq!((first_not_zero(&bytes), first_not_zero(&[])), (None, None));
        for at in [8999, 4097, 1, 0] {
            bytes[at] = 7;
            assert_eq!(first_not_zero(&bytes), Some((at as u64, 7)));
        }
        assert_eq!(first_not_zero(&[7, 7, 7]), Some((0, 7)));
    }
}
