//! Several frames of lz4 in a row.

use std::io::{self, BufRead as _, Read};

use crate::image::decode::piped::Piped;

/// One frame after another: the decoder of lz4 ends with the first.
pub(super) struct Lz4Frames(Frames);

impl Lz4Frames {
    pub(super) fn new(input: Piped) -> Self {
        Self(Frames::Between(input))
    }
}

enum Frames {
    Between(Piped),
    Within(lz4::Decoder<Piped>),
    /// Only for the moment in which one of the others becomes the other.
    Nowhere,
}

impl Read for Lz4Frames {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            match &mut self.0 {
                Frames::Between(input) => {
                    if input.fill_buf()?.is_empty() {
                        return Ok(0);
                    }
                }
                Frames::Within(frame) => {
                    let bytes = frame.read(into)?;
                    if bytes > 0 || into.is_empty() {
                        return Ok(bytes);
                    }
                }
                Frames::Nowhere => {}
            }
            self.0 = match std::mem::replace(&mut self.0, Frames::Nowhere) {
                Frames::Between(input) => Frames::Within(lz4::Decoder::new(input)?),
                Frames::Within(frame) => match frame.finish() {
                    (input, Ok(())) => Frames::Between(input),
                    (_, Err(_)) => {
                        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "a frame is cut"));
                    }
                },
                Frames::Nowhere => return Err(io::Error::other("it was read on after an error")),
            };
        }
    }
}
