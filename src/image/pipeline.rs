//! The stages put together.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc::{Sender, channel};
use tokio::task::{JoinHandle, spawn_blocking};

use super::buffer::{Buffer, Pool};
use super::decode::{self, Plan, qcow2};
use super::digest::{self, Expected};
use super::fresh::Urls;
use super::source::Source;
use super::write::{self as writing, Disk, Uncommitted, as_u64, layout};
use super::{Image, ImageError, Limits, Settings, Target, spool};
use crate::blocking;
use crate::meter::Meter;
use crate::wire::{Coded as _, Digest, ErrorCode, ImageFormat, ImageUrl};

/// Buffers of the source: one that is filled, one that is hashed and those that are written, and as many again for the moments at
/// which one stage is slower than the others.
const BUFFERS: usize = 12;
/// How often an image is fetched from its beginning before it is given up.
const PASSES: u32 = 4;
/// Buffers between two stages.
pub(super) const QUEUED: usize = 4;

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
    let expected = or_cancelled(meter, Expected::of(image, settings)).await?;
    let disk = Arc::new(Disk::new(target));
    let urls = Urls::of(image, settings);
    let mut pass = Pass { image, urls, expected, disk: &disk, settings, meter, began, may_splice: true };
    let mut begun = 1;
    loop {
        match Box::pin(pass.run()).await {
            Err(Fault { error, again }) if again != Again::No && begun < PASSES => {
                tracing::warn!(%error, "the image is begun again");
                pass.may_splice &= again != Again::Unspliced;
                begun += 1;
            }
            result => return result.map_err(|fault| fault.error),
        }
    }
}

/// An image on its way through the stages, from its first byte to its last.
struct Pass<'a> {
    image: &'a Image,
    /// Fresh ones that one pass was given serve the next one as well.
    urls: Urls,
    expected: Expected,
    disk: &'a Arc<Disk>,
    settings: &'a Settings,
    meter: &'a Meter,
    began: Instant,
    may_splice: bool,
}

/// Why a pass has failed.
struct Fault {
    error: ImageError,
    again: Again,
}

/// Whether another pass can help.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Again {
    No,
    /// The object has changed, or its server cannot go on where it stopped.
    Yes,
    /// What was put together from several answers was wrong: the next pass takes all from one.
    Unspliced,
}

impl From<ImageError> for Fault {
    fn from(error: ImageError) -> Self {
        let again = if matches!(error, ImageError::StartOver { .. }) { Again::Yes } else { Again::No };
        Self { error, again }
    }
}

impl Pass<'_> {
    async fn run(&self) -> Result<Written, Fault> {
        let (mut source, head, plan) = or_cancelled(self.meter, self.begin()).await?;
        let format = plan.format();
        self.meter.begin_image(source.length());

        let (stages, input) = self.start_stages(plan, source.url());
        let fed = or_cancelled(self.meter, feed(&mut source, head, input, self.meter)).await;
        // The stages have ended before this returns, whatever happened.
        let stages = stages.join().await;
        // A source that failed is why the decoder found the end of its input too early. A stage that failed is no fault of the source,
        // which only finds that nobody takes any more.
        fed?;
        let (uncommitted, digest) = stages.map_err(|error| self.doubted(error, &source))?;
        let verified =
            self.expected.verify(source.url(), digest).map_err(|error| self.doubted(error, &source))?;
        source.approve();
        let bytes = uncommitted.length();
        let (url, meter) = (source.url().clone(), self.meter.clone());
        blocking::run(move || uncommitted.commit(verified, &url, &meter)).await?;
        Ok(Written {
            format,
            source_bytes: source.received(),
            bytes,
            checksum: digest,
            duration: self.began.elapsed(),
        })
    }

    /// What was put together from several answers may be wrong for that reason alone.
    fn doubted(&self, error: ImageError, source: &Source) -> Fault {
        let is_about_content = matches!(
            error.code(),
            ErrorCode::DigestMismatch | ErrorCode::ImageCorrupt | ErrorCode::HttpChanged
        );
        let again = if is_about_content && source.spliced() { Again::Unspliced } else { Again::No };
        Fault { error, again }
    }

    /// Fetches the first MiB and finds out how to decode it and whether it can be the image of a disk that fits, before anything is
    /// destroyed.
    async fn begin(&self) -> Result<(Source, Buffer, Plan), ImageError> {
        let limits = Limits {
            deadline: self.settings.limits.deadline.saturating_sub(self.began.elapsed()),
            ..self.settings.limits
        };
        let mut source = Source::open(self.image, &self.urls, &limits, &self.settings.last_good).await?;
        if !self.may_splice {
            source.forbid_splicing();
        }
        let head = first_of(&mut source).await?;
        let format = decode::detect(source.url(), head.bytes())?;
        decode::require(source.url(), format, self.image.format, &self.settings.policy.formats)?;
        match format {
            ImageFormat::Raw => {
                self.check_room(&source)?;
                layout::check_head(source.url(), head.bytes(), self.disk)?;
                Ok((source, head, Plan::Raw))
            }
            ImageFormat::Qcow2 => self.plan_qcow2(source, head).await,
            compressed => Ok((source, head, Plan::Compressed(compressed))),
        }
    }

    /// Reads the tables of a qcow2 by ranges, of the server or of a file in which it is kept first.
    async fn plan_qcow2(
        &self,
        mut source: Source,
        mut head: Buffer,
    ) -> Result<(Source, Buffer, Plan), ImageError> {
        match self.read_tables(&mut source).await {
            Ok(plan) => Ok((source, head, Plan::Qcow2(Box::new(plan)))),
            Err(ImageError::NoRanges { .. }) => {
                let kept =
                    spool::keep(&mut source, head, self.settings.policy.spool.as_ref(), self.meter).await?;
                source = Source::of_kept(source.url(), kept, &self.settings.limits).await?;
                head = first_of(&mut source).await?;
                let plan = self.read_tables(&mut source).await?;
                Ok((source, head, Plan::Qcow2(Box::new(plan))))
            }
            Err(error) => Err(error),
        }
    }

    async fn read_tables(&self, source: &mut Source) -> Result<qcow2::Plan, ImageError> {
        let (url, length) = (source.url().clone(), source.length());
        qcow2::Plan::read(&url, length, self.disk.name(), self.disk.capacity(), source).await
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

    fn start_stages(&self, plan: Plan, url: &ImageUrl) -> (Stages, Sender<Buffer>) {
        let (to_digester, from_source) = channel(QUEUED);
        let (to_decoder, from_digester) = channel(QUEUED);
        let (disk, meter) = (Arc::clone(self.disk), self.meter.clone());
        let (url, read_back, algorithm) = (url.clone(), self.image.read_back, self.expected.algorithm());
        let stages = Stages {
            digester: spawn_blocking(move || digest::tee(algorithm, from_source, &to_decoder)),
            writer: spawn_blocking(move || {
                writing::write(disk, &url, read_back, &meter, |sink| {
                    decode::decode(plan, from_digester, &url, sink)
                })
            }),
        };
        (stages, to_digester)
    }
}

/// Sends the image through the stages, until it ends or they do.
pub(super) async fn feed(
    source: &mut Source,
    head: Buffer,
    input: Sender<Buffer>,
    meter: &Meter,
) -> Result<(), ImageError> {
    let mut pool = Pool::new(BUFFERS);
    let mut buffer = head;
    while !buffer.bytes().is_empty() {
        meter.received(as_u64(buffer.bytes().len()), source.attempt());
        if input.send(buffer).await.is_err() {
            break;
        }
        buffer = pool.take().await;
        source.fill(&mut buffer).await?;
    }
    Ok(())
}

/// The first MiB, or the whole of a smaller image.
pub(super) async fn first_of(source: &mut Source) -> Result<Buffer, ImageError> {
    let mut head = Pool::new(1).take().await;
    source.fill(&mut head).await?;
    Ok(head)
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
