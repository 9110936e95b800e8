//! Hands on what lies in the file as it is on the disk.

use super::chunk::Chunk;
use super::map::Run;
use crate::image::ImageError;
use crate::image::decode::Sink;

/// The runs, and how far they are.
#[derive(Debug)]
pub(super) struct Plain {
    /// In the order of the file.
    runs: Vec<Run>,
    /// The first run that begins behind what has come.
    next: usize,
    /// The runs that have begun and not ended: more than one where several places of the disk share a place in the file.
    active: Vec<usize>,
}

impl Plain {
    pub(super) fn new(runs: Vec<Run>) -> Self {
        Self { runs, next: 0, active: Vec::new() }
    }

    /// Hands on what lies in the next piece of the file.
    pub(super) fn feed(&mut self, chunk: Chunk<'_>, sink: &mut impl Sink) -> Result<(), ImageError> {
        while self.runs.get(self.next).is_some_and(|run| run.host < chunk.end()) {
            self.active.push(self.next);
            self.next += 1;
        }
        for number in &self.active {
            let run = &self.runs[*number];
            let part = chunk.part(&run.host_range());
            sink.copy(run.guest + (part.at - run.host), part.bytes)?;
        }
        self.active.retain(|number| self.runs[*number].host_range().end > chunk.end());
        Ok(())
    }

    /// The runs that have not come wholly.
    pub(super) fn rest(&self) -> impl Iterator<Item = &Run> {
        self.active.iter().map(|number| &self.runs[*number]).chain(&self.runs[self.next..])
    }

    /// Makes zeros of what a file of `length` bytes does not hold of the runs.
    pub(super) fn finish(self, length: u64, sink: &mut impl Sink) -> Result<(), ImageError> {
        self.rest().try_for_each(|run| {
            let came = length.max(run.host) - run.host;
            sink.zero(run.guest + came..run.guest + run.length)
        })
    }
}
