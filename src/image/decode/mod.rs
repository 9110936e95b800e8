//! Decoding: from the bytes as served to the content of a disk.

mod compressed;
mod piped;
pub(super) mod qcow2;
mod raw;
mod sink;
mod sniff;
mod trailer;

use tokio::sync::mpsc::Receiver;

pub use qcow2::{Compression, Qcow2Flaw, Table};
pub(super) use sink::Sink;
pub use sniff::{Container, ImageKind};
pub(super) use sniff::{detect, require};

use self::piped::Piped;
use super::ImageError;
use super::buffer::Buffer;
use crate::wire::{ImageFormat, ImageUrl};

/// How an image is decoded.
#[derive(Debug)]
pub(super) enum Plan {
    /// It is the content of the disk.
    Raw,
    /// It is that, compressed.
    Compressed(ImageFormat),
    /// It is a qcow2 whose tables were read.
    Qcow2(Box<qcow2::Plan>),
}

impl Plan {
    /// The format of the image.
    pub(super) fn format(&self) -> ImageFormat {
        match self {
            Self::Raw => ImageFormat::Raw,
            Self::Compressed(format) => *format,
            Self::Qcow2(_) => ImageFormat::Qcow2,
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
        Plan::Raw => raw::decode(from, url, sink),
        Plan::Compressed(format) => compressed::decode(format, Piped::new(from), url, sink),
        Plan::Qcow2(plan) => decode_qcow2(*plan, from, sink),
    }
}

fn decode_qcow2(
    plan: qcow2::Plan,
    mut from: Receiver<Buffer>,
    sink: &mut impl Sink,
) -> Result<u64, ImageError> {
    let length = plan.virtual_size();
    let mut decoder = qcow2::Decoder::begin(plan, sink)?;
    while let Some(buffer) = from.blocking_recv() {
        decoder.feed(buffer.bytes(), sink)?;
    }
    decoder.finish(sink)?;
    Ok(length)
}
