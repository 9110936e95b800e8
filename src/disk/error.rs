//! What can go wrong with a disk.

use std::io;
use std::path::PathBuf;

use nix::libc;

use crate::meter::Cancelled;
use crate::partition_table::Problem;
use crate::wire::{Coded, ErrorCode};

/// A disk cannot be found, chosen, opened, erased or read.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// Told to stop.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),

    /// Outside a RAM disk, and no disk was named to this process.
    #[error(
        "no disk may be touched: this system is no RAM disk of Farrier's, and no disk was named to it with --lab-disk; name each file or device that stands for a disk"
    )]
    NoLabDisks,

    /// A disk named with `--lab-disk` is not there.
    #[error("lab disk {path} cannot be found; make it, or correct --lab-disk")]
    LabDiskMissing {
        /// As it was named.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },

    /// What was named with `--lab-disk` is no disk.
    #[error("lab disk {path} is {found}; expected a regular file or a whole block device")]
    LabDiskUnfit {
        /// As it was named.
        path: PathBuf,
        /// What it is.
        found: &'static str,
    },

    /// Two of the names given with `--lab-disk` lead to the same disk.
    #[error("lab disks {first} and {second} are the same disk; name each disk once")]
    LabDiskTwice {
        /// One name.
        first: PathBuf,
        /// The other.
        second: PathBuf,
    },

    /// The disk is none of those given to this process.
    #[error("{disk} is none of the disks that were given to this process ({given}); it is left alone")]
    NotAllowed {
        /// The disk.
        disk: String,
        /// Which disks were given.
        given: String,
    },

    /// Mounted, or held by another.
    #[error("{disk} is in use: {by}; it is left alone. Release it, or name it in skip_block_devices")]
    InUse {
        /// The disk.
        disk: String,
        /// By what.
        by: String,
    },

    /// It cannot be written.
    #[error("{disk} is read-only: {why}; make it writable, or name it in skip_block_devices")]
    ReadOnly {
        /// The disk.
        disk: String,
        /// What says so.
        why: String,
    },

    /// It is no longer the disk that was chosen.
    #[error(
        "{disk} is no longer the disk that was chosen: its {what} was {expected} and is {found}; nothing more is written to it"
    )]
    Changed {
        /// The disk.
        disk: String,
        /// What differs.
        what: &'static str,
        /// What it was when the disk was chosen.
        expected: String,
        /// What it is.
        found: String,
    },

    /// A read, a write or a flush failed.
    #[error("cannot {action} {disk}{}{}", at(*offset), advice(source))]
    Io {
        /// The disk.
        disk: String,
        /// What was to be done: a verb.
        action: &'static str,
        /// Where, in bytes.
        offset: Option<u64>,
        /// Why.
        source: io::Error,
    },

    /// The kernel does not say what it must about its disks.
    #[error("cannot read {path}, by which the kernel tells of its disks; is it mounted?")]
    Kernel {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },

    /// A root device hint cannot be used.
    #[error("root device hint {hint} = {value:?}: {reason}")]
    BadHint {
        /// Its name.
        hint: &'static str,
        /// Its value.
        value: String,
        /// What was expected, and what to do.
        reason: String,
    },

    /// No disk fits.
    #[error("no disk fits the root device hints; {verdicts}")]
    NoRootDevice {
        /// Every candidate and why it does not fit.
        verdicts: String,
    },

    /// More than one disk fits.
    #[error("more than one disk fits the root device hints; give one that only one disk fits; {verdicts}")]
    AmbiguousRootDevice {
        /// Every candidate and whether it fits.
        verdicts: String,
    },

    /// It was erased and does not read as zeros.
    #[error(
        "{disk} was erased and byte {offset} still reads 0x{found:02x}; expected zeros alone. Treat it as not erased"
    )]
    EraseNotProven {
        /// The disk.
        disk: String,
        /// The first byte that is not zero.
        offset: u64,
        /// What it is.
        found: u8,
    },

    /// It has no partition table, or one that is of no use on it.
    #[error("{disk} {problem}")]
    BadPartitionTable {
        /// The disk.
        disk: String,
        /// What is wrong.
        problem: Problem,
    },
}

impl Coded for DiskError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::Cancelled(_) => ErrorCode::Cancelled,
            Self::NoLabDisks => ErrorCode::NoLabDisks,
            Self::LabDiskMissing { .. } | Self::LabDiskUnfit { .. } | Self::LabDiskTwice { .. } => {
                ErrorCode::BadConfig
            }
            Self::NotAllowed { .. } => ErrorCode::DeviceNotAllowed,
            Self::InUse { .. } => ErrorCode::DeviceInUse,
            Self::ReadOnly { .. } => ErrorCode::DeviceReadOnly,
            Self::Changed { .. } => ErrorCode::DeviceChanged,
            Self::Io { .. } => ErrorCode::DeviceIo,
            Self::Kernel { .. } => ErrorCode::Hardware,
            Self::BadHint { .. } => ErrorCode::BadHint,
            Self::NoRootDevice { .. } => ErrorCode::NoRootDevice,
            Self::AmbiguousRootDevice { .. } => ErrorCode::AmbiguousRootDevice,
            Self::EraseNotProven { .. } => ErrorCode::EraseNotProven,
            Self::BadPartitionTable { .. } => ErrorCode::ImageNotBootable,
        }
    }
}

fn advice(error: &io::Error) -> &'static str {
    match error.raw_os_error() {
        Some(libc::ENOENT | libc::ENXIO | libc::ENODEV) => "; it is gone",
        Some(libc::EIO | libc::EREMOTEIO | libc::ETIMEDOUT) => {
            "; it may be failing, see the log of the kernel"
        }
        _ => "",
    }
}

fn at(offset: Option<u64>) -> String {
    offset.map_or_else(String::new, |offset| format!(" at byte {offset}"))
}
