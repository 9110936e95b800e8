//! What it means that a codec fails.

use std::io;

use liblzma::stream::Error as XzError;
use zstd::zstd_safe::zstd_sys::ZSTD_ErrorCode as ZstdError;

use crate::image::ImageError;
use crate::wire::{ImageFormat, ImageUrl};

/// Keeps what the codec says.
pub(super) fn fault(format: ImageFormat, url: &ImageUrl, source: io::Error) -> ImageError {
    let url = Box::new(url.clone());
    match meaning(&source) {
        Meaning::Damaged => ImageError::Compressed { url, format, source },
        Meaning::TooMuchMemory => ImageError::CodecMemory { url, format, source },
        Meaning::Unsupported => ImageError::CodecFeature { url, format, source },
    }
}

enum Meaning {
    Damaged,
    TooMuchMemory,
    /// The stream is right and asks for what is not there: a dictionary, a filter, a check.
    Unsupported,
}

/// Only xz and zstd leave such choices to the image.
fn meaning(error: &io::Error) -> Meaning {
    let Some(inner) = error.get_ref() else { return Meaning::Damaged };
    if let Some(error) = inner.downcast_ref::<XzError>() {
        return match error {
            XzError::MemLimit | XzError::Mem => Meaning::TooMuchMemory,
            XzError::Options | XzError::UnsupportedCheck => Meaning::Unsupported,
            _ => Meaning::Damaged,
        };
    }
    let is = |kind| inner.downcast_ref::<zstd::Error>().is_some_and(|error| error.is(kind));
    if is(ZstdError::ZSTD_error_frameParameter_windowTooLarge) || is(ZstdError::ZSTD_error_memory_allocation)
    {
        Meaning::TooMuchMemory
    } else if is(ZstdError::ZSTD_error_frameParameter_unsupported)
        || is(ZstdError::ZSTD_error_dictionary_wrong)
    {
        Meaning::Unsupported
    } else {
        Meaning::Damaged
    }
}
