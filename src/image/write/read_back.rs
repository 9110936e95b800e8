//! Reads the disk back and holds it against what was written.

use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

use sha2::{Digest as _, Sha256};

use super::{Disk, as_u64};
use crate::image::ImageError;
use crate::image::buffer::BUFFER_BYTES;
use crate::meter::Meter;

/// Bytes of a digest that are kept: 16 of SHA-256 tell damage as well as all of them, in half the memory.
const KEPT: usize = 16;

/// What was written where: 40 bytes for each write, which is of a MiB as a rule.
#[derive(Debug, Default)]
pub(super) struct Journal {
    entries: Mutex<Vec<Entry>>,
}

#[derive(Debug)]
struct Entry {
    range: Range<u64>,
    content: Content,
}

#[derive(Debug)]
enum Content {
    Digest([u8; KEPT]),
    Zeros,
}

impl Journal {
    /// Notes bytes before they are written. They are no more than a buffer holds.
    pub(super) fn note(&self, offset: u64, bytes: &[u8]) {
        let range = offset..offset + as_u64(bytes.len());
        self.entries().push(Entry { range, content: Content::Digest(digest(bytes)) });
    }

    /// Notes zeros.
    pub(super) fn note_zeros(&self, range: Range<u64>) {
        self.entries().push(Entry { range, content: Content::Zeros });
    }

    /// How many bytes will be read.
    pub(super) fn bytes(&self) -> u64 {
        self.entries().iter().map(|entry| entry.range.end - entry.range.start).sum()
    }

    /// Reads everything back.
    ///
    /// # Errors
    /// [`ImageError::ReadBack`] with the first piece that differs.
    pub(super) fn check(&self, disk: &Disk, meter: &Meter) -> Result<(), ImageError> {
        disk.forget_cached()?;
        let mut entries = self.entries();
        entries.sort_unstable_by_key(|entry| entry.range.start);
        let mut memory = vec![0; BUFFER_BYTES];
        for entry in entries.iter() {
            let mut offset = entry.range.start;
            while offset < entry.range.end {
                meter.check()?;
                let length = usize::try_from(entry.range.end - offset)
                    .map_or(BUFFER_BYTES, |left| left.min(BUFFER_BYTES));
                let found = &mut memory[..length];
                disk.read_at(found, offset)?;
                let same = match &entry.content {
                    Content::Digest(expected) => digest(found) == *expected,
                    Content::Zeros => super::is_zero(found),
                };
                if !same {
                    return Err(mismatch(disk, offset, length));
                }
                meter.advance(as_u64(length));
                offset += as_u64(length);
            }
        }
        Ok(())
    }

    /// Reads the ends back, which are written after all else.
    pub(super) fn check_ends(&self, disk: &Disk, ends: [(u64, &Vec<u8>); 2]) -> Result<(), ImageError> {
        disk.forget_cached()?;
        for (offset, expected) in ends {
            let mut found = vec![0; expected.len()];
            disk.read_at(&mut found, offset)?;
            if found != *expected {
                return Err(mismatch(disk, offset, expected.len()));
            }
        }
        Ok(())
    }

    fn entries(&self) -> MutexGuard<'_, Vec<Entry>> {
        // Nothing that holds the lock can leave the list half changed.
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn digest(bytes: &[u8]) -> [u8; KEPT] {
    let mut kept = [0; KEPT];
    kept.copy_from_slice(&Sha256::digest(bytes)[..KEPT]);
    kept
}

fn mismatch(disk: &Disk, offset: u64, length: usize) -> ImageError {
    ImageError::ReadBack { target: disk.name().to_owned(), offset, length: as_u64(length) }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt as _;

    use super::*;
    use crate::image::Target;
    use crate::wire::{Coded as _, ErrorCode};

    #[test]
    fn one_byte_that_is_not_what_was_written_is_found_where_it_is() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(4 << 20).unwrap();
        let disk = Disk::new(Target::of("the disk".into(), &file, 4 << 20, 512).unwrap());
        let journal = Journal::default();
        let bytes = vec![7; 100_000];
        for offset in [1 << 20, 0] {
            journal.note(offset, &bytes);
            disk.write_at(&bytes, offset).unwrap();
        }
        journal.note_zeros(2 << 20..4 << 20);
        let meter = Meter::unobserved();
        journal.check(&disk, &meter).unwrap();
        assert_eq!(meter.moved(), journal.bytes());
        journal.check_ends(&disk, [(0, &bytes), (1 << 20, &bytes)]).unwrap();

        for (place, part) in [((3 << 20) + 5, "byte 3145728"), ((1 << 20) + 99_999, "byte 1048576")] {
            file.write_all_at(b"x", place).unwrap();
            let error = journal.check(&disk, &meter).unwrap_err();
            assert_eq!(error.code(), ErrorCode::ReadBackMismatch);
            assert!(error.to_string().contains(part), "{error}");
        }
        assert!(journal.check_ends(&disk, [(1 << 20, &bytes), (0, &bytes)]).is_err());
    }
}
