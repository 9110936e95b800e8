//! Why a disk with such a partition table would be of no use.

use super::GptFault;

/// What is wrong with the partition table of an image or a disk. The text goes on after the name of that: `… has a GPT for …`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// A GPT for sectors of another size.
    #[error(
        "has a GPT for sectors of {found} bytes, and the disk has sectors of {expected} bytes; use an image made for sectors of {expected} bytes, or a disk with sectors of {found} bytes"
    )]
    OtherSectors {
        /// Bytes in a sector by the table.
        found: u32,
        /// Bytes in a logical sector of the disk.
        expected: u32,
    },

    /// Partitions of an MBR, which does not say for what sectors it is, that lead nowhere with the sectors of the disk.
    #[error(
        "has an MBR for sectors of {found} bytes, by the {filesystem} of its partition {partition}, and the disk has sectors of {expected} bytes; use an image made for sectors of {expected} bytes, or a disk with sectors of {found} bytes"
    )]
    OtherSectorsOfMbr {
        /// Bytes in a sector by what is found at the beginning of a partition.
        found: u32,
        /// Bytes in a logical sector of the disk.
        expected: u32,
        /// The partition.
        partition: u32,
        /// What is found where it begins then.
        filesystem: &'static str,
    },

    /// A GPT that is damaged or does not fit the disk.
    #[error("has a GPT that makes no sense on this disk: {0}; the image is damaged, or for a larger disk")]
    Gpt(GptFault),

    /// A GPT that is sound and lists nothing.
    #[error("has a GPT without partitions; expected at least one")]
    EmptyGpt,

    /// Entries that are not where they are looked for.
    #[error(
        "has a GPT whose entries end at byte {end}; expected them in the first {limit} bytes, with the header"
    )]
    EntriesElsewhere {
        /// Where they end.
        end: u64,
        /// How much of the disk is looked at.
        limit: u64,
    },

    /// An MBR that announces what is not there.
    #[error("has a protective MBR without the GPT that it announces; expected that in the second sector")]
    NoGpt,

    /// A GPT that nobody looks for.
    #[error(
        "has a GPT without a protective MBR, so that no firmware or kernel looks for it; make the image anew"
    )]
    Unprotected,

    /// There is no room for the copy of a GPT.
    #[error(
        "has a GPT of which no copy fits at the end of the disk: its partitions end in sector {last_used}, and the copy begins in sector {copy}; choose a larger disk"
    )]
    NoRoomForCopy {
        /// The last sector of a partition.
        last_used: u64,
        /// The first sector of the copy.
        copy: u64,
    },

    /// A partition of an MBR that does not fit the disk.
    #[error(
        "has an MBR whose partition {number} ends at byte {end}, behind the end of the disk at {capacity}; choose a larger disk"
    )]
    BehindDisk {
        /// The partition.
        number: u32,
        /// Where it ends.
        end: u64,
        /// Bytes of the disk.
        capacity: u64,
    },

    /// A file system where a partition table should be.
    #[error("has no partition table: it is a single {filesystem}; expected the image of a whole disk")]
    SingleFilesystem {
        /// What it is.
        filesystem: &'static str,
    },

    /// An MBR without partitions.
    #[error(
        "has a boot sector that lists no partition, as file systems and empty disks have one; expected a GPT or an MBR with at least one partition"
    )]
    EmptyMbr,

    /// No table at all.
    #[error("has neither a GPT nor an MBR; expected the image of a whole disk")]
    None,
}

impl Problem {
    /// Whether there just is no partition table, rather than one that is of no use.
    #[must_use]
    pub fn is_absence(&self) -> bool {
        matches!(self, Self::None | Self::EmptyMbr | Self::EmptyGpt | Self::SingleFilesystem { .. })
    }
}
