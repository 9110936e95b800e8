//! What comes out of a command.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::inventory::Inventory;
use super::{Digest, ErrorReport};

/// What came out, by verb.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Output {
    /// Of `inspect`.
    Inventory(Box<Inventory>),
    /// Of `clean`.
    Clean(CleanReport),
    /// Of `deploy`.
    Deploy(Box<DeployReport>),
    /// Of `noop`.
    Noop {},
}

/// The steps of every handler. Metrics have no label for a step that is not among them.
pub const STEP_NAMES: &[&str] = &[
    "collect_inventory",
    "choose_devices",
    "erase_devices_metadata",
    "erase_devices",
    "choose_root_device",
    "write_image",
    "verify_partitions",
    "flush",
    "noop",
];

/// How a step ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StepOutcome {
    /// It was done.
    Succeeded,
    /// It failed.
    Failed,
    /// It was stopped on request.
    Cancelled,
    /// An outcome that this reader is too old to know.
    #[serde(other)]
    Unknown,
}

/// One step of a command.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StepReport {
    /// The name.
    pub name: String,
    /// How it ended.
    pub outcome: StepOutcome,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// How many bytes it moved.
    #[serde(default)]
    pub bytes: u64,
    /// What went wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorReport>,
}

/// What tells one disk from another, whatever the kernel calls it today.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DiskIdentity {
    /// The path by which it was opened, for people: it may be another one after the next boot.
    pub name: String,
    /// Bytes.
    pub size: u64,
    /// Serial number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial: Option<String>,
    /// World Wide Name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wwn: Option<String>,
    /// The link in `/dev/disk/by-path`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by_path: Option<String>,
}

/// What cleaning did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CleanReport {
    /// One entry for each step and disk, in the order in which they were done.
    pub devices: Vec<EraseReport>,
    /// Disks that were left alone because the skip list names them.
    pub skipped: Vec<DiskIdentity>,
}

/// How one disk was erased, and the proof.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EraseReport {
    /// The step.
    pub step: super::CleanStep,
    /// The disk.
    pub device: DiskIdentity,
    /// The method that really ran.
    pub method: EraseMethod,
    /// Methods that were tried before it and what they said.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tried: Vec<String>,
    /// Bytes that were erased.
    pub bytes_erased: u64,
    /// How it was shown that nothing is left.
    pub proof: EraseProof,
    /// How long it took, proof included, in seconds.
    pub seconds: f64,
}

/// How a disk was erased.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EraseMethod {
    /// The device discarded its blocks (`BLKDISCARD`, or a hole punched into a file) and returns zeros.
    Discard,
    /// The device zeroed its blocks (`BLKZEROOUT`).
    ZeroOut,
    /// Zeros were written over it.
    Overwrite,
    /// A method that this reader is too old to know.
    #[serde(other)]
    Unknown,
}

/// How an erasure was verified.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EraseProof {
    /// Bytes read back from the medium and found to be zero.
    pub bytes_verified: u64,
    /// Whether that is every byte that was erased.
    pub complete: bool,
}

/// What deploying did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DeployReport {
    /// The disk that was written.
    pub root_device: DiskIdentity,
    /// Where the image came from, without credentials and query.
    pub image_source: String,
    /// The format that it was found to have, such as `qcow2`: text, for there will be more of them.
    pub image_format: String,
    /// Bytes received, as served.
    pub image_source_bytes: u64,
    /// Bytes of the disk that it says something about, zeros included.
    pub image_bytes: u64,
    /// The digest of what came.
    pub image_checksum: Digest,
    /// Bytes written in a second, from the first byte requested to the last one durable.
    pub bytes_per_second: u64,
    /// The partitions that the disk has now.
    pub partitions: Vec<Partition>,
    /// Whether the kernel has read the new partition table. Files and devices without partitions have none to read.
    pub partition_table_reread: bool,
    /// Identifiers of the disk that stand on another disk of the node too. Whoever mounts or boots by one of them may get either.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub duplicates: Vec<Duplicate>,
    /// Disks that could not be searched for duplicates.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unexamined: Vec<UnexaminedDisk>,
}

/// An identifier that stands on two disks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Duplicate {
    /// What it identifies.
    pub kind: DuplicateKind,
    /// The identifier, as `blkid` writes it.
    pub value: String,
    /// The partition of the root device that has it. None if it is the disk that has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partition: Option<u32>,
    /// The other disk.
    pub other_disk: DiskIdentity,
    /// The partition there that has it. None if it is the disk that has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub other_partition: Option<u32>,
}

/// What an identifier identifies, by the names of `lsblk` and `blkid`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DuplicateKind {
    /// A partition table: the GUID of a GPT, the identifier of an MBR.
    Ptuuid,
    /// A partition.
    Partuuid,
    /// A file system, a swap area, or a container.
    Uuid,
    /// The same, by the label that people gave it.
    Label,
    /// A kind that this reader is too old to know.
    #[serde(other)]
    Unknown,
}

impl std::fmt::Display for DuplicateKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Ptuuid => "PTUUID",
            Self::Partuuid => "PARTUUID",
            Self::Uuid => "UUID",
            Self::Label => "LABEL",
            Self::Unknown => "unknown",
        })
    }
}

/// A disk of which it is not known whether it has a duplicate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UnexaminedDisk {
    /// The disk.
    pub disk: DiskIdentity,
    /// Why.
    pub error: ErrorReport,
}

/// One partition. An MBR has numbers where a GPT has GUIDs: they are written as `lsblk` does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Partition {
    /// Its number, from 1.
    pub number: u32,
    /// Its type, `PARTTYPE` of lsblk: a GUID, or the number of an MBR such as `0x83`.
    pub type_guid: String,
    /// What tells it from all others, `PARTUUID` of lsblk: a GUID, or the identifier of an MBR and the number of the partition such as
    /// `6c6fab1e-01`.
    pub guid: String,
    /// Its label, which partitions of an MBR do not have.
    pub label: String,
    /// Where it begins, in bytes.
    pub start: u64,
    /// Its size, in bytes.
    pub size: u64,
}
