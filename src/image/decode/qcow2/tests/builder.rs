//! Images put together by hand, for what QEMU reads but does not write.

use std::io::Write as _;

/// A version 3 image with its L1 table in the second cluster, an empty table of reference counts in the third, and what is added after
/// them.
#[derive(Clone, Debug)]
pub(super) struct Builder {
    cluster: usize,
    pub(super) file: Vec<u8>,
}

pub(super) const COMPRESSED: u64 = 1 << 62;

impl Builder {
    pub(super) fn new(cluster_bits: u32, virtual_size: u64) -> Self {
        let cluster = 1 << cluster_bits;
        let mut image = Self { cluster, file: vec![0; 3 * cluster] };
        let l1_entries = virtual_size.div_ceil((cluster * cluster / 8) as u64);
        image.set(0, b"QFI\xfb");
        image.set(4, &3_u32.to_be_bytes());
        image.set(20, &cluster_bits.to_be_bytes());
        image.set(24, &virtual_size.to_be_bytes());
        image.set(36, &u32::try_from(l1_entries).unwrap().to_be_bytes());
        image.set(40, &(cluster as u64).to_be_bytes());
        image.set(48, &(2 * cluster as u64).to_be_bytes());
        image.set(56, &1_u32.to_be_bytes());
        image.set(96, &4_u32.to_be_bytes());
        image.set(100, &104_u32.to_be_bytes());
        image
    }

    /// Overwrites what lies at `at`.
    pub(super) fn set(&mut self, at: usize, bytes: &[u8]) -> &mut Self {
        self.file[at..at + bytes.len()].copy_from_slice(bytes);
        self
    }

    pub(super) fn number(&mut self, at: usize, number: u64) -> &mut Self {
        self.set(at, &number.to_be_bytes())
    }

    pub(super) fn l1(&mut self, index: usize, table: u64) -> &mut Self {
        self.number(self.cluster + index * 8, table)
    }

    pub(super) fn l2(&mut self, table: u64, index: usize, entry: u64) -> &mut Self {
        self.number(usize::try_from(table).unwrap() + index * 8, entry)
    }

    /// Adds a cluster that begins with `bytes`, and says where.
    pub(super) fn cluster(&mut self, bytes: &[u8]) -> u64 {
        let at = self.file.len().next_multiple_of(self.cluster);
        self.file.resize(at + self.cluster.max(bytes.len()), 0);
        self.set(at, bytes);
        at as u64
    }

    /// Adds a cluster full of one byte.
    pub(super) fn full_of(&mut self, byte: u8) -> u64 {
        self.cluster(&vec![byte; self.cluster])
    }

    /// The entry for a compressed cluster at `host` that takes `length` bytes.
    pub(super) fn compressed(&self, host: u64, length: usize) -> u64 {
        let sectors = (host % 512 + length as u64).div_ceil(512) - 1;
        COMPRESSED | sectors << (62 - (self.cluster.ilog2() - 8)) | host
    }
}

/// Deflates without the header of zlib.
pub(super) fn deflate(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Bytes that do not compress to nothing.
pub(super) fn text(length: usize) -> Vec<u8> {
    (0_u64..)
        .flat_map(|n| (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40).to_string().into_bytes())
        .take(length)
        .collect()
}
