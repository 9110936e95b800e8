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

/// Which digest an image must have, by its request or by the checksum file that this names: none where images are taken without.
///
/// # Errors
/// There is none and there must be one, it proves too little, or the checksum file cannot be fetched or does not name the image.
pub async fn expected_digest(image: &Image, settings: &Settings) -> Result<Option<Digest>, ImageError> {
    Ok(Expected::of(image, settings).await?.0)
}

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
    find_by_url(&file, &image.source)
        .map_err(|source| ImageError::ChecksumFile { url: Box::new(url.clone()), source })
}

/// The digest that a checksum file has for the last component of the path of an image, decoded or as it stands there.
fn find_by_url(file: &[u8], image: &ImageUrl) -> Result<Digest, BadChecksumFile> {
    let name = image.expose().path().rsplit('/').next().unwrap_or_default();
    let decoded = percent_decode_str(name).decode_utf8_lossy();
    match find_in_checksum_file(file, &decoded) {
        Err(BadChecksumFile::NotNamed { .. }) if decoded != name => find_in_checksum_file(file, name),
        found => found,
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::buffer::Pool;

    #[test]
    fn an_image_is_named_by_the_end_of_its_url_decoded_or_not() {
        let hash = "ab".repeat(32);
        let found = |url: &str, name: &str| {
            find_by_url(format!("{hash}  {name}\n").as_bytes(), &url.parse().unwrap()).is_ok()
        };
        assert!(found("http://h/a/my%20image%2B1.raw?sig=x#f", "my image+1.raw"));
        assert!(found("http://h/a/my%20image%2B1.raw", "./b/my%20image%2B1.raw"));
        assert!(found("file:///images/disk.raw", "disk.raw"));
        assert!(!found("http://h/a/disk.raw", "other.raw"));
        assert!(!found("http://h/disk.raw/", "disk.raw"));
        // What the decoded name has two digests for is not looked up by the other one.
        let file = format!("{hash}  a b\n{}  a b\n{hash}  a%20b\n", "cd".repeat(32));
        let error = find_by_url(file.as_bytes(), &"http://h/a%20b".parse().unwrap()).unwrap_err();
        assert!(matches!(error, BadChecksumFile::Contradiction { .. }), "{error}");
    }

    #[test]
    fn only_the_right_digest_is_verified() {
        let url = "http://h/image".parse().unwrap();
        let (right, wrong) = (Digest::Sha256([1; 32]), Digest::Sha256([2; 32]));
        assert!(Expected(Some(right)).verify(&url, right).is_ok());
        assert!(Expected(Some(right)).verify(&url, wrong).is_err());
        // The bytes of a digest by another algorithm.
        assert!(Expected(Some(Digest::Sha1([1; 20]))).verify(&url, right).is_err());
        assert!(Expected(None).verify(&url, wrong).is_ok());
        assert_eq!(Expected(None).algorithm(), DigestAlgorithm::Sha256);
    }

    #[test]
    fn every_buffer_is_hashed_and_handed_on_as_it_is() {
        let pieces = [&b"a"[..], b"", b"bc"];
        let (to_tee, from) = tokio::sync::mpsc::channel(pieces.len());
        let (to, mut from_tee) = tokio::sync::mpsc::channel(pieces.len());
        let mut pool = Pool::new(pieces.len());
        for piece in pieces {
            let mut buffer = pool.take_blocking();
            buffer.fill(piece);
            to_tee.try_send(buffer).unwrap();
        }
        drop(to_tee);
        let digest = tee(DigestAlgorithm::Md5, from, &to);
        assert_eq!(digest.to_string(), "md5:900150983cd24fb0d6963f7d28e17f72");
        for piece in pieces {
            assert_eq!(from_tee.try_recv().unwrap().bytes(), piece);
        }
    }
}
