//! Brings everything that was written to the media, because the power will be switched.

use std::sync::Arc;

use super::{HandlerError, Steps};
use crate::blocking;
use crate::disk::{DiskError, OpenDisk};

/// The last step of a handler. `written` is a disk that it still has open.
pub(super) async fn flush(written: Option<Arc<OpenDisk>>, steps: &mut Steps<'_>) -> Result<(), HandlerError> {
    let is_ramdisk = steps.context().access.is_ramdisk();
    let flushed = move || {
        if let Some(disk) = written {
            disk.flush()?;
        }
        // What a RAM disk has to write beside it is for other disks of the machine. Elsewhere it is not ours to wait for.
        if is_ramdisk {
            nix::unistd::sync();
        }
        Ok::<_, DiskError>(())
    };
    // What was asked for is done. To stop now would only leave open what became of it.
    steps.finish("flush", async |_| Ok(blocking::run(flushed).await?)).await
}
