//! Stretches of bytes on a disk.

/// The bytes from `start` up to, not including, `end`. Never empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Region {
    pub(super) start: u64,
    pub(super) end: u64,
}

impl Region {
    /// Nothing when it would be empty.
    pub(super) fn new(start: u64, end: u64) -> Option<Self> {
        (start < end).then_some(Self { start, end })
    }

    pub(super) fn length(&self) -> u64 {
        self.end - self.start
    }

    /// In order, each as long as `length` but for the last.
    pub(super) fn pieces(self, length: u64) -> impl Iterator<Item = Self> {
        let next = move |piece: &Self| Self::new(piece.end, self.end.min(piece.end.saturating_add(length)));
        let first = Self::new(self.start, self.end.min(self.start.saturating_add(length)));
        std::iter::successors(first, next)
    }

    /// What of it lies within `other`.
    pub(super) fn within(self, other: Self) -> Option<Self> {
        Self::new(self.start.max(other.start), self.end.min(other.end))
    }
}

/// The same bytes in order and none twice.
pub(super) fn merged(mut regions: Vec<Region>) -> Vec<Region> {
    regions.sort_unstable();
    let mut merged: Vec<Region> = Vec::new();
    for region in regions {
        match merged.last_mut() {
            Some(last) if region.start <= last.end => last.end = last.end.max(region.end),
            _ => merged.push(region),
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn regions() -> impl Strategy<Value = Vec<Region>> {
        let region =
            (0_u64..200, 1_u64..40).prop_map(|(start, length)| Region { start, end: start + length });
        prop::collection::vec(region, 0..12)
    }

    fn covers(regions: &[Region], byte: u64) -> bool {
        regions.iter().any(|region| (region.start..region.end).contains(&byte))
    }

    proptest! {
        #[test]
        fn merged_are_the_same_bytes_in_order(regions in regions()) {
            let merged = merged(regions.clone());
            prop_assert!(merged.windows(2).all(|pair| pair[0].end < pair[1].start));
            for byte in 0..250 {
                prop_assert_eq!(covers(&merged, byte), covers(&regions, byte));
            }
        }

        #[test]
        fn pieces_are_the_whole(start in any::<u64>(), length in 1_u64..1000, piece in 1_u64..300) {
            let whole = Region { start, end: start.saturating_add(length) };
            prop_assume!(whole.start < whole.end);
            let pieces: Vec<_> = whole.pieces(piece).collect();
            prop_assert!(pieces.iter().all(|one| one.length() <= piece));
            prop_assert_eq!(merged(pieces), vec![whole]);
        }
    }
}
