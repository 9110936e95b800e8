//! The entries of the tables: sections "Cluster mapping" and "Extended L2 Entries" of QEMU's `docs/interop/qcow2.rst`.
//!
//! Whether a cluster is used once (bit 63) is for those who write and is not looked at.

use super::flaw::{Qcow2Flaw, Table};
use super::header::{Header, l2_entry_bytes};

/// Bits 9 to 55 of an entry: an offset in the file.
const OFFSET: u64 = 0x00ff_ffff_ffff_fe00;
/// Bits of an L1 entry that are always 0.
const L1_RESERVED: u64 = 0x7f00_0000_0000_01ff;
/// Bits of an L2 entry that are always 0, but for the flag of zeros.
const L2_RESERVED: u64 = 0x3f00_0000_0000_01fe;
const COMPRESSED: u64 = 1 << 62;
const ZEROS: u64 = 1;
const SECTOR: u64 = 512;

/// Subclusters of a cluster, where there are any.
pub(super) const SUBCLUSTERS: u32 = 32;

/// Where the content of a cluster of the disk is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cluster {
    /// Nowhere: it is zeros.
    Zero,
    /// In the file, as it is. Multiple of the cluster size.
    Plain { host: u64 },
    /// Of those subclusters whose bit is set, in the file as it is; the others are zeros.
    Partial { host: u64, plain: u32 },
    /// In the file, compressed, within so many bytes; at most two clusters.
    Compressed { host: u64, length: u32 },
}

/// How entries are to be read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entries {
    cluster_bits: u32,
    has_zero_flag: bool,
    extended: bool,
}

impl Entries {
    pub(super) fn new(header: &Header) -> Self {
        Self {
            cluster_bits: header.cluster_bits,
            has_zero_flag: header.has_zero_flag,
            extended: header.extended_l2,
        }
    }

    /// Bytes of an L2 entry.
    pub(super) fn l2_entry_bytes(self) -> u64 {
        l2_entry_bytes(self.extended)
    }

    /// The same as a length in memory.
    pub(super) fn l2_entry_length(self) -> usize {
        if self.extended { 16 } else { 8 }
    }

    /// Bytes of the disk that one L2 table is for.
    pub(super) fn l2_covers(self) -> u64 {
        ((1_u64 << self.cluster_bits) / self.l2_entry_bytes()) << self.cluster_bits
    }

    /// Reads the L1 entry that lies at `at`: where an L2 table begins, if there is one.
    pub(super) fn l1(self, entry: u64, at: u64) -> Result<Option<u64>, Qcow2Flaw> {
        let bad = |expected| Qcow2Flaw::Entry { table: Table::L1, at, expected, found: entry };
        if entry & L1_RESERVED != 0 {
            return Err(bad("0 in its bits 0 to 8 and 56 to 62"));
        }
        match entry & OFFSET {
            0 => Ok(None),
            offset if self.is_aligned(offset) => Ok(Some(offset)),
            _ => Err(bad(UNALIGNED)),
        }
    }

    /// Reads the L2 entry that lies at `at`, whose bytes are [`Entries::l2_entry_bytes`].
    pub(super) fn l2(self, bytes: &[u8], at: u64) -> Result<Cluster, Qcow2Flaw> {
        let number =
            |half: usize| bytes.as_chunks().0.get(half).map_or(0, |bytes| u64::from_be_bytes(*bytes));
        // Entries that are not extended have no bitmap.
        let (entry, bitmap) = (number(0), number(1));
        let bad = |expected, found| Err(Qcow2Flaw::Entry { table: Table::L2, at, expected, found });
        if entry & COMPRESSED != 0 {
            return match bitmap {
                0 => Ok(self.compressed(entry)),
                _ => bad("a compressed cluster without a bitmap of subclusters", bitmap),
            };
        }
        if entry & L2_RESERVED != 0 {
            return bad("0 in its bits 1 to 8 and 56 to 61", entry);
        }
        let host = entry & OFFSET;
        if !self.is_aligned(host) {
            return bad(UNALIGNED, entry);
        }
        let zeros = entry & ZEROS != 0;
        if zeros && !self.has_zero_flag {
            return bad("no flag of zeros before version 3", entry);
        }
        if self.extended {
            return match subclusters(host, bitmap) {
                _ if zeros => bad("no flag of zeros beside a bitmap of subclusters", entry),
                Some(cluster) => Ok(cluster),
                None => bad("no subcluster that is zeros or nowhere and has content as well", bitmap),
            };
        }
        Ok(if zeros || host == 0 { Cluster::Zero } else { Cluster::Plain { host } })
    }

    fn is_aligned(self, offset: u64) -> bool {
        offset.is_multiple_of(1 << self.cluster_bits)
    }

    /// "Compressed Clusters Descriptor": an offset in bytes, and above it how many sectors follow the one that it lies in.
    fn compressed(self, entry: u64) -> Cluster {
        let offset_bits = 62 - (self.cluster_bits - 8);
        let host = entry & ((1 << offset_bits) - 1);
        let sectors = (entry & (COMPRESSED - 1)) >> offset_bits;
        let length = (sectors + 1) * SECTOR - host % SECTOR;
        // There are at most 13 bits for sectors.
        let length = u32::try_from(length).expect("at most 2^13 sectors of 512 bytes");
        Cluster::Compressed { host, length }
    }
}

const UNALIGNED: &str = "an offset that is a multiple of the cluster size";

/// Reads the bitmap: the lower half says which subclusters lie in the file, the upper one which are zeros. None where they disagree.
fn subclusters(host: u64, bitmap: u64) -> Option<Cluster> {
    let [zeros, plain] = halves(bitmap);
    match (host, plain) {
        _ if zeros & plain != 0 => None,
        (_, 0) => Some(Cluster::Zero),
        (0, _) => None,
        (_, u32::MAX) => Some(Cluster::Plain { host }),
        _ => Some(Cluster::Partial { host, plain }),
    }
}

/// The upper and the lower half.
fn halves(bitmap: u64) -> [u32; 2] {
    let [a, b, c, d, e, f, g, h] = bitmap.to_be_bytes();
    [u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes([e, f, g, h])]
}
