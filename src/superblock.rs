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
    let format = FORMATS
        .iter()
        .find(|format| format.marks.iter().any(|marks| marks.iter().all(|mark| mark.is_in(head))))?;
    Some(Superblock {
        kind: format.kind,
        uuid: format.uuid.read(head),
        label: format.label.and_then(|(at, length)| text(head.get(at..at + length)?)),
    })
}

/// A format and where it keeps what.
struct Format {
    kind: &'static str,
    /// All of any of these make it one.
    marks: &'static [&'static [Mark]],
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
        marks: &[&[Mark(0, b"LUKS\xba\xbe\0\x01")]],
        uuid: Id::Text(168, 40),
        label: None,
    },
    Format {
        kind: "LUKS2 container",
        marks: &[&[Mark(0, b"LUKS\xba\xbe\0\x02")]],
        uuid: Id::Text(168, 40),
        label: Some((24, 48)),
    },
    Format {
        kind: "LVM physical volume",
        marks: &[
            &[Mark(24, LVM_TYPE)],
            &[Mark(512 + 24, LVM_TYPE)],
            &[Mark(1024 + 24, LVM_TYPE)],
            &[Mark(1536 + 24, LVM_TYPE)],
        ],
        uuid: Id::PhysicalVolume,
        label: None,
    },
    Format {
        kind: "swap area",
        marks: &[
            &[Mark((4 << 10) - SWAP.len(), SWAP)],
            &[Mark((8 << 10) - SWAP.len(), SWAP)],
            &[Mark((16 << 10) - SWAP.len(), SWAP)],
            &[Mark((64 << 10) - SWAP.len(), SWAP)],
        ],
        uuid: Id::Binary(1024 + 12),
        label: Some((1024 + 28, 16)),
    },
    Format {
        kind: "XFS file system",
        marks: &[&[Mark(0, b"XFSB")]],
        uuid: Id::Binary(32),
        label: Some((108, 12)),
    },
    Format {
        kind: "btrfs file system",
        marks: &[&[Mark((64 << 10) + 64, b"_BHRfS_M")]],
        uuid: Id::Binary((64 << 10) + 32),
        label: Some(((64 << 10) + 299, 256)),
    },
    Format {
        kind: "ext2, ext3 or ext4 file system",
        // Two bytes are found anywhere: a small revision and a sane block size beside them are not.
        marks: &[&[Mark(1024 + 25, b"\0\0\0"), Mark(1024 + 56, b"\x53\xef"), Mark(1024 + 77, b"\0\0\0")]],
        uuid: Id::Binary(1024 + 104),
        label: Some((1024 + 120, 16)),
    },
    Format {
        kind: "FAT32 file system",
        marks: &[&[Mark(82, b"FAT32   ")]],
        uuid: Id::Serial(67),
        label: Some((71, 11)),
    },
    Format {
        kind: "FAT file system",
        marks: &[&[Mark(54, b"FAT12   ")], &[Mark(54, b"FAT16   ")], &[Mark(54, b"FAT     ")]],
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

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::path::Path;
    use std::process::Command;

    use proptest::prelude::*;

    use super::*;

    const UUID: &str = "6c6fab1e-0000-4000-8000-00000000000a";

    /// What a tool makes of an empty file of so many MiB.
    fn made(program: &str, arguments: &[&str], mib: u64) -> (tempfile::NamedTempFile, Vec<u8>) {
        let file = tempfile::NamedTempFile::new().unwrap();
        File::options().write(true).open(&file).unwrap().set_len(mib << 20).unwrap();
        let output = tool(program).args(arguments).arg(file.path()).output();
        let output = output.unwrap_or_else(|error| panic!("cannot start {program}: {error}"));
        assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
        let mut bytes = fs::read(&file).unwrap();
        bytes.truncate(HEAD_BYTES);
        (file, bytes)
    }

    fn tool(program: &str) -> Command {
        let mut command = Command::new(program);
        command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        command
    }

    /// The same as `blkid` finds it.
    fn by_blkid(path: &Path) -> (Option<String>, Option<String>) {
        let output = tool("blkid").args(["--probe", "--output", "export"]).arg(path).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        // Blanks are escaped.
        let value =
            |name| text.lines().find_map(|line| line.strip_prefix(name)).map(|value| value.replace('\\', ""));
        (value("UUID="), value("LABEL="))
    }

    #[test]
    fn what_tools_make_is_found_as_blkid_finds_it() {
        let key = tempfile::NamedTempFile::new().unwrap();
        fs::write(&key, "secret").unwrap();
        let luks =
            ["luksFormat", "--batch-mode", "--uuid", UUID, "--pbkdf-force-iterations", "1000", "--key-file"];
        let luks1 = [&luks[..], &[key.path().to_str().unwrap(), "--type", "luks1"]].concat();
        let luks2 = ["--type", "luks2", "--pbkdf", "pbkdf2", "--label", "crypt"];
        let luks2 = [&luks[..], &[key.path().to_str().unwrap()], &luks2].concat();
        let cases: &[(&str, &[&str], u64, &str, bool)] = &[
            (
                "mke2fs",
                &["-q", "-t", "ext2", "-U", UUID, "-L", "sixteen-letters!"],
                8,
                "ext2, ext3 or ext4 file system",
                true,
            ),
            ("mke2fs", &["-q", "-t", "ext4", "-b", "4096"], 16, "ext2, ext3 or ext4 file system", false),
            ("mkfs.xfs", &["-q", "-m", &format!("uuid={UUID}"), "-L", "root"], 512, "XFS file system", true),
            ("mkfs.btrfs", &["-q", "-U", UUID, "-L", "a label of btrfs"], 128, "btrfs file system", true),
            ("mkfs.vfat", &["-F", "12", "-i", "6c6fab1e", "-n", "ESP"], 4, "FAT file system", true),
            ("mkfs.vfat", &["-F", "16", "-n", "TWO WORDS"], 16, "FAT file system", true),
            ("mkfs.vfat", &["-F", "32", "-i", "000000ab"], 64, "FAT32 file system", false),
            ("mkswap", &["-q", "-U", UUID, "-L", "swap"], 4, "swap area", true),
            ("mkswap", &["-q", "-p", "65536"], 4, "swap area", false),
            ("cryptsetup", &luks1, 32, "LUKS1 container", false),
            ("cryptsetup", &luks2, 32, "LUKS2 container", true),
        ];
        for (program, arguments, mib, kind, has_label) in cases {
            let (file, head) = made(program, arguments, *mib);
            let found = probe(&head).unwrap_or_else(|| panic!("{kind} is not found"));
            assert_eq!((found.kind, found.label.is_some()), (*kind, *has_label), "{found:?}");
            assert!(found.uuid.is_some(), "{found:?}");
            assert_eq!((found.uuid, found.label), by_blkid(file.path()), "{kind}");
        }
    }

    #[test]
    fn a_physical_volume_is_found_as_blkid_finds_it() {
        // As `pvcreate` writes it: the label in the second sector, the header right behind the label's own fields.
        // On less `blkid` looks for no volumes.
        let mut bytes = vec![0; 2 << 20];
        let label = &mut bytes[512..1024];
        label[..8].copy_from_slice(b"LABELONE");
        label[8..16].copy_from_slice(&1_u64.to_le_bytes());
        label[20..24].copy_from_slice(&32_u32.to_le_bytes());
        label[24..32].copy_from_slice(LVM_TYPE);
        label[32..64].copy_from_slice(b"aaaaaaBBBBccccDDDDeeeeFFFF012345");
        // A checksum by a polynomial of its own, of everything from the offset on; see `lib/misc/crc.c` of LVM2.
        let checksum = label[20..].iter().fold(0xf597_a6cf_u32, |crc, byte| {
            (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xedb8_8320 * (crc & 1)))
        });
        label[16..20].copy_from_slice(&checksum.to_le_bytes());
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(&file, &bytes).unwrap();
        let found = probe(&bytes[..HEAD_BYTES]).unwrap();
        assert_eq!(found.uuid.as_deref(), Some("aaaaaa-BBBB-cccc-DDDD-eeee-FFFF-012345"));
        assert_eq!((found.uuid, found.label), by_blkid(file.path()));
    }

    #[test]
    fn zeros_and_short_partitions_are_nothing() {
        assert_eq!(probe(&[0; HEAD_BYTES]), None);
        assert_eq!(probe(&[]), None);
        let (_file, head) = made("mke2fs", &["-q"], 8);
        assert_eq!(probe(&head[..1024]), None);
    }

    proptest! {
        #[test]
        fn never_panics(format in 0..FORMATS.len(), mark in 0..8_usize, length in 0..HEAD_BYTES, fill in any::<u8>()) {
            let mut head = vec![fill; HEAD_BYTES];
            let marks = FORMATS[format].marks;
            for Mark(at, bytes) in marks[mark % marks.len()] {
                head[*at..at + bytes.len()].copy_from_slice(bytes);
            }
            head.truncate(length);
            let _ = probe(&head);
        }
    }
}
