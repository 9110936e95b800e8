//! Makes a disk bootable by its last two writes.
//!
//! Both ends are zeroed and flushed before anything else is written, and what belongs there is withheld in memory ([`Ends`]). A
//! crash, a cancelled command or a wrong digest leaves a disk without a partition table, whatever was on it before. With the
//! digest verified the body is flushed, then the last MiB, then the first, and of that one the first sector last of all.

use std::sync::Arc;

use super::ends::Ends;
use super::read_back::Journal;
use super::{Disk, Target, as_u64, layout};
use crate::direct::ALIGNMENT;
use crate::image::ImageError;
use crate::image::digest::Verified;
use crate::meter::Meter;
use crate::wire::ImageUrl;

/// An image whose body is on a disk that has no partition table until [`Uncommitted::commit`].
#[derive(Debug)]
pub(in crate::image) struct Uncommitted {
    disk: Arc<Disk>,
    ends: Ends,
    /// Where the image ends.
    length: u64,
    journal: Option<Journal>,
}

impl Uncommitted {
    pub(super) fn new(disk: Arc<Disk>, ends: Ends, length: u64, journal: Option<Journal>) -> Self {
        Self { disk, ends, length, journal }
    }

    /// The content of a disk of so many bytes.
    pub(in crate::image) fn length(&self) -> u64 {
        self.length
    }

    /// Makes the image durable and the disk bootable, if it has partitions for a disk like this one. The copy of its GPT goes to the
    /// end of the disk. What was written is read back and compared before, where that was asked for.
    ///
    /// When that fails half-way the partition table is taken away again.
    pub(in crate::image) fn commit(
        mut self,
        _: Verified,
        url: &ImageUrl,
        meter: &Meter,
    ) -> Result<(), ImageError> {
        let stale = layout::fit(url, &mut self.ends, self.length, &self.disk)?;
        self.disk.flush()?;
        if let Some(journal) = self.journal.take() {
            meter.phase("read back", Some(journal.bytes()));
            journal.check(&self.disk, meter)?;
            self.journal = Some(journal);
        }
        self.disk.zero(stale.start, stale.end)?;
        self.disk.flush()?;
        // The last moment to stop. The rest is short and is never left half done.
        meter.check()?;
        meter.phase("commit", None);
        self.write_ends().inspect_err(|_| {
            if let Err(second) = zero_ends(&self.disk) {
                tracing::warn!(disk = self.disk.name(), %second, "the partition table may be left after a failed commit");
            }
        })?;
        meter.durable(self.length);
        // Shown at once: it is the last that is said of this image.
        meter.phase("done", None);
        Ok(())
    }

    fn write_ends(&self) -> Result<(), ImageError> {
        let Ends { head, tail, .. } = &self.ends;
        let tail_start = self.ends.tail_start();
        if !tail.is_empty() {
            self.disk.write_cached(tail, tail_start)?;
            self.disk.flush()?;
        }
        // Without its first sector nothing finds the rest: a machine that dies in between has no half of a boot loader.
        let (first, rest) = head.split_at(head.len().min(ALIGNMENT));
        self.disk.write_cached(rest, as_u64(first.len()))?;
        self.disk.flush()?;
        self.disk.write_cached(first, 0)?;
        self.disk.flush()?;
        match &self.journal {
            Some(journal) => journal.check_ends(&self.disk, [(0, head), (tail_start, tail)]),
            None => Ok(()),
        }
    }
}

/// Takes the partition table of a disk away again: both ends are zeroed and flushed. For an image that was committed and turned
/// out not to be usable on this disk.
///
/// # Errors
/// [`ImageError::Device`].
pub fn withdraw(target: Target) -> Result<(), ImageError> {
    zero_ends(&Disk::new(target))
}

/// Zeros are written, not made: this must have an effect on every disk, and at once.
pub(super) fn zero_ends(disk: &Disk) -> Result<(), ImageError> {
    let Ends { head, tail, .. } = Ends::of(disk.capacity());
    disk.write_cached(&head, 0)?;
    disk.write_cached(&tail, disk.capacity() - as_u64(tail.len()))?;
    disk.flush()
}
