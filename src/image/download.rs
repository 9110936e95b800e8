//! Keeps an image in a file as it is served, for those who hand it on.

use std::fs::File;
use std::io::{self, Seek as _, Write as _};
use std::time::Instant;

use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::task::{JoinHandle, spawn_blocking};

use super::buffer::{Buffer, Pool};
use super::digest::{self, Expected, Hasher};
use super::fresh::Urls;
use super::source::Source;
use super::{Image, ImageError, Limits, Settings};
use crate::blocking;
use crate::wire::{Digest, DigestAlgorithm};

/// Buffers of the source: one that is filled, one that is hashed, one that is written, and as many again.
const BUFFERS: usize = 6;
/// How often an image is fetched from its beginning before it is given up.
const PASSES: u32 = 4;

/// An image that has begun to come.
#[derive(Debug)]
pub struct Download<'a> {
    image: &'a Image,
    settings: &'a Settings,
    urls: Urls,
    expected: Expected,
    source: Source,
    began: Instant,
}

/// An image that was fetched and verified.
#[derive(Debug)]
pub struct Downloaded {
    /// The file, with the image and nothing else. It is on the medium.
    pub file: File,
    /// Bytes, as served.
    pub bytes: u64,
    /// The digest by SHA-256, whatever the image was verified by.
    pub sha256: Digest,
    /// The digest by the algorithm that the image was verified by.
    pub checksum: Digest,
}

/// What a pass has brought.
struct Kept {
    sha256: Digest,
    checksum: Digest,
}

impl<'a> Download<'a> {
    /// Asks for an image, and waits until the beginning of an answer has come.
    ///
    /// # Errors
    /// [`ImageError`]: there must be a digest and is none, or none of the places of the image delivers it.
    pub async fn begin(image: &'a Image, settings: &'a Settings) -> Result<Self, ImageError> {
        let began = Instant::now();
        let expected = Expected::of(image, settings).await?;
        let urls = Urls::of(image, settings);
        let source = Source::open(image, &urls, &settings.limits, &settings.last_good).await?;
        Ok(Self { image, settings, urls, expected, source, began })
    }

    /// How many bytes it has, where the server says so.
    #[must_use]
    pub fn length(&self) -> Option<u64> {
        self.source.length()
    }

    /// Puts the image into `file`, which holds nothing else afterwards, if it has no more than `most` bytes.
    ///
    /// When this is dropped, the file is left with a part of the image, and written no more after the buffers that are under way.
    ///
    /// # Errors
    /// [`ImageError`]. What the file holds then is of no use.
    ///
    /// # Panics
    /// When a stage panics.
    pub async fn keep(mut self, mut file: File, most: u64) -> Result<Downloaded, ImageError> {
        let (mut begun, mut may_splice) = (1, true);
        loop {
            let kept;
            (file, kept) = self.pass(file, most).await;
            let error = match kept.and_then(|kept| self.verified(kept)) {
                Ok(Kept { sha256, checksum }) => {
                    let bytes = self.source.received();
                    return Ok(Downloaded { file, bytes, sha256, checksum });
                }
                Err(error) => error,
            };
            // What was put together from several answers may be wrong for that reason alone.
            let is_doubtful = matches!(error, ImageError::DigestMismatch { .. }) && self.source.spliced();
            let may_begin_again = is_doubtful || matches!(error, ImageError::StartOver { .. });
            if !may_begin_again || begun >= PASSES {
                return Err(error);
            }
            tracing::warn!(%error, "the image is begun again");
            begun += 1;
            may_splice &= !is_doubtful;
            self.begin_again(may_splice).await?;
        }
    }

    async fn begin_again(&mut self, may_splice: bool) -> Result<(), ImageError> {
        let deadline = self.settings.limits.deadline.saturating_sub(self.began.elapsed());
        let limits = Limits { deadline, ..self.settings.limits };
        self.source = Source::open(self.image, &self.urls, &limits, &self.settings.last_good).await?;
        if !may_splice {
            self.source.forbid_splicing();
        }
        Ok(())
    }

    /// Fetches the whole image once. Nothing writes to the file any more when this returns.
    async fn pass(&mut self, file: File, most: u64) -> (File, Result<Kept, ImageError>) {
        let (input, from_source) = channel(BUFFERS);
        let stages = Stages::start(file, self.expected.algorithm(), from_source);
        let fed = feed(&mut self.source, input, most).await;
        let (file, kept) = stages.join().await;
        // A file that cannot be written is why nobody takes any more of the source.
        let url = || Box::new(self.source.url().clone());
        let kept = kept.map_err(|source| ImageError::Keep { url: url(), source });
        (file, kept.and_then(|kept| fed.map(|()| kept)))
    }

    fn verified(&self, kept: Kept) -> Result<Kept, ImageError> {
        self.expected.verify(self.source.url(), kept.checksum)?;
        self.source.approve();
        Ok(kept)
    }
}

/// Sends the image through the stages, until it ends, they do, or it is too long.
async fn feed(source: &mut Source, input: Sender<Buffer>, most: u64) -> Result<(), ImageError> {
    let no_room = |source: &Source| ImageError::NoRoom { url: Box::new(source.url().clone()), most };
    if source.length().is_some_and(|length| length > most) {
        return Err(no_room(source));
    }
    let mut pool = Pool::new(BUFFERS);
    loop {
        let mut buffer = pool.take().await;
        source.fill(&mut buffer).await?;
        if source.received() > most {
            return Err(no_room(source));
        }
        if buffer.bytes().is_empty() || input.send(buffer).await.is_err() {
            return Ok(());
        }
    }
}

/// The stages that run on threads of their own. They end when their input does.
struct Stages {
    /// Not where the writer makes that digest anyway.
    digester: Option<JoinHandle<Digest>>,
    writer: JoinHandle<(File, io::Result<Digest>)>,
}

impl Stages {
    fn start(mut file: File, algorithm: DigestAlgorithm, from_source: Receiver<Buffer>) -> Self {
        let (digester, to_write) = if algorithm == DigestAlgorithm::Sha256 {
            (None, from_source)
        } else {
            let (to_writer, from_digester) = channel(BUFFERS);
            let digester = spawn_blocking(move || digest::tee(algorithm, from_source, &to_writer));
            (Some(digester), from_digester)
        };
        let writer = spawn_blocking(move || {
            let written = write(&mut file, to_write);
            (file, written)
        });
        Self { digester, writer }
    }

    /// Waits until all is written, or that has failed.
    async fn join(self) -> (File, io::Result<Kept>) {
        let (file, written) = blocking::join(self.writer).await;
        let checksum = match self.digester {
            Some(digester) => Some(blocking::join(digester).await),
            None => None,
        };
        let kept = written.map(|sha256| Kept { sha256, checksum: checksum.unwrap_or(sha256) });
        (file, kept)
    }
}

/// Writes what comes, until all of it is on the medium. Returns its SHA-256.
fn write(file: &mut File, mut from: Receiver<Buffer>) -> io::Result<Digest> {
    file.set_len(0)?;
    file.rewind()?;
    let mut hasher = Hasher::new(DigestAlgorithm::Sha256);
    while let Some(buffer) = from.blocking_recv() {
        hasher.update(buffer.bytes());
        file.write_all(buffer.bytes())?;
    }
    file.sync_all()?;
    Ok(hasher.finish())
}
