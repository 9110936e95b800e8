//! Containers that can be told only by their end: they begin as the disk that they hold, and would be taken for it.

use super::sniff::Container;

/// How long the trailer of each of them is.
const TRAILER_BYTES: usize = 512;

const TRAILERS: &[Container] = &[
    Container::new("a VHD image of fixed size", 0, b"conectix"),
    Container::new("a UDIF image (dmg)", 0, b"koly"),
];

/// The last bytes of what has passed.
#[derive(Debug, Default)]
pub(super) struct Trailer {
    last: Vec<u8>,
}

impl Trailer {
    /// Remembers the end of these bytes.
    pub(super) fn pass(&mut self, bytes: &[u8]) {
        let new = &bytes[bytes.len().saturating_sub(TRAILER_BYTES)..];
        let kept = self.last.len().min(TRAILER_BYTES - new.len());
        self.last.drain(..self.last.len() - kept);
        self.last.extend_from_slice(new);
    }

    /// What these were, if not the bytes of a disk.
    pub(super) fn container(&self) -> Option<Container> {
        TRAILERS.iter().copied().find(|known| self.last.len() == TRAILER_BYTES && known.is_in(&self.last))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_seen_across_all_pieces() {
        for magic in [&b"conectix"[..], b"koly"] {
            let mut image = vec![0; 3000];
            let at = image.len() - TRAILER_BYTES;
            image[at..at + magic.len()].copy_from_slice(magic);
            for piece in [1, 7, 500, 511, 512, 513, 3000] {
                let mut trailer = Trailer::default();
                image.chunks(piece).for_each(|bytes| trailer.pass(bytes));
                assert!(trailer.container().is_some(), "in pieces of {piece}");
                trailer.pass(b"x");
                assert!(trailer.container().is_none(), "in pieces of {piece}");
            }
        }
        assert!(Trailer::default().container().is_none());
    }
}
