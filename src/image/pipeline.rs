//! The stages put together.

use std::time::{Duration, Instant};

use tokio::sync::mpsc::{Sender, channel};
use tokio::task::{JoinHandle, spawn_blocking};

use super::buffer::{Buffer, Pool};
use super::decode::sniff;
use super::source::Source;
use super::write::{Disk, Uncommitted};
use super::{Image, ImageError, Limits, Target, digest, write as writing};
use crate::blocking;
use crate::meter::Meter;
use crate::wire::{Checksum, Digest};

/// Buffers in flight: one that is filled, one that is hashed and one that is written, and as many again for the moments at which
/// one of the three is slower than the others.
const BUFFERS: usize = 6;

/// An image that was written, durable and bootable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// Bytes of the image.
    pub bytes: u64,
    /// The digest of what came, which is that of the image.
    pub checksum: Digest,
    /// From the request to the moment at which everything was on the medium.
    pub duration: Duration,
}

impl Written {
    /// Bytes in a second over the whole duration.
    #[must_use]
    pub fn bytes_per_second(&self) -> u64 {
        let per_second = u128::from(self.bytes) * 1_000_000 / self.duration.as_micros().max(1);
        u64::try_from(per_second).unwrap_or(u64::MAX)
    }
}

/// Streams a raw image to a disk. Zeros are written like anything else.
///
/// Nothing is written before the server has begun to send what looks like a disk and fits. From then on until the digest is
/// verified the disk has no partition table, also when this fails, is cancelled or dropped, or the machine dies. What lies
/// between the end of the image and the last MiB of the disk is left as it is; the last MiB is zeroed unless the image reaches it.
///
/// When this returns, nothing writes to the disk any more. When it is dropped, the stages end by themselves after the buffer
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
    limits: &Limits,
    meter: &Meter,
) -> Result<Written, ImageError> {
    let began = Instant::now();
    let disk = Disk::new(target);

    let room = Room { target: disk.name().to_owned(), capacity: disk.capacity() };

    let (mut source, head) = or_cancelled(meter, begin(image, &room, limits)).await?;
    meter.phase("download", source.length());
    let (stages, input) = Stages::start(disk, meter);
    let fed = or_cancelled(meter, feed(&mut source, head, input, &room)).await;
    // The stages have ended before this returns, whatever happened. A fault of theirs is why the feeding stopped.
    let (uncommitted, checksum) = stages.join().await?;
    fed?;

    let verified = match image.checksum {
        Some(Checksum::Digest(expected)) => digest::verify(&image.source, expected, checksum)?,
        _ => todo!(),
    };
    // The last moment to stop. The commit is short and is never left half done.
    meter.check()?;
    meter.phase("flush", None);
    let bytes = blocking::run(move || uncommitted.commit(verified)).await?;
    Ok(Written { bytes, checksum, duration: began.elapsed() })
}

/// Fetches the first MiB and finds out whether this can be the image of a disk that fits, before anything is destroyed.
async fn begin<'a>(
    image: &'a Image,
    room: &Room,
    limits: &Limits,
) -> Result<(Source<'a>, Buffer), ImageError> {
    let mut source = Source::open(&image.source, limits).await?;
    room.check(&source)?;
    let mut head = Pool::new(1).take().await;
    source.fill(&mut head).await?;
    sniff::require_disk(&image.source, head.bytes())?;
    Ok((source, head))
}

/// Sends the image through the stages, until it ends or they do.
async fn feed(
    source: &mut Source<'_>,
    head: Buffer,
    mut stages: Input,
    room: &Room,
) -> Result<(), ImageError> {
    let mut buffer = head;
    while !buffer.bytes().is_empty() {
        room.check(source)?;
        if stages.to.send(buffer).await.is_err() {
            break;
        }
        buffer = stages.pool.take().await;
        source.fill(&mut buffer).await?;
    }
    Ok(())
}

/// How much a disk holds.
struct Room {
    target: String,
    capacity: u64,
}

impl Room {
    /// Refuses an image whose announced length, or what has come of it so far, is more.
    fn check(&self, source: &Source<'_>) -> Result<(), ImageError> {
        let (found, at_least) = match source.length() {
            Some(length) => (length, false),
            None => (source.received(), true),
        };
        if found <= self.capacity {
            return Ok(());
        }
        let (url, target) = (Box::new(source.url().clone()), self.target.clone());
        Err(ImageError::TooLarge { url, found, at_least, target, capacity: self.capacity })
    }
}

/// The stages that run on threads of their own.
struct Stages {
    digester: JoinHandle<Digest>,
    writer: JoinHandle<Result<Uncommitted, ImageError>>,
}

/// The way into the stages. They end when it is dropped.
struct Input {
    to: Sender<Buffer>,
    pool: Pool,
}

impl Stages {
    /// Starts them.
    fn start(disk: Disk, meter: &Meter) -> (Self, Input) {
        let (to_digester, from_source) = channel(BUFFERS);
        let (to_writer, from_digester) = channel(BUFFERS);
        let meter = meter.clone();
        let stages = Self {
            digester: spawn_blocking(move || digest::tee(from_source, &to_writer)),
            writer: spawn_blocking(move || writing::drain(disk, from_digester, &meter)),
        };
        (stages, Input { to: to_digester, pool: Pool::new(BUFFERS) })
    }

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
