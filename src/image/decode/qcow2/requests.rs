//! Which ranges of the file are asked for to read L2 tables.

use std::ops::Range;

/// The most bytes that are asked for at once.
pub(super) const REQUEST_MAX: u64 = 1 << 20;
/// Tables this far apart are fetched at once, with what lies between them: that is sooner done than another request.
const GAP_MAX: u64 = 128 << 10;

/// A table, or a part of one that is too large for one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    /// Where the table begins in the file.
    pub(super) table: u64,
    /// Where the piece does.
    pub(super) start: u64,
    length: u64,
}

impl Piece {
    pub(super) fn range(&self) -> Range<u64> {
        self.start..self.start + self.length
    }
}

/// Pieces that are fetched at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Request {
    start: u64,
    end: u64,
    /// In the order of the file; at least one.
    pub(super) pieces: Vec<Piece>,
}

impl Request {
    pub(super) fn range(&self) -> Range<u64> {
        self.start..self.end
    }
}

/// The requests for the tables that begin at `starts`, which are sorted, and have `cluster` bytes each.
pub(super) fn requests(starts: &[u64], cluster: u64) -> impl Iterator<Item = Request> {
    let length = cluster.min(REQUEST_MAX);
    let pieces = starts.iter().flat_map(move |table| {
        (0..cluster / length).map(move |number| Piece {
            table: *table,
            start: table + number * length,
            length,
        })
    });
    let mut pieces = pieces.peekable();
    std::iter::from_fn(move || {
        let first = pieces.next()?;
        let mut request = Request { start: first.start, end: first.range().end, pieces: vec![first] };
        while let Some(piece) = pieces.next_if(|next| {
            next.start - request.end <= GAP_MAX && next.range().end - request.start <= REQUEST_MAX
        }) {
            request.end = piece.range().end;
            request.pieces.push(piece);
        }
        Some(request)
    })
}
