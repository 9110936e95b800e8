//! The digest of what came.

use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc::{Receiver, Sender};

use crate::image::ImageError;
use crate::image::buffer::Buffer;
use crate::wire::{Digest, ImageUrl};

/// Says that an image is the one that was meant. Only [`verify`] makes one, and nothing is committed without.
#[derive(Debug)]
pub(in crate::image) struct Verified(());

/// Hands every buffer on and returns the digest of all. Runs on a thread of its own: hashing is as slow as some disks, and
/// both shall go on at once.
///
/// It ends early when the next stage does; that one knows why.
pub(in crate::image) fn tee(mut from: Receiver<Buffer>, to: &Sender<Buffer>) -> Digest {
    let mut hasher = Sha256::new();
    while let Some(buffer) = from.blocking_recv() {
        hasher.update(buffer.bytes());
        if to.blocking_send(buffer).is_err() {
            break;
        }
    }
    Digest::Sha256(hasher.finalize().into())
}

/// Compares the digest of what came with the one given.
///
/// # Errors
/// [`ImageError::DigestMismatch`].
pub(in crate::image) fn verify(
    url: &ImageUrl,
    expected: Digest,
    found: Digest,
) -> Result<Verified, ImageError> {
    if expected == found {
        Ok(Verified(()))
    } else {
        let (expected, found) = (Box::new(expected), Box::new(found));
        Err(ImageError::DigestMismatch { url: Box::new(url.clone()), expected, found })
    }
}
