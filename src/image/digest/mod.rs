//! The digest of what came: which it must be, and which it is.

mod checksum_file;
mod hasher;

use percent_encoding::percent_decode_str;
use tokio::sync::mpsc::{Receiver, Sender};

pub use checksum_file::{BadChecksumFile, find as find_in_checksum_file};

pub(super) use self::hasher::Hasher;
use super::buffer::Buffer;
use super::source::read_small;
use super::{Image, ImageError, Settings};
use crate::wire::{Checksum, Digest, DigestAlgorithm, ImageUrl};

/// The longest checksum file that is read.
const MAX_CHECKSUM_FILE: usize = 1 << 20;

/// Says that an image is the one that was meant. Only [`Expected::verify`] makes one, and nothing is committed without.
#[derive(Debug)]
pub(super) struct Verified(());

/// Which digest an image must have: none where the operator takes images without.
#[derive(Clone, Copy, Debug)]
pub(super) struct Expected(Option<Digest>);

impl Expected {
    /// Finds out, from the request or from the checksum file that it names.
    ///
    /// # Errors
    /// [`ImageError::DigestRequired`], [`ImageError::WeakDigest`], [`ImageError::ChecksumFile`], and what fetching it says.
    pub(super) async fn of(image: &Image, settings: &Settings) -> Result<Self, ImageError> {
        let digest = match &image.checksum {
            None if settings.policy.without_digest => None,
            None => return Err(ImageError::DigestRequired { url: Box::new(image.source.clone()) }),
            Some(Checksum::Digest(digest)) => Some(*digest),
            Some(Checksum::File(url)) => Some(fetch(url, image, settings).await?),
        };
        match digest.map(|digest| digest.algorithm()) {
            Some(algorithm) if algorithm.is_weak() && !settings.policy.weak_digests => {
                Err(ImageError::WeakDigest { url: Box::new(image.source.clone()), algorithm })
            }
            _ => Ok(Self(digest)),
        }
    }

    /// The algorithm by which the image is to be hashed. It is hashed in any case, for the report.
    pub(super) fn algorithm(self) -> DigestAlgorithm {
        self.0.map_or(DigestAlgorithm::Sha256, |digest| digest.algorithm())
    }

    /// Compares the digest of what came with the one that it must be.
    ///
    /// # Errors
    /// [`ImageError::DigestMismatch`].
    pub(super) fn verify(self, url: &ImageUrl, found: Digest) -> Result<Verified, ImageError> {
        match self.0 {
            Some(expected) if expected != found => {
                let (expected, found) = (Box::new(expected), Box::new(found));
                Err(ImageError::DigestMismatch { url: Box::new(url.clone()), expected, found })
            }
            _ => Ok(Verified(())),
        }
    }
}

async fn fetch(url: &ImageUrl, image: &Image, settings: &Settings) -> Result<Digest, ImageError> {
    let file = read_small(url, image, &settings.limits, MAX_CHECKSUM_FILE).await?;
    let bad = |source| ImageError::ChecksumFile { url: Box::new(url.clone()), source };
    let name = image.source.expose().path().rsplit('/').next().unwrap_or_default();
    let decoded = percent_decode_str(name).decode_utf8_lossy();
    find_in_checksum_file(&file, &decoded).or_else(|error| match find_in_checksum_file(&file, name) {
        Ok(digest) => Ok(digest),
        Err(_) => Err(bad(error)),
    })
}

/// Hands every buffer on and returns the digest of all. Runs on a thread of its own: hashing is as slow as some disks, and
/// both shall go on at once.
///
/// It ends early when the next stage does; that one knows why.
pub(super) fn tee(algorithm: DigestAlgorithm, mut from: Receiver<Buffer>, to: &Sender<Buffer>) -> Digest {
    let mut hasher = Hasher::new(algorithm);
    while let Some(buffer) = from.blocking_recv() {
        hasher.update(buffer.bytes());
        if to.blocking_send(buffer).is_err() {
            break;
        }
    }
    hasher.finish()
}
