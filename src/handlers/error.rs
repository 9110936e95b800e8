//! What can go wrong in a handler.

use crate::disk::DiskError;
use crate::hardware::HardwareError;
use crate::image::ImageError;
use crate::meter::Cancelled;
use crate::wire::{Coded, DecodeError, ErrorCode};

/// A step failed, or was told to stop.
#[derive(Debug, thiserror::Error)]
pub enum HandlerError {
    /// Told to stop.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
    /// A disk cannot be chosen, opened, erased or read.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// An image cannot be fetched or written.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The machine does not say what it is made of.
    #[error(transparent)]
    Hardware(#[from] HardwareError),
    /// The spec contradicts itself.
    #[error(transparent)]
    Spec(#[from] DecodeError),
    /// There is no disk to clean.
    #[error(
        "no disk to erase: this agent may touch none beside the {skipped} that skip_block_devices names; set allow_no_devices if a node without disks is clean"
    )]
    NothingToErase {
        /// How many disks are to be left alone.
        skipped: usize,
    },
    /// The image has been written and is of no use on this disk.
    #[error("the image was written and is of no use, so its partition table was removed again")]
    Withdrawn(#[source] DiskError),
}

impl HandlerError {
    /// Whether it is no fault but the answer to a request to stop.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.code() == ErrorCode::Cancelled
    }
}

impl Coded for HandlerError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::Cancelled(_) => ErrorCode::Cancelled,
            Self::Disk(error) | Self::Withdrawn(error) => error.code(),
            Self::Image(error) => error.code(),
            Self::Hardware(error) => error.code(),
            Self::Spec(error) => error.code(),
            Self::NothingToErase { .. } => ErrorCode::NothingToErase,
        }
    }
}
