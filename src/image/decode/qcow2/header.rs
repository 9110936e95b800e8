//! The header of an image: sections "Header", "Additional fields" and "Header extensions" of QEMU's `docs/interop/qcow2.rst`.

use super::flaw::{Compression, Qcow2Flaw, Table};

/// Bytes at the beginning of the file in which the header and its extensions are looked for.
pub(super) const HEADER_READ: u64 = 64 << 10;

const MAGIC: &[u8] = b"QFI\xfb";
const V2_BYTES: u32 = 72;
const V3_BYTES: u32 = 104;
/// The largest L1 table that QEMU itself opens.
const L1_BYTES_MAX: u64 = 32 << 20;
/// What disks are made of, whatever they say: QEMU does not make images with a size that is no multiple of it, and cuts others.
const SECTOR: u64 = 512;

/// Bits of `incompatible_features`.
mod feature {
    pub(super) const DIRTY: u64 = 1 << 0;
    pub(super) const CORRUPT: u64 = 1 << 1;
    pub(super) const DATA_FILE: u64 = 1 << 2;
    pub(super) const COMPRESSION_TYPE: u64 = 1 << 3;
    pub(super) const EXTENDED_L2: u64 = 1 << 4;
    pub(super) const KNOWN: u64 = DIRTY | CORRUPT | DATA_FILE | COMPRESSION_TYPE | EXTENDED_L2;
}

/// What the header says, as far as it matters to a reader that ignores snapshots, bitmaps and reference counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// A cluster has `1 << cluster_bits` bytes. 9 to 21.
    pub(super) cluster_bits: u32,
    /// Length of the disk in bytes, a multiple of 512 and not 0.
    pub(super) virtual_size: u64,
    /// Where the active L1 table begins in the file; a multiple of the cluster.
    pub(super) l1_offset: u64,
    /// How many entries of the L1 table the disk needs; those behind it are for the state of a machine.
    pub(super) l1_entries: u64,
    /// Whether there are flags for zeros in L2 entries: from version 3.
    pub(super) has_zero_flag: bool,
    /// Whether L2 entries have bitmaps of subclusters.
    pub(super) extended_l2: bool,
    /// By what compressed clusters are compressed.
    pub(super) compression: Compression,
}

impl Header {
    /// Reads it from the first bytes of the file: [`HEADER_READ`] of them, or the whole file where that is shorter.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, Qcow2Flaw> {
        let fields = Fields { bytes };
        let magic = fields.array::<4>(0)?;
        if magic != MAGIC {
            return Err(Qcow2Flaw::field(
                "magic",
                format!("{:#x}", magic_number(MAGIC)),
                magic_number(&magic),
            ));
        }
        let version = fields.u32(4)?;
        let (length, features) = match version {
            2 => (V2_BYTES, 0),
            3 => (fields.u32(100)?, fields.u64(72)?),
            found => return Err(Qcow2Flaw::Version { found }),
        };
        // What is refused comes before what makes no sense: an unknown feature may have changed the meaning of any field.
        fields.refuse_features(features, length)?;
        fields.refuse_other_files_and_encryption()?;

        let extended_l2 = features & feature::EXTENDED_L2 != 0;
        let cluster_bits = cluster_bits(fields.u32(20)?, extended_l2)?;
        if version == 3 {
            check_length(length, 1 << cluster_bits)?;
            let refcount_order = fields.u32(96)?;
            if refcount_order > 6 {
                return Err(Qcow2Flaw::field("refcount_order", "6 at most", refcount_order));
            }
        }
        let virtual_size = fields.u64(24)?;
        if virtual_size == 0 || !virtual_size.is_multiple_of(SECTOR) {
            return Err(Qcow2Flaw::field("size", "a multiple of 512 that is not 0", virtual_size));
        }
        let (l1_offset, l1_entries) = fields.l1(cluster_bits, extended_l2, virtual_size)?;
        let compression = fields.compression(features, length)?;
        Ok(Self {
            cluster_bits,
            virtual_size,
            l1_offset,
            l1_entries,
            has_zero_flag: version >= 3,
            extended_l2,
            compression,
        })
    }

    /// Bytes of a cluster.
    pub(super) fn cluster(&self) -> u64 {
        1 << self.cluster_bits
    }
}

fn magic_number(magic: &[u8]) -> u32 {
    magic.iter().fold(0, |number, byte| number << 8 | u32::from(*byte))
}

fn cluster_bits(found: u32, extended_l2: bool) -> Result<u32, Qcow2Flaw> {
    let (smallest, why) = if extended_l2 { (14, " with extended L2 entries") } else { (9, "") };
    if (smallest..=21).contains(&found) {
        return Ok(found);
    }
    Err(Qcow2Flaw::field("cluster_bits", format!("{smallest} to 21{why}"), found))
}

fn check_length(length: u32, cluster: u32) -> Result<(), Qcow2Flaw> {
    if (V3_BYTES..=cluster).contains(&length) && length.is_multiple_of(8) {
        return Ok(());
    }
    let expected = format!("a multiple of 8 from {V3_BYTES} to the cluster size {cluster}");
    Err(Qcow2Flaw::field("header_length", expected, length))
}

/// Bytes of an L2 entry.
pub(super) fn l2_entry_bytes(extended_l2: bool) -> u64 {
    if extended_l2 { 16 } else { 8 }
}

/// The first bytes of the file.
struct Fields<'a> {
    bytes: &'a [u8],
}

impl Fields<'_> {
    fn array<const N: usize>(&self, at: usize) -> Result<[u8; N], Qcow2Flaw> {
        let found = self.bytes.get(at..).and_then(|rest| rest.first_chunk());
        found.copied().ok_or_else(|| Qcow2Flaw::TableBehindEnd { table: Table::Header, end: (at + N) as u64 })
    }

    fn u32(&self, at: usize) -> Result<u32, Qcow2Flaw> {
        self.array(at).map(u32::from_be_bytes)
    }

    fn u64(&self, at: usize) -> Result<u64, Qcow2Flaw> {
        self.array(at).map(u64::from_be_bytes)
    }

    fn refuse_features(&self, features: u64, header_length: u32) -> Result<(), Qcow2Flaw> {
        let unknown = features & !feature::KNOWN;
        if unknown != 0 {
            return Err(Qcow2Flaw::Features { features: self.names(unknown, header_length) });
        }
        if features & feature::CORRUPT != 0 {
            return Err(Qcow2Flaw::MarkedCorrupt);
        }
        if features & feature::DATA_FILE != 0 {
            return Err(Qcow2Flaw::DataFile);
        }
        // A dirty image has wrong reference counts only, and those are not read.
        Ok(())
    }

    fn refuse_other_files_and_encryption(&self) -> Result<(), Qcow2Flaw> {
        if self.u64(8)? != 0 {
            return Err(Qcow2Flaw::BackingFile);
        }
        match self.u32(32)? {
            0 => Ok(()),
            method => Err(Qcow2Flaw::Encrypted { method }),
        }
    }

    fn l1(&self, cluster_bits: u32, extended_l2: bool, virtual_size: u64) -> Result<(u64, u64), Qcow2Flaw> {
        let cluster = 1_u64 << cluster_bits;
        let offset = self.u64(40)?;
        if offset == 0 || !offset.is_multiple_of(cluster) {
            let expected = format!("a multiple of the cluster size {cluster} that is not 0");
            return Err(Qcow2Flaw::field("l1_table_offset", expected, offset));
        }
        let covered = (cluster / l2_entry_bytes(extended_l2)) << cluster_bits;
        let needed = virtual_size.div_ceil(covered);
        let size = u64::from(self.u32(36)?);
        let largest = L1_BYTES_MAX / 8;
        if size < needed || size > largest {
            let expected = format!("{needed} to {largest} entries for a disk of {virtual_size} bytes");
            return Err(Qcow2Flaw::field("l1_size", expected, size));
        }
        Ok((offset, needed))
    }

    fn compression(&self, features: u64, header_length: u32) -> Result<Compression, Qcow2Flaw> {
        // An additional field is there only if the header reaches behind where it begins.
        let [found] = if header_length > V3_BYTES { self.array(V3_BYTES as usize)? } else { [0] };
        let compression = match found {
            0 => Compression::Zlib,
            1 => Compression::Zstd,
            found => return Err(Qcow2Flaw::CompressionType { found }),
        };
        if (features & feature::COMPRESSION_TYPE != 0) == (found != 0) {
            return Ok(compression);
        }
        let expected = "0 without, and not 0 with, the compression type bit of incompatible_features";
        Err(Qcow2Flaw::field("compression_type", expected, found))
    }

    /// Names the bits, as far as the feature name table of the image does.
    fn names(&self, bits: u64, header_length: u32) -> String {
        let table = self.extension(header_length, FEATURE_NAME_TABLE).unwrap_or_default();
        let name = |bit: u8| {
            let entry = table.chunks_exact(48).find(|entry| entry[0] == 0 && entry[1] == bit)?;
            let name = entry[2..].split(|byte| *byte == 0).next().unwrap_or_default();
            Some(format!("bit {bit} (\"{}\")", name.escape_ascii()))
        };
        let set = (0..64).filter(|bit| bits >> bit & 1 != 0);
        let named: Vec<_> = set.map(|bit| name(bit).unwrap_or_else(|| format!("bit {bit}"))).collect();
        named.join(", ")
    }

    /// The data of the first header extension of this type, if it lies where header extensions can be.
    fn extension(&self, header_length: u32, wanted: u32) -> Option<&[u8]> {
        let mut rest = self.bytes.get(header_length as usize..)?;
        loop {
            let (kind, after) = rest.split_first_chunk()?;
            let (length, after) = after.split_first_chunk()?;
            let length = u32::from_be_bytes(*length) as usize;
            match u32::from_be_bytes(*kind) {
                0 => return None,
                kind if kind == wanted => return after.get(..length),
                _ => rest = after.get(length.checked_next_multiple_of(8)?..)?,
            }
        }
    }
}

/// The type of the header extension with the names of features.
const FEATURE_NAME_TABLE: u32 = 0x6803_f857;
