//! Compressed raw images: gzip, xz, zstd, bzip2, lz4. Each may be of several members or frames in a row, as its own tool takes them;
//! what is cut or goes on with something else is an error.

mod fault;
mod lz4_frames;

use std::io::{self, Read};

use bzip2::bufread::MultiBzDecoder;
use flate2::bufread::MultiGzDecoder;
use liblzma::bufread::XzDecoder;
use liblzma::stream::{CONCATENATED, Stream, TELL_UNSUPPORTED_CHECK};

use self::fault::fault;
use self::lz4_frames::Lz4Frames;
use super::piped::Piped;
use super::trailer::Trailer;
use super::{Sink, sniff};
use crate::image::ImageError;
use crate::image::write::as_u64;
use crate::wire::{ImageFormat, ImageUrl};

/// Bytes that xz may take: its largest preset has a dictionary of 64 MiB.
const XZ_MEMORY: u64 = 128 << 20;
/// The largest window of zstd, as a power of two: what `zstd --long` makes, and what its own tool takes unasked.
const ZSTD_WINDOW_LOG: u32 = 27;

/// Decodes what comes, and says how long it was.
pub(super) fn decode(
    format: ImageFormat,
    input: Piped,
    url: &ImageUrl,
    sink: &mut impl Sink,
) -> Result<u64, ImageError> {
    let fault = |source| fault(format, url, source);
    let mut decoder = decoder(format, input).map_err(fault)?;
    let mut trailer = Trailer::default();
    let mut length = 0;
    loop {
        let mut buffer = sink.buffer();
        while !buffer.is_full() {
            match decoder.read(buffer.room()) {
                Ok(0) => break,
                Ok(bytes) => buffer.claim(bytes),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(fault(error)),
            }
        }
        if length == 0 {
            sniff::require_raw_within(url, format, buffer.bytes())?;
        }
        if buffer.bytes().is_empty() {
            return match trailer.container() {
                Some(container) => Err(sniff::within(url, format, container)),
                None => Ok(length),
            };
        }
        trailer.pass(buffer.bytes());
        let bytes = as_u64(buffer.bytes().len());
        sink.write(length, buffer)?;
        length += bytes;
    }
}

fn decoder(format: ImageFormat, input: Piped) -> io::Result<Box<dyn Read>> {
    Ok(match format {
        ImageFormat::Gzip => Box::new(MultiGzDecoder::new(input)),
        ImageFormat::Bzip2 => Box::new(MultiBzDecoder::new(input)),
        ImageFormat::Xz => {
            let flags = CONCATENATED | TELL_UNSUPPORTED_CHECK;
            Box::new(XzDecoder::new_stream(input, Stream::new_stream_decoder(XZ_MEMORY, flags)?))
        }
        ImageFormat::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(input)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG)?;
            Box::new(decoder)
        }
        ImageFormat::Lz4 => Box::new(Lz4Frames::new(input)),
        ImageFormat::Raw | ImageFormat::Qcow2 => Box::new(input),
    })
}

#[cfg(test)]
mod tests;
