//! Decoding: from the bytes as served to the content of a disk.

mod raw;
mod sink;
pub(super) mod sniff;

use tokio::sync::mpsc::Receiver;

pub(super) use sink::Sink;

use super::ImageError;
use super::buffer::Buffer;
use crate::wire::{ImageFormat, ImageUrl};

/// How an image is decoded.
#[derive(Debug)]
pub(super) enum Plan {
    /// It is the content of the disk.
    Raw,
}

impl Plan {
    /// The format of the image.
    pub(super) fn format(&self) -> ImageFormat {
        match self {
            Self::Raw => ImageFormat::Raw,
        }
    }
}

/// Decodes what comes until nothing comes any more, and says how long the content of the disk is. Blocks: codecs are as slow as
/// disks, and run on a thread of their own.
pub(super) fn decode(
    plan: Plan,
    from: Receiver<Buffer>,
    url: &ImageUrl,
    sink: &mut impl Sink,
) -> Result<u64, ImageError> {
    match plan {
        Plan::Raw => raw::decode(from, sink),
    }
}
