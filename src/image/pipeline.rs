//! The stages put together.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc::{Sender, channel};
use tokio::task::{JoinHandle, spawn_blocking};

use super::buffer::{Buffer, Pool};
use super::decode::{self, Plan, sniff};
use super::source::Source;
use super::write::{self as writing, Disk, Uncommitted, as_u64};
use super::{Image, ImageError, Settings, Target, digest};
use crate::blocking;
use crate::meter::Meter;
use crate::wire::{Checksum, Digest, ImageFormat, ImageUrl};

/// Buffers of the source: one that is filled, one that is hashed and those that are written, and as many again for the moments at
/// which one stage is slower than the others.
const BUFFERS: usize = 12;
/// How often an image is fetched from its beginning when it changes on the way.
const ROUNDS: usize = 3;
/// Buffers between two stages.
const QUEUED: usize = 4;

/// An image that was written, durable and bootable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// What it was.
    pub format: ImageFormat,
    /// Bytes received, as served.
    pub source_bytes: u64,
    /// Bytes of the disk that the image says something about, zeros included.
    pub bytes: u64,
    /// The digest of what came.
    pub checksum: Digest,
    /// From the request to the moment at which everything was on the medium.
    pub duration: Duration,
}

impl Written {
    /// Bytes of the disk in a second over the whole duration.
    #[must_use]
    pub fn bytes_per_second(&self) -> u64 {
        let per_second = u128::from(self.bytes) * 1_000_000 / self.duration.as_micros().max(1);
        u64::try_from(per_second).unwrap_or(u64::MAX)
    }
}

/// Streams an image to a disk, which then holds exactly the image as far as that reaches: zeros are made where the image has zeros
/// or nothing.
///
/// Nothing is written before the server has begun to send an image of an allowed format that fits. From then on until the digest is
/// verified the disk has no partition table, also when this fails, is cancelled or dropped, or the machine dies. What lies
/// between the end of the image and the last MiB of the disk is left as it is; the last MiB is zeroed unless the image reaches it.
///
/// When this returns, nothing writes to the disk any more. When it is dropped, the stages end by themselves after the buffers
/// that they hold.
///
/// # Errors
/// [`ImageError`]; its code says whether trying again can help.
///
/// # Panics
/// When a stage panics.
pub async fn write(
    image: &Image,
    target: Target,
    settings: &Settings,
    meter: &Meter,
) -> Result<Written, ImageError> {
    let began = Instant::now();
    let disk = Arc::new(Disk::new(target));
    let attempt = Attempt { image, disk: &disk, settings, meter };
    for _ in 1..ROUNDS {
        match attempt.run(began).await {
            Err(error @ ImageError::StartOver { .. }) => tracing::warn!(%error, "starting over"),
            result => return result,
        }
    }
    attempt.run(began).await
}

/// One run of an image through the stages, from its first byte to its last.
struct Attempt<'a> {
    image: &'a Image,
    disk: &'a Arc<Disk>,
    settings: &'a Settings,
    meter: &'a Meter,
}

impl Attempt<'_> {
    async fn run(&self, began: Instant) -> Result<Written, ImageError> {
        let meter = self.meter;
        let (mut source, head, plan) = or_cancelled(meter, self.begin()).await?;
        let format = plan.format();
        meter.begin_image(source.length());

        let (stages, input) = self.start_stages(plan);
        let fed = or_cancelled(meter, self.feed(&mut source, head, input)).await;
        // The stages have ended before this returns, whatever happened.
        let stages = stages.join().await;
        // A source that failed is why the decoder found the end of its input too early. A stage that failed is no fault of the source,
        // which only finds that nobody takes any more.
        fed?;
        let (uncommitted, checksum) = stages?;

        let verified = match self.image.checksum {
            Some(Checksum::Digest(expected)) => digest::verify(source.url(), expected, checksum)?,
            _ => todo!(),
        };
        let bytes = uncommitted.length();
        let for_commit = meter.clone();
        blocking::run(move || uncommitted.commit(verified, &for_commit)).await?;
        Ok(Written { format, source_bytes: source.received(), bytes, checksum, duration: began.elapsed() })
    }

    /// Fetches the first MiB and finds out how to decode it and whether it can be the image of a disk that fits, before anything is
    /// destroyed.
    async fn begin(&self) -> Result<(Source, Buffer, Plan), ImageError> {
        let mut source = Source::open(self.image, &self.settings.limits, &self.settings.last_good).await?;
        let mut head = Pool::new(1).take().await;
        source.fill(&mut head).await?;
        sniff::require_disk(source.url(), head.bytes())?;
        self.check_room(&source)?;
        Ok((source, head, Plan::Raw))
    }

    /// Refuses an image that is announced to be larger than the disk.
    fn check_room(&self, source: &Source) -> Result<(), ImageError> {
        match source.length() {
            Some(found) if found > self.disk.capacity() => Err(ImageError::TooLarge {
                url: Box::new(source.url().clone()),
                found,
                at_least: false,
                target: self.disk.name().to_owned(),
                capacity: self.disk.capacity(),
            }),
            _ => Ok(()),
        }
    }

    /// Sends the image through the stages, until it ends or they do.
    async fn feed(&self, source: &mut Source, head: Buffer, input: Sender<Buffer>) -> Result<(), ImageError> {
        let mut pool = Pool::new(BUFFERS);
        let mut buffer = head;
        while !buffer.bytes().is_empty() {
            self.meter.received(as_u64(buffer.bytes().len()), 1);
            if input.send(buffer).await.is_err() {
                break;
            }
            buffer = pool.take().await;
            source.fill(&mut buffer).await?;
        }
        Ok(())
    }

    fn start_stages(&self, plan: Plan) -> (Stages, Sender<Buffer>) {
        let (to_digester, from_source) = channel(QUEUED);
        let (to_decoder, from_digester) = channel(QUEUED);
        let (disk, meter) = (Arc::clone(self.disk), self.meter.clone());
        let (url, read_back) = (self.image.source.clone(), self.image.read_back);
        let stages = Stages {
            digester: spawn_blocking(move || digest::tee(from_source, &to_decoder)),
            writer: spawn_blocking(move || {
                writing::write(disk, &url, read_back, &meter, |sink| {
                    decode::decode(plan, from_digester, &url, sink)
                })
            }),
        };
        (stages, to_digester)
    }
}

/// The stages that run on threads of their own. They end when their input does.
struct Stages {
    digester: JoinHandle<Digest>,
    writer: JoinHandle<Result<Uncommitted, ImageError>>,
}

impl Stages {
    /// Waits until the last buffer is written, or the stages have failed.
    async fn join(self) -> Result<(Uncommitted, Digest), ImageError> {
        let written = blocking::join(self.writer).await;
        let digest = blocking::join(self.digester).await;
        Ok((written?, digest))
    }
}

/// Waits for `work`, but not once it shall stop: a server may be silent for long.
async fn or_cancelled<T>(
    meter: &Meter,
    work: impl Future<Output = Result<T, ImageError>>,
) -> Result<T, ImageError> {
    tokio::select! {
        biased;
        cancelled = meter.cancelled() => Err(cancelled.into()),
        result = work => result,
    }
}
