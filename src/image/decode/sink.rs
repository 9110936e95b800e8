//! Where decoders put the content of the disk.

use std::ops::Range;

use crate::image::ImageError;
use crate::image::buffer::Buffer;

/// Takes what the disk shall hold, in any order, no place twice. Blocks: it runs on the thread of the decoder.
///
/// What lies behind the end of the disk is refused with [`ImageError::TooLarge`].
pub(in crate::image) trait Sink {
    /// An empty buffer for [`Sink::write`], once there is one.
    fn buffer(&mut self) -> Buffer;

    /// These bytes lie at `offset`.
    fn write(&mut self, offset: u64, buffer: Buffer) -> Result<(), ImageError>;

    /// These bytes lie at `offset`; small neighbours are brought together. For what does not come in buffers.
    fn copy(&mut self, offset: u64, bytes: &[u8]) -> Result<(), ImageError>;

    /// Here are zeros. Makes them cheaply, whatever was there before.
    fn zero(&mut self, range: Range<u64>) -> Result<(), ImageError>;
}
