//! How an image is described: its format and its checksum.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::digest::DIGEST_PATTERN;
use super::{BadDigest, BadUrl, Digest, ImageUrl};

/// A format that images come in and that is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ImageFormat {
    /// The bytes of a disk.
    Raw,
    /// QEMU's copy-on-write format, version 2 or 3.
    Qcow2,
    /// The bytes of a disk, compressed with gzip.
    Gzip,
    /// The bytes of a disk, compressed with xz.
    Xz,
    /// The bytes of a disk, compressed with zstd.
    Zstd,
    /// The bytes of a disk, compressed with bzip2.
    Bzip2,
    /// The bytes of a disk, compressed with lz4.
    Lz4,
}

impl ImageFormat {
    /// Every format there is.
    pub const ALL: &[Self] =
        &[Self::Raw, Self::Qcow2, Self::Gzip, Self::Xz, Self::Zstd, Self::Bzip2, Self::Lz4];

    /// The format as text.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Qcow2 => "qcow2",
            Self::Gzip => "gzip",
            Self::Xz => "xz",
            Self::Zstd => "zstd",
            Self::Bzip2 => "bzip2",
            Self::Lz4 => "lz4",
        }
    }
}

impl fmt::Display for ImageFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A format that does not exist.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no image format {found:?}; expected one of raw, qcow2, gzip, xz, zstd, bzip2, lz4")]
pub struct BadImageFormat {
    found: String,
}

impl FromStr for ImageFormat {
    type Err = BadImageFormat;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let known = Self::ALL.iter().copied().find(|format| format.as_str() == text);
        known.ok_or_else(|| BadImageFormat { found: text.to_owned() })
    }
}

/// The digest of an image, or where it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Checksum {
    /// The digest itself.
    Digest(Digest),
    /// A file that names digests of files, as `sha256sum` and its like write them.
    File(ImageUrl),
}

impl Checksum {
    /// The same without credentials and signatures of a URL: what may be shown.
    #[must_use]
    pub fn redacted(&self) -> Self {
        match self {
            Self::Digest(digest) => Self::Digest(*digest),
            Self::File(url) => Self::File(url.redacted()),
        }
    }
}

/// A checksum that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadChecksum {
    /// It is no digest.
    #[error("{0}, or the URL of a checksum file")]
    Digest(#[from] BadDigest),
    /// It is no URL of a checksum file.
    #[error(transparent)]
    Url(#[from] BadUrl),
}

impl FromStr for Checksum {
    type Err = BadChecksum;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.contains("://") { Ok(Self::File(text.parse()?)) } else { Ok(Self::Digest(text.parse()?)) }
    }
}

impl TryFrom<String> for Checksum {
    type Error = BadChecksum;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Checksum> for String {
    fn from(checksum: Checksum) -> Self {
        match checksum {
            Checksum::Digest(digest) => digest.into(),
            Checksum::File(url) => url.into(),
        }
    }
}

impl JsonSchema for Checksum {
    fn schema_name() -> Cow<'static, str> {
        "Checksum".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "A digest: `sha256:`, `sha512:`, `sha1:` or `md5:` and hex digits, or the digits alone; or the http, https or file URL of a checksum file that names the image.",
            "pattern": format!("^({DIGEST_PATTERN}|[a-zA-Z]+://.+)$")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checksum_is_a_digest_or_a_place() {
        assert!(matches!("ab".repeat(32).parse().unwrap(), Checksum::Digest(Digest::Sha256(_))));
        assert!(matches!("https://h/SHA256SUMS?sig=x".parse().unwrap(), Checksum::File(_)));
        assert!("ftp://h/SHA256SUMS".parse::<Checksum>().is_err());
        let error = "abc".parse::<Checksum>().unwrap_err();
        assert!(error.to_string().contains("or the URL of a checksum file"), "{error}");
    }

    #[test]
    fn formats_are_read_as_they_are_written() {
        for format in ImageFormat::ALL {
            assert_eq!(format.to_string().parse::<ImageFormat>().unwrap(), *format);
        }
        assert!("vmdk".parse::<ImageFormat>().unwrap_err().to_string().contains("\"vmdk\""));
    }
}
