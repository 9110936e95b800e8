//! Recognises what a partition holds and by what it is known: the UUID and the label that `blkid` shows. Pure: looks at bytes that
//! somebody else has read.
//!
//! The crates for this are bindings to the C library libblkid, which a static agent has not, or know one format alone. Only what an
//! image of a system has is known here. The formats are, in order of the table: ext4 by the documentation of Linux
//! (`filesystems/ext4/super.rst`), XFS by "XFS Algorithms & Data Structures" (sb), btrfs by the on-disk format in its
//! documentation, FAT by Microsoft's "FAT: General Overview of On-Disk Format" 1.03, swap by `union swap_header` of
//! `linux/swap.h`, LUKS by its on-disk format specifications 1.2.3 and 2 (1.1.2), LVM by `lib/format_text/layout.h` of LVM2.

use uuid::Uuid;

use crate::little_endian::array_at;

/// How much of the beginning of a partition is looked at: the superblock of btrfs begins at 64 KiB, and the mark of a swap area of
/// 64 KiB pages lies right before.
pub(crate) const HEAD_BYTES: usize = 72 << 10;

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Superblock {
    /// What it is, for people.
    pub(crate) kind: &'static str,
    /// Its UUID, or the number that stands for one, as `blkid` writes it.
    pub(crate) uuid: Option<String>,
    /// Its label.
    pub(crate) label: Option<String>,
}

/// Looks at the first [`HEAD_BYTES`] of a partition, or at all of it.
pub(crate) fn probe(head: &[u8]) -> Option<Superblock> {
    let format = FORMATS.iter().find(|format| format.marks.iter().any(|mark| mark.is_in(head)))?;
    Some(Superblock {
        kind: format.kind,
        uuid: format.uuid.read(head),
        label: format.label.and_then(|(at, length)| text(head.get(at..at + length)?)),
    })
}

/// A format and where it keeps what.
struct Format {
    kind: &'static str,
    /// Any of these makes it one.
    marks: &'static [Mark],
    uuid: Id,
    /// Where the label begins, and its bytes.
    label: Option<(usize, usize)>,
}

/// Bytes at a place.
struct Mark(usize, &'static [u8]);

impl Mark {
    fn is_in(&self, head: &[u8]) -> bool {
        head.get(self.0..).is_some_and(|rest| rest.starts_with(self.1))
    }
}

/// Where a UUID is, and how it is written.
enum Id {
    /// Sixteen bytes.
    Binary(usize),
    /// Text of so many bytes.
    Text(usize, usize),
    /// The volume serial number of a FAT.
    Serial(usize),
    /// In the header of a physical volume, to which one of the first four sectors leads.
    PhysicalVolume,
}

/// LUKS has to be before what may be left of older file systems behind its header, FAT with its weak mark last.
const FORMATS: &[Format] = &[
    Format {
        kind: "LUKS1 container",
        marks: &[Mark(0, b"LUKS\xba\xbe\0\x01")],
        uuid: Id::Text(168, 40),
        label: None,
    },
    Format {
        kind: "LUKS2 container",
        marks: &[Mark(0, b"LUKS\xba\xbe\0\x02")],
        uuid: Id::Text(168, 40),
        label: Some((24, 48)),
    },
    Format {
        kind: "LVM physical volume",
        marks: &[
            Mark(24, LVM_TYPE),
            Mark(512 + 24, LVM_TYPE),
            Mark(1024 + 24, LVM_TYPE),
            Mark(1536 + 24, LVM_TYPE),
        ],
        uuid: Id::PhysicalVolume,
        label: None,
    },
    Format {
        kind: "swap area",
        marks: &[
            Mark((4 << 10) - SWAP.len(), SWAP),
            Mark((8 << 10) - SWAP.len(), SWAP),
            Mark((16 << 10) - SWAP.len(), SWAP),
            Mark((64 << 10) - SWAP.len(), SWAP),
        ],
        uuid: Id::Binary(1024 + 12),
        label: Some((1024 + 28, 16)),
    },
    Format {
        kind: "XFS file system",
        marks: &[Mark(0, b"XFSB")],
        uuid: Id::Binary(32),
        label: Some((108, 12)),
    },
    Format {
        kind: "btrfs file system",
        marks: &[Mark((64 << 10) + 64, b"_BHRfS_M")],
        uuid: Id::Binary((64 << 10) + 32),
        label: Some(((64 << 10) + 299, 256)),
    },
    Format {
        kind: "ext2, ext3 or ext4 file system",
        marks: &[Mark(1024 + 56, b"\x53\xef")],
        uuid: Id::Binary(1024 + 104),
        label: Some((1024 + 120, 16)),
    },
    Format {
        kind: "FAT32 file system",
        marks: &[Mark(82, b"FAT32   ")],
        uuid: Id::Serial(67),
        label: Some((71, 11)),
    },
    Format {
        kind: "FAT file system",
        marks: &[Mark(54, b"FAT12   "), Mark(54, b"FAT16   "), Mark(54, b"FAT     ")],
        uuid: Id::Serial(39),
        label: Some((43, 11)),
    },
];

const SWAP: &[u8] = b"SWAPSPACE2";
const LVM_TYPE: &[u8] = b"LVM2 001";
/// What a FAT without a label has for one.
const NO_NAME: &str = "NO NAME";

impl Id {
    fn read(&self, head: &[u8]) -> Option<String> {
        match *self {
            Self::Binary(at) => {
                let bytes = head.get(at..at + 16)?;
                let uuid = Uuid::from_bytes(array_at(bytes, 0));
                (!uuid.is_nil()).then(|| uuid.to_string())
            }
            Self::Text(at, length) => text(head.get(at..at + length)?),
            Self::Serial(at) => {
                let bytes = head.get(at..at + 4)?;
                let serial = hex::encode_upper([bytes[3], bytes[2], bytes[1], bytes[0]]);
                (serial != "00000000").then(|| format!("{}-{}", &serial[..4], &serial[4..]))
            }
            Self::PhysicalVolume => physical_volume(head),
        }
    }
}

/// A label sector says how far behind its beginning the header of the physical volume is, which begins with 32 characters.
fn physical_volume(head: &[u8]) -> Option<String> {
    let label = head.get(..2048)?.chunks_exact(512).find(|sector| sector[24..].starts_with(LVM_TYPE))?;
    let offset = usize::try_from(crate::little_endian::u32_at(label, 20)).ok()?;
    let id = text(label.get(offset..offset.checked_add(32)?)?)?;
    let mut parts = Vec::new();
    let mut rest = &*id;
    for length in [6, 4, 4, 4, 4, 4, 6] {
        let (part, behind) = rest.split_at_checked(length)?;
        parts.push(part);
        rest = behind;
    }
    Some(parts.join("-"))
}

/// Text that ends with its field, or with a zero or blanks before.
fn text(field: &[u8]) -> Option<String> {
    let end = field.iter().position(|byte| *byte == 0).unwrap_or(field.len());
    let text = String::from_utf8_lossy(&field[..end]);
    let text = text.trim_end_matches(' ');
    (!text.is_empty() && text != NO_NAME).then(|| text.to_owned())
}
