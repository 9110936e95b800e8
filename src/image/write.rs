//! The stage that writes. It runs on a thread of its own, for a disk may take any time over any write and the network shall go
//! on meanwhile; the buffers in flight bound how far the network can be ahead.

use tokio::sync::mpsc::{Receiver, Sender};

use super::ImageError;
use super::buffer::Buffer;
use super::commit::Uncommitted;
use super::disk::{Disk, as_u64};
use crate::meter::Meter;

/// Writes every buffer and gives it back to the pool. The disk has no partition table from the first moment on.
pub(super) fn drain(
    disk: Disk,
    mut from: Receiver<Buffer>,
    pool: &Sender<Buffer>,
    meter: &Meter,
) -> Result<Uncommitted, ImageError> {
    let mut image = Uncommitted::begin(disk)?;
    while let Some(buffer) = from.blocking_recv() {
        meter.check()?;
        image.append(buffer.bytes())?;
        meter.advance(as_u64(buffer.bytes().len()));
        // There is room for every buffer; nobody waits for one once the last byte has come.
        let _ = pool.try_send(buffer);
    }
    Ok(image)
}
