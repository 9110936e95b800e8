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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_table_is_asked_for_once_and_in_order(
            bits in 9..=21_u32,
            numbers in prop::collection::btree_set(0..5000_u64, 0..200),
        ) {
            let cluster = 1 << bits;
            let starts: Vec<_> = numbers.iter().map(|number| number * cluster).collect();
            let mut pieces = Vec::new();
            let mut end = None;
            for request in requests(&starts, cluster) {
                let range = request.range();
                prop_assert!(range.end - range.start <= REQUEST_MAX);
                // One that is full may be followed by one that begins where it ends.
                prop_assert!(end.is_none_or(|end| range.start >= end));
                end = Some(range.end);
                prop_assert_eq!(range.start, request.pieces[0].start);
                prop_assert!(request.pieces.windows(2).all(|two| two[1].start - two[0].range().end <= GAP_MAX));
                pieces.extend(request.pieces);
            }
            // Put together, the pieces are the tables.
            let mut tables = Vec::new();
            for piece in pieces {
                if piece.start == piece.table {
                    tables.push(piece.range());
                } else {
                    let last = tables.last_mut().unwrap();
                    prop_assert_eq!((last.start, last.end), (piece.table, piece.start));
                    last.end = piece.range().end;
                }
            }
            prop_assert_eq!(tables, starts.iter().map(|start| *start..start + cluster).collect::<Vec<_>>());
        }
    }

    #[test]
    fn near_tables_are_fetched_at_once() {
        let far = 65536 + GAP_MAX + 65536;
        let found: Vec<_> = requests(&[0, 65536, far, far + 65536 + GAP_MAX + 1], 65536).collect();
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].pieces.len(), 3);
    }
}
