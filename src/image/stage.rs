//! Each stage of the pipeline alone, for benchmarks: the whole can at best be as fast as the slowest of them.
//!
//! An image comes from a `file` URL where the source is not what is measured.

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc::{Receiver, channel};
use tokio::task::spawn_blocking;

use super::buffer::{Buffer, Pool};
use super::decode::{self, Plan, Sink, qcow2};
use super::digest::{Expected, Hasher};
use super::fresh::Urls;
use super::pipeline::{QUEUED, feed, first_of};
use super::source::Source;
use super::write::{self as writing, Disk};
use super::{Image, ImageError, Policy, Settings, Target};
use crate::blocking;
use crate::meter::Meter;
use crate::wire::{DigestAlgorithm, ImageFormat, ImageUrl};

/// Buffers of a sink that writes nothing.
const BUFFERS: usize = 8;

/// What a stage has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Staged {
    /// Bytes of the image, as served.
    pub bytes: u64,
    /// How long it took.
    pub took: Duration,
}

/// Fetches an image, and does nothing with it.
///
/// # Errors
/// What the source says.
pub async fn download(url: &ImageUrl) -> Result<Staged, ImageError> {
    staged(url, |mut from| while from.blocking_recv().is_some() {}).await.map(|(staged, ())| staged)
}

/// Hashes an image by SHA-256, in the pieces in which it comes. To fetch it does not count.
///
/// # Errors
/// What the source says.
pub async fn digest(url: &ImageUrl) -> Result<Staged, ImageError> {
    let (staged, took) = staged(url, hash).await?;
    Ok(Staged { took, ..staged })
}

fn hash(mut from: Receiver<Buffer>) -> Duration {
    let mut hasher = Hasher::new(DigestAlgorithm::Sha256);
    let mut took = Duration::ZERO;
    while let Some(buffer) = from.blocking_recv() {
        let began = Instant::now();
        hasher.update(buffer.bytes());
        took += began.elapsed();
    }
    let began = Instant::now();
    std::hint::black_box(hasher.finish());
    took + began.elapsed()
}

/// Decodes an image, and does nothing with its content.
///
/// # Errors
/// What the source and the decoder say.
pub async fn decode(url: &ImageUrl) -> Result<Staged, ImageError> {
    let began = Instant::now();
    let plan = plan(url).await?;
    let of = url.clone();
    let (staged, decoded) =
        staged(url, move |from| decode::decode(plan, from, &of, &mut Nowhere(Pool::new(BUFFERS)))).await?;
    decoded?;
    Ok(Staged { took: began.elapsed(), ..staged })
}

/// Writes a raw image to a disk and commits it, whatever its digest.
///
/// # Errors
/// What the source and the disk say.
pub async fn write(url: &ImageUrl, target: Target) -> Result<Staged, ImageError> {
    let began = Instant::now();
    let policy = Policy { without_digest: true, ..Policy::default() };
    let settings = Settings { policy, ..Settings::default() };
    let expected = Expected::of(&Image::new(url.clone(), None), &settings).await?;
    let verified = expected.verify(url, Hasher::new(expected.algorithm()).finish())?;
    let (disk, meter, of) = (Arc::new(Disk::new(target)), Meter::unobserved(), url.clone());
    let write = move |from| {
        writing::write(disk, &of, false, &meter, |sink| decode::decode(Plan::Raw, from, &of, sink))?
            .commit(verified, &of, &meter)
    };
    let (staged, written) = staged(url, write).await?;
    written?;
    Ok(Staged { took: began.elapsed(), ..staged })
}

/// Sends an image through one stage, on a thread of its own as in the pipeline.
async fn staged<T: Send + 'static>(
    url: &ImageUrl,
    stage: impl FnOnce(Receiver<Buffer>) -> T + Send + 'static,
) -> Result<(Staged, T), ImageError> {
    let began = Instant::now();
    let mut source = open(url).await?;
    let head = first_of(&mut source).await?;
    let (to_stage, from_source) = channel(QUEUED);
    let stage = spawn_blocking(move || stage(from_source));
    let fed = feed(&mut source, head, to_stage, &Meter::unobserved()).await;
    let result = blocking::join(stage).await;
    fed?;
    Ok((Staged { bytes: source.received(), took: began.elapsed() }, result))
}

async fn open(url: &ImageUrl) -> Result<Source, ImageError> {
    let settings = Settings::default();
    let image = Image::new(url.clone(), None);
    Source::open(&image, &Urls::of(&image, &settings), &settings.limits, &settings.last_good).await
}

async fn plan(url: &ImageUrl) -> Result<Plan, ImageError> {
    let mut source = open(url).await?;
    let head = first_of(&mut source).await?;
    Ok(match decode::detect(url, head.bytes())? {
        ImageFormat::Raw => Plan::Raw,
        ImageFormat::Qcow2 => {
            let length = source.length();
            let plan = qcow2::Plan::read(url, length, "nowhere", u64::MAX, &mut source).await?;
            Plan::Qcow2(Box::new(plan))
        }
        compressed => Plan::Compressed(compressed),
    })
}

/// Takes everything and keeps nothing.
struct Nowhere(Pool);

impl Sink for Nowhere {
    fn buffer(&mut self) -> Buffer {
        self.0.take_blocking()
    }

    fn write(&mut self, _: u64, _: Buffer) -> Result<(), ImageError> {
        Ok(())
    }

    fn copy(&mut self, _: u64, _: &[u8]) -> Result<(), ImageError> {
        Ok(())
    }

    fn zero(&mut self, _: Range<u64>) -> Result<(), ImageError> {
        Ok(())
    }
}
