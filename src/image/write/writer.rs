//! Several writes in flight: a disk is kept busy only by more than one at a time.
//!
//! The decoder's thread hands pieces over, and threads of their own write them: the kernel has no other way to do several direct
//! writes at once without unsafe code, and four threads saturate what a deployment can bring.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

use super::commit::{Uncommitted, zero_ends};
use super::ends::Ends;
use super::read_back::Journal;
use super::{Disk, as_u64, is_zero};
use crate::image::ImageError;
use crate::image::buffer::{Buffer, Pool};
use crate::image::decode::Sink;
use crate::meter::Meter;
use crate::wire::ImageUrl;

/// Writes in flight.
const THREADS: usize = 4;
/// Buffers that decoders fill: as many as are written, and as many again that wait.
const BUFFERS: usize = 2 * THREADS;
/// Zeros in a row that are made and not written. A shorter row costs the disk less as a part of a longer write.
const ZERO_BLOCK: usize = 64 << 10;
/// Zeros that are made before it is asked again whether to go on: a second or less where the disk has to write them.
const ZEROS_AT_ONCE: u64 = 64 << 20;
/// Rows of zeros are brought together up to this.
const ZERO_ROW: u64 = 1 << 30;

/// What a thread does next.
enum Job {
    Write { offset: u64, buffer: Arc<Buffer>, part: Range<usize> },
    Zero(Range<u64>),
}

/// What the threads share.
struct Shared<'a> {
    disk: &'a Disk,
    journal: Option<&'a Journal>,
    meter: &'a Meter,
    failed: AtomicBool,
    fault: Mutex<Option<ImageError>>,
}

/// Takes the partition table away, and writes what `decode` puts into the sink. Returns when nothing is written any more.
///
/// `decode` says how long the image is.
pub(in crate::image) fn write(
    disk: Arc<Disk>,
    url: &ImageUrl,
    read_back: bool,
    meter: &Meter,
    decode: impl FnOnce(&mut Writer<'_>) -> Result<u64, ImageError>,
) -> Result<Uncommitted, ImageError> {
    zero_ends(&disk)?;
    disk.begin_count();
    let journal = read_back.then(Journal::default);
    let (jobs, queue) = sync_channel(THREADS);
    let shared = Shared {
        disk: &disk,
        journal: journal.as_ref(),
        meter,
        failed: AtomicBool::new(false),
        fault: Mutex::new(None),
    };
    let (decoded, ends) = std::thread::scope(|threads| {
        // Only the threads hold it: should they all panic, the writer can hand over nothing any more and does not wait.
        let queue = Arc::new(Mutex::new(queue));
        for _ in 0..THREADS {
            let (shared, queue) = (&shared, Arc::clone(&queue));
            threads.spawn(move || shared.work(&queue));
        }
        drop(queue);
        let mut writer = Writer::new(&shared, url, jobs);
        let decoded = decode(&mut writer).and_then(|length| writer.finish().map(|()| length));
        // The threads end once the writer has gone, and with it the way to them.
        (decoded, writer.ends)
    });
    // What the threads say is why the decoder could not go on.
    if let Some(fault) = shared.take_fault() {
        return Err(fault);
    }
    let length = decoded?;
    Ok(Uncommitted::new(disk, ends, length, journal))
}

impl Shared<'_> {
    /// Does what comes until nothing comes any more. After a fault the rest is let go, so that nobody waits for its buffers.
    fn work(&self, queue: &Mutex<Receiver<Job>>) {
        while let Some(job) = next(queue) {
            if self.failed.load(Ordering::Relaxed) {
                continue;
            }
            if let Err(error) = self.carry_out(job) {
                self.fault.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                self.failed.store(true, Ordering::Relaxed);
            }
        }
    }

    fn carry_out(&self, job: Job) -> Result<(), ImageError> {
        match job {
            Job::Write { offset, buffer, part } => {
                let bytes = &buffer.bytes()[part];
                if let Some(journal) = self.journal {
                    journal.note(offset, bytes);
                }
                self.disk.write_at(bytes, offset)?;
            }
            Job::Zero(range) => {
                if let Some(journal) = self.journal {
                    journal.note_zeros(range.clone());
                }
                // A disk may have to write them: that takes long, and may be cancelled.
                let mut at = range.start;
                while at < range.end {
                    self.meter.check()?;
                    let to = range.end.min(at + ZEROS_AT_ONCE);
                    self.disk.zero(at, to)?;
                    at = to;
                }
            }
        }
        self.meter.durable(self.disk.durable());
        Ok(())
    }

    fn take_fault(&self) -> Option<ImageError> {
        self.fault.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Waits for a job; nothing once the writer has gone.
fn next(queue: &Mutex<Receiver<Job>>) -> Option<Job> {
    queue.lock().unwrap_or_else(PoisonError::into_inner).recv().ok()
}

/// Where the decoder puts what it has: keeps back the ends, finds zeros, and gives the rest to the threads.
pub(in crate::image) struct Writer<'a> {
    shared: &'a Shared<'a>,
    url: &'a ImageUrl,
    jobs: SyncSender<Job>,
    pool: Pool,
    ends: Ends,
    /// Zeros that more may follow.
    zeros: Range<u64>,
    /// What came in small pieces, and where it begins.
    gathered: Option<(u64, Buffer)>,
}

impl<'a> Writer<'a> {
    fn new(shared: &'a Shared<'a>, url: &'a ImageUrl, jobs: SyncSender<Job>) -> Self {
        let ends = Ends::of(shared.disk.capacity());
        Self { shared, url, jobs, pool: Pool::new(BUFFERS), ends, zeros: 0..0, gathered: None }
    }

    /// Hands over what was still gathered.
    fn finish(&mut self) -> Result<(), ImageError> {
        self.hand_over_gathered()?;
        self.hand_over_zeros()
    }

    fn check(&self, range: &Range<u64>) -> Result<(), ImageError> {
        self.shared.meter.check()?;
        let capacity = self.shared.disk.capacity();
        if range.end <= capacity {
            return Ok(());
        }
        Err(ImageError::TooLarge {
            url: Box::new(self.url.clone()),
            found: range.end,
            at_least: true,
            target: self.shared.disk.name().to_owned(),
            capacity,
        })
    }

    /// Parts a buffer into what is written and rows of zeros that are made.
    fn split(&mut self, offset: u64, buffer: Buffer) -> Result<(), ImageError> {
        let range = offset..offset + as_u64(buffer.bytes().len());
        self.ends.keep(offset, buffer.bytes());
        let body = self.ends.body_of(&range);
        if body.is_empty() {
            return Ok(());
        }
        let within = |place: u64| usize::try_from(place - offset).unwrap_or(usize::MAX);
        let (mut at, end) = (within(body.start), within(body.end));
        let buffer = Arc::new(buffer);
        while at < end {
            let block = |from: usize| from..end.min(from + ZERO_BLOCK);
            let mut to = block(at).end;
            let zero = is_zero(&buffer.bytes()[at..to]);
            while to < end && is_zero(&buffer.bytes()[block(to)]) == zero {
                to = block(to).end;
            }
            let place = offset + as_u64(at);
            if zero {
                self.add_zeros(place..offset + as_u64(to))?;
            } else {
                self.hand_over(Job::Write { offset: place, buffer: Arc::clone(&buffer), part: at..to })?;
            }
            at = to;
        }
        Ok(())
    }

    fn add_zeros(&mut self, range: Range<u64>) -> Result<(), ImageError> {
        if range.is_empty() {
            return Ok(());
        }
        if self.zeros.end != range.start || self.zeros.end - self.zeros.start >= ZERO_ROW {
            self.hand_over_zeros()?;
            self.zeros.start = range.start;
        }
        self.zeros.end = range.end;
        Ok(())
    }

    fn hand_over_zeros(&mut self) -> Result<(), ImageError> {
        let zeros = std::mem::replace(&mut self.zeros, 0..0);
        if zeros.is_empty() { Ok(()) } else { self.hand_over(Job::Zero(zeros)) }
    }

    fn hand_over_gathered(&mut self) -> Result<(), ImageError> {
        match self.gathered.take() {
            Some((offset, buffer)) => self.split(offset, buffer),
            None => Ok(()),
        }
    }

    fn hand_over(&self, job: Job) -> Result<(), ImageError> {
        if self.shared.failed.load(Ordering::Relaxed)
            && let Some(fault) = self.shared.take_fault()
        {
            return Err(fault);
        }
        // Fails only when every thread has panicked, which goes on in whoever waits for them.
        let _ = self.jobs.send(job);
        Ok(())
    }
}

impl Sink for Writer<'_> {
    fn buffer(&mut self) -> Buffer {
        self.pool.take_blocking()
    }

    fn write(&mut self, offset: u64, buffer: Buffer) -> Result<(), ImageError> {
        let length = as_u64(buffer.bytes().len());
        self.check(&(offset..offset.saturating_add(length)))?;
        self.hand_over_gathered()?;
        self.shared.meter.decoded(length);
        self.split(offset, buffer)
    }

    fn copy(&mut self, mut offset: u64, mut bytes: &[u8]) -> Result<(), ImageError> {
        self.check(&(offset..offset.saturating_add(as_u64(bytes.len()))))?;
        self.shared.meter.decoded(as_u64(bytes.len()));
        while !bytes.is_empty() {
            let follows = self
                .gathered
                .as_ref()
                .is_some_and(|(start, buffer)| start + as_u64(buffer.bytes().len()) == offset);
            if !follows {
                self.hand_over_gathered()?;
            }
            let (_, buffer) = match &mut self.gathered {
                Some(gathered) => gathered,
                none => none.insert((offset, self.pool.take_blocking())),
            };
            let taken = buffer.fill(bytes);
            if buffer.is_full() {
                self.hand_over_gathered()?;
            }
            offset += as_u64(taken);
            bytes = &bytes[taken..];
        }
        Ok(())
    }

    fn zero(&mut self, range: Range<u64>) -> Result<(), ImageError> {
        self.check(&range)?;
        self.hand_over_gathered()?;
        self.shared.meter.decoded(range.end.saturating_sub(range.start));
        // The ends are zero where nothing else is said.
        self.add_zeros(self.ends.body_of(&range))
    }
}
