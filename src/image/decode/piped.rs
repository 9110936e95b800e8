//! The buffers of a stage as a stream, for codecs.

use std::io::{self, BufRead, Read};

use tokio::sync::mpsc::Receiver;

use crate::image::buffer::Buffer;

/// Reads one buffer after another. Its end is the end of the input: whether that came too early, whoever feeds it knows.
#[derive(Debug)]
pub(super) struct Piped {
    from: Receiver<Buffer>,
    buffer: Option<Buffer>,
    /// How much of the buffer is taken.
    taken: usize,
}

impl Piped {
    pub(super) fn new(from: Receiver<Buffer>) -> Self {
        Self { from, buffer: None, taken: 0 }
    }
}

impl BufRead for Piped {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        while self.buffer.as_ref().is_none_or(|buffer| self.taken == buffer.bytes().len()) {
            self.taken = 0;
            // Goes back to its pool before the next one is waited for.
            self.buffer = None;
            match self.from.blocking_recv() {
                Some(buffer) => self.buffer = Some(buffer),
                None => break,
            }
        }
        Ok(self.buffer.as_ref().map_or(&[], |buffer| &buffer.bytes()[self.taken..]))
    }

    fn consume(&mut self, amount: usize) {
        self.taken += amount;
    }
}

impl Read for Piped {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let available = self.fill_buf()?;
        let taken = available.len().min(into.len());
        into[..taken].copy_from_slice(&available[..taken]);
        self.consume(taken);
        Ok(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::buffer::Pool;

    #[test]
    fn is_one_stream_whatever_the_buffers() {
        let (to, from) = tokio::sync::mpsc::channel(8);
        let mut pool = Pool::new(4);
        for piece in [&b"ab"[..], b"", b"cde"] {
            let mut buffer = pool.take_blocking();
            buffer.fill(piece);
            to.try_send(buffer).unwrap();
        }
        drop(to);
        let mut piped = Piped::new(from);
        let mut all = Vec::new();
        piped.read_to_end(&mut all).unwrap();
        assert_eq!(all, b"abcde");
    }
}
