//! Raw images: what comes is what the disk shall hold.

use tokio::sync::mpsc::Receiver;

use super::Sink;
use super::trailer::Trailer;
use crate::image::ImageError;
use crate::image::buffer::Buffer;
use crate::image::write::as_u64;
use crate::wire::ImageUrl;

/// Passes every buffer on as it is, and says how long the image was.
pub(super) fn decode(
    mut from: Receiver<Buffer>,
    url: &ImageUrl,
    sink: &mut impl Sink,
) -> Result<u64, ImageError> {
    let mut trailer = Trailer::default();
    let mut length = 0;
    while let Some(buffer) = from.blocking_recv() {
        trailer.pass(buffer.bytes());
        let bytes = as_u64(buffer.bytes().len());
        sink.write(length, buffer)?;
        length += bytes;
    }
    match trailer.container() {
        Some(container) => Err(ImageError::Format { url: Box::new(url.clone()), container }),
        None => Ok(length),
    }
}
