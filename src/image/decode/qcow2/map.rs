//! Where in the file the content of the disk lies.

use std::ops::Range;

use super::flaw::Qcow2Flaw;
use super::tables::{Cluster, SUBCLUSTERS};

/// The most pieces of which an image is made. They take 24 bytes each, so that the map takes at most 24 MiB.
pub(super) const PIECES_MAX: usize = 1 << 20;

/// Bytes that lie in the file as they are on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    /// Where they begin in the file.
    pub(super) host: u64,
    /// Where they begin on the disk.
    pub(super) guest: u64,
    /// How many they are.
    pub(super) length: u64,
}

impl Run {
    pub(super) fn host_range(&self) -> Range<u64> {
        self.host..self.host + self.length
    }

    /// Whether the last cluster of the run begins before the end of the file: what is missing of it then is zeros, as QEMU has it.
    /// Else the error.
    pub(super) fn check_end(&self, cluster: u64, file_length: u64) -> Result<(), Qcow2Flaw> {
        let last = (self.host + self.length - 1) / cluster * cluster;
        if last < file_length {
            return Ok(());
        }
        let host = last.max(self.host);
        Err(Qcow2Flaw::DataBehindEnd { host, guest: self.guest + (host - self.host), length: file_length })
    }
}

/// A cluster that lies compressed in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Packed {
    /// Where it begins in the file.
    pub(super) host: u64,
    /// Where it begins on the disk; a multiple of the cluster size.
    pub(super) guest: u64,
    /// How many bytes it may take in the file: where it ends is known to a sector only.
    pub(super) length: u32,
}

impl Packed {
    pub(super) fn host_range(&self) -> Range<u64> {
        self.host..self.host + u64::from(self.length)
    }

    /// Whether it begins before the end of the file. Else the error.
    pub(super) fn check_end(&self, file_length: u64) -> Result<(), Qcow2Flaw> {
        if self.host < file_length {
            return Ok(());
        }
        Err(Qcow2Flaw::DataBehindEnd { host: self.host, guest: self.guest, length: file_length })
    }
}

/// All the content of the disk that is not zeros. No two pieces are for the same place of the disk; they may lie at the same place
/// of the file.
#[derive(Debug)]
pub(super) struct Map {
    cluster: u64,
    virtual_size: u64,
    runs: Vec<Run>,
    packed: Vec<Packed>,
    limit: usize,
}

impl Map {
    pub(super) fn new(cluster: u64, virtual_size: u64) -> Self {
        Self { cluster, virtual_size, runs: Vec::new(), packed: Vec::new(), limit: PIECES_MAX }
    }

    /// Adds the cluster at `guest`, each of them once. Cheapest in the order of the disk. What lies behind the end of the disk is left
    /// out.
    pub(super) fn add(&mut self, guest: u64, cluster: Cluster) -> Result<(), Qcow2Flaw> {
        match cluster {
            Cluster::Zero => Ok(()),
            Cluster::Plain { host } => self.add_run(Run { host, guest, length: self.cluster }),
            Cluster::Partial { host, plain } => self.add_subclusters(host, guest, plain),
            Cluster::Compressed { host, length } if guest < self.virtual_size => {
                self.room()?;
                self.packed.push(Packed { host, guest, length });
                Ok(())
            }
            Cluster::Compressed { .. } => Ok(()),
        }
    }

    fn add_subclusters(&mut self, host: u64, guest: u64, plain: u32) -> Result<(), Qcow2Flaw> {
        let length = self.cluster / u64::from(SUBCLUSTERS);
        for number in (0..SUBCLUSTERS).filter(|number| plain >> number & 1 != 0) {
            let offset = u64::from(number) * length;
            self.add_run(Run { host: host + offset, guest: guest + offset, length })?;
        }
        Ok(())
    }

    fn add_run(&mut self, run: Run) -> Result<(), Qcow2Flaw> {
        let length = run.length.min(self.virtual_size.saturating_sub(run.guest));
        if length == 0 {
            return Ok(());
        }
        if let Some(last) = self.runs.last_mut()
            && last.host + last.length == run.host
            && last.guest + last.length == run.guest
        {
            last.length += length;
            return Ok(());
        }
        self.room()?;
        self.runs.push(Run { length, ..run });
        Ok(())
    }

    fn room(&self) -> Result<(), Qcow2Flaw> {
        if self.runs.len() + self.packed.len() < self.limit {
            return Ok(());
        }
        Err(Qcow2Flaw::Fragmented { limit: self.limit })
    }

    /// Refuses content that would begin at or behind the end of the file.
    pub(super) fn check_end(&self, file_length: u64) -> Result<(), Qcow2Flaw> {
        self.runs.iter().try_for_each(|run| run.check_end(self.cluster, file_length))?;
        self.packed.iter().try_for_each(|packed| packed.check_end(file_length))
    }

    /// Everything of the disk that is not in the map, in the order of the disk. Sorts the map by that first.
    pub(super) fn zeros(&mut self) -> impl Iterator<Item = Range<u64>> {
        self.runs.sort_unstable_by_key(|run| run.guest);
        self.packed.sort_unstable_by_key(|packed| packed.guest);
        let (cluster, virtual_size) = (self.cluster, self.virtual_size);
        let mut runs = self.runs.iter().map(|run| run.guest..run.guest + run.length).peekable();
        let mut packed =
            self.packed.iter().map(move |packed| packed.guest..packed.guest + cluster).peekable();
        let content = std::iter::from_fn(move || match (runs.peek(), packed.peek()) {
            (Some(run), Some(other)) if run.start > other.start => packed.next(),
            (Some(_), _) => runs.next(),
            (None, _) => packed.next(),
        });
        let mut done = 0;
        // The end of the disk as an empty piece of content, so that the zeros before it come too.
        content.chain(std::iter::once(virtual_size..virtual_size)).filter_map(move |content| {
            let zeros = done..content.start;
            done = content.end;
            (!zeros.is_empty()).then_some(zeros)
        })
    }

    /// The pieces, in the order of the file.
    pub(super) fn into_file_order(mut self) -> (Vec<Run>, Vec<Packed>) {
        self.runs.sort_unstable_by_key(|run| (run.host, run.guest));
        self.packed.sort_unstable_by_key(|packed| (packed.host, packed.guest));
        (self.runs, self.packed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(host: u64) -> Cluster {
        Cluster::Plain { host }
    }

    #[test]
    fn neighbours_are_one_run_and_the_end_of_the_disk_cuts_it() {
        let mut map = Map::new(4096, 10_000);
        for (guest, host) in [(0, 40_960), (4096, 45_056), (8192, 49_152), (12_288, 53_248)] {
            map.add(guest, plain(host)).unwrap();
        }
        assert_eq!(map.zeros().count(), 0);
        assert_eq!(map.into_file_order().0, [Run { host: 40_960, guest: 0, length: 10_000 }]);
    }

    #[test]
    fn zeros_are_what_is_left_in_the_order_of_the_disk() {
        let mut map = Map::new(4096, 50_000);
        map.add(40_960, plain(4096)).unwrap();
        map.add(8192, Cluster::Compressed { host: 777, length: 100 }).unwrap();
        map.add(12_288, Cluster::Zero).unwrap();
        map.add(16_384, Cluster::Partial { host: 65_536, plain: 0b0110 }).unwrap();
        let sub = 16_384 + 128;
        let expected = [0..8192, 12_288..sub, sub + 256..40_960, 45_056..50_000];
        assert_eq!(map.zeros().collect::<Vec<_>>(), expected);
        let (runs, packed) = map.into_file_order();
        assert_eq!(runs.iter().map(|run| run.host).collect::<Vec<_>>(), [4096, 65_664]);
        assert_eq!(packed, [Packed { host: 777, guest: 8192, length: 100 }]);
        assert_eq!(Map::new(512, 512).zeros().collect::<Vec<_>>(), std::slice::from_ref(&(0..512)));
    }

    #[test]
    fn the_last_compressed_cluster_may_reach_behind_the_disk() {
        let mut map = Map::new(4096, 5000);
        map.add(4096, Cluster::Compressed { host: 0, length: 1 }).unwrap();
        map.add(8192, Cluster::Compressed { host: 0, length: 1 }).unwrap();
        assert_eq!(map.zeros().collect::<Vec<_>>(), std::slice::from_ref(&(0..4096)));
        assert_eq!(map.into_file_order().1.len(), 1);
    }

    #[test]
    fn pieces_are_bounded() {
        let mut map = Map { limit: 3, ..Map::new(512, 1 << 20) };
        map.add(0, plain(512)).unwrap();
        map.add(1024, Cluster::Compressed { host: 5, length: 1 }).unwrap();
        map.add(2048, plain(5120)).unwrap();
        // A neighbour is no new piece.
        map.add(2560, plain(5632)).unwrap();
        let full = Err(Qcow2Flaw::Fragmented { limit: 3 });
        assert_eq!(map.add(4096, plain(512)), full);
        assert_eq!(map.add(4096, Cluster::Compressed { host: 5, length: 1 }), full);
        assert_eq!(size_of::<Run>().max(size_of::<Packed>()) * PIECES_MAX, 24 << 20);
    }
}
