//! Raw images: what comes is what the disk shall hold.

use tokio::sync::mpsc::Receiver;

use super::Sink;
use crate::image::ImageError;
use crate::image::buffer::Buffer;
use crate::image::write::as_u64;

/// Passes every buffer on as it is, and says how long the image was.
pub(super) fn decode(mut from: Receiver<Buffer>, sink: &mut impl Sink) -> Result<u64, ImageError> {
    let mut length = 0;
    while let Some(buffer) = from.blocking_recv() {
        let bytes = as_u64(buffer.bytes().len());
        sink.write(length, buffer)?;
        length += bytes;
    }
    Ok(length)
}
