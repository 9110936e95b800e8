//! What can be wrong with a qcow2 image.

use std::fmt;

use crate::wire::{Coded, ErrorCode};

/// What a qcow2 image is refused for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Qcow2Flaw {
    /// It is not qcow2 at all, or of a version that there is not.
    #[error("has the qcow2 version {found}; expected 2 or 3: {CONVERT}")]
    Version {
        /// The version it says it has.
        found: u32,
    },

    /// A number in the header makes no sense.
    #[error("has the {field} {found} in its qcow2 header; expected {expected}: {REPLACE}")]
    Field {
        /// The field, as the specification names it.
        field: &'static str,
        /// What it may be.
        expected: String,
        /// What it is.
        found: u64,
    },

    /// An entry of a table makes no sense.
    #[error(
        "has the qcow2 {table} entry {found:#018x} at byte {at} of the file; expected {expected}: {REPLACE}"
    )]
    Entry {
        /// Of which table.
        table: Table,
        /// Where the entry lies in the file, in bytes.
        at: u64,
        /// What it may be.
        expected: &'static str,
        /// What it is: the entry, or its bitmap where that is at fault.
        found: u64,
    },

    /// The file ends before a table does.
    #[error("ends before byte {end}, up to which there should be a part of its qcow2 {table}: {REPLACE}")]
    TableBehindEnd {
        /// Which table.
        table: Table,
        /// The first byte after the part of it that is missing.
        end: u64,
    },

    /// Content of the disk lies where there is no file any more.
    #[error(
        "ends at byte {length}, but the content of its disk at byte {guest} lies at byte {host}: {REPLACE}"
    )]
    DataBehindEnd {
        /// Where the cluster lies in the file, in bytes.
        host: u64,
        /// Where the content belongs on the disk, in bytes.
        guest: u64,
        /// The length of the file.
        length: u64,
    },

    /// A compressed cluster does not hold one cluster.
    #[error(
        "has a compressed cluster of {packed} bytes at byte {host} of the file, for byte {guest} of the disk, that {problem}; expected {expected} bytes by {compression}: {REPLACE}"
    )]
    Compressed {
        /// Where the cluster lies in the file, in bytes.
        host: u64,
        /// How long it may be there, in bytes.
        packed: u32,
        /// Where the content belongs on the disk, in bytes.
        guest: u64,
        /// What is wrong with it.
        problem: String,
        /// Bytes of a cluster.
        expected: usize,
        /// By what it is compressed.
        compression: Compression,
    },

    /// Whoever wrote it last found it damaged.
    #[error(
        "is marked as corrupt in its qcow2 header: repair it with `qemu-img check -r all` where it was made"
    )]
    MarkedCorrupt,

    /// Its content is partly in another file.
    #[error(
        "has a backing file, which is never opened; expected an image on its own: make one with `qemu-img convert -O qcow2`, or `qemu-img rebase -b \"\"`"
    )]
    BackingFile,

    /// Its content is in another file.
    #[error(
        "has its data in an external file, which is never opened; expected an image on its own: make one with `qemu-img convert -O qcow2`"
    )]
    DataFile,

    /// It is encrypted.
    #[error("is encrypted (crypt_method {method}); expected an image that is not: {CONVERT}")]
    Encrypted {
        /// The method.
        method: u32,
    },

    /// It uses features that are not known.
    #[error("has incompatible qcow2 features that are not known: {features}; {CONVERT}")]
    Features {
        /// Their bits, and their names where the image tells them.
        features: String,
    },

    /// It is compressed by something else.
    #[error("has the qcow2 compression type {found}; expected 0 (zlib) or 1 (zstd): {CONVERT}")]
    CompressionType {
        /// The type.
        found: u8,
    },

    /// A map of it would not fit into the memory that there is for it.
    #[error(
        "is in more than {limit} pieces, for which there is no memory: put it in order with `qemu-img convert -O qcow2`"
    )]
    Fragmented {
        /// The most pieces that are taken.
        limit: usize,
    },

    /// What was read of it first is not what came then.
    #[error("has another qcow2 {what} than a moment ago: it was replaced while it was fetched")]
    Changed {
        /// What changed.
        what: &'static str,
    },
}

const CONVERT: &str = "convert it with `qemu-img convert -O qcow2`";
const REPLACE: &str = "the image is damaged, make it anew";

impl Qcow2Flaw {
    pub(super) fn field(field: &'static str, expected: impl Into<String>, found: impl Into<u64>) -> Self {
        Self::Field { field, expected: expected.into(), found: found.into() }
    }
}

impl Coded for Qcow2Flaw {
    fn code(&self) -> ErrorCode {
        match self {
            Self::Field { .. }
            | Self::Entry { .. }
            | Self::TableBehindEnd { .. }
            | Self::DataBehindEnd { .. }
            | Self::Compressed { .. }
            | Self::MarkedCorrupt => ErrorCode::ImageCorrupt,
            Self::Version { .. }
            | Self::BackingFile
            | Self::DataFile
            | Self::Encrypted { .. }
            | Self::Features { .. }
            | Self::CompressionType { .. }
            | Self::Fragmented { .. } => ErrorCode::ImageUnsupported,
            Self::Changed { .. } => ErrorCode::HttpChanged,
        }
    }
}

/// A table of a qcow2 image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Table {
    /// The header in the first cluster.
    Header,
    /// The table of L2 tables.
    L1,
    /// A table of clusters.
    L2,
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Header => "header",
            Self::L1 => "L1 table",
            Self::L2 => "L2 table",
        })
    }
}

/// By what the compressed clusters of an image are compressed: all of them by the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// Deflate, without the header of zlib.
    Zlib,
    /// Zstandard.
    Zstd,
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Zlib => "zlib",
            Self::Zstd => "zstd",
        })
    }
}
