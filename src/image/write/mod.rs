//! The stage that writes. It runs on a thread of its own, for a disk may take any time over any write and the network shall go
//! on meanwhile; the buffers in flight bound how far the network can be ahead.

mod commit;
mod disk;

use tokio::sync::mpsc::Receiver;

pub use commit::withdraw;
pub use disk::Target;

pub(super) use commit::Uncommitted;
pub(super) use disk::{Disk, as_u64};

use super::ImageError;
use super::buffer::Buffer;
use crate::meter::Meter;

/// Writes every buffer. The disk has no partition table from the first moment on.
pub(super) fn drain(
    disk: Disk,
    mut from: Receiver<Buffer>,
    meter: &Meter,
) -> Result<Uncommitted, ImageError> {
    let mut image = Uncommitted::begin(disk)?;
    while let Some(buffer) = from.blocking_recv() {
        meter.check()?;
        image.append(buffer.bytes())?;
        meter.advance(as_u64(buffer.bytes().len()));
    }
    Ok(image)
}
