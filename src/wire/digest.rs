//! A digest as operators write it.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::DecodeError;

/// An algorithm that makes digests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DigestAlgorithm {
    /// SHA-256.
    Sha256,
    /// SHA-512.
    Sha512,
    /// MD5. Broken: only where the operator allows it.
    Md5,
    /// SHA-1. Broken: only where the operator allows it.
    Sha1,
}

impl DigestAlgorithm {
    /// Every algorithm there is.
    pub const ALL: &[Self] = &[Self::Sha256, Self::Sha512, Self::Md5, Self::Sha1];

    /// The name, as it stands before a digest.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
            Self::Md5 => "md5",
            Self::Sha1 => "sha1",
        }
    }

    /// Bytes of a digest.
    #[must_use]
    pub fn bytes(self) -> usize {
        match self {
            Self::Sha256 => 32,
            Self::Sha512 => 64,
            Self::Md5 => 16,
            Self::Sha1 => 20,
        }
    }

    /// Whether an attacker can make two images of the same digest.
    #[must_use]
    pub fn is_weak(self) -> bool {
        matches!(self, Self::Md5 | Self::Sha1)
    }

    /// The algorithm of this name, in any case; `SHA-256` and `sha256` are the same.
    #[must_use]
    pub fn by_name(name: &str) -> Option<Self> {
        let name = name.to_ascii_lowercase().replace('-', "");
        Self::ALL.iter().copied().find(|algorithm| algorithm.as_str() == name)
    }

    fn by_length(bytes: usize) -> Option<Self> {
        Self::ALL.iter().copied().find(|algorithm| algorithm.bytes() == bytes)
    }
}

impl fmt::Display for DigestAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A digest, written `<algorithm>:<hex digits>`, or as the bare hex digits whose number tells the algorithm, in any case.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Digest {
    /// Of SHA-256.
    Sha256([u8; 32]),
    /// Of SHA-512.
    Sha512([u8; 64]),
    /// Of MD5.
    Md5([u8; 16]),
    /// Of SHA-1.
    Sha1([u8; 20]),
}

/// A digest that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "not a digest: {found:?}; expected <algorithm>:<hex digits> of sha256, sha512, sha1 or md5, or the hex digits alone"
)]
pub struct BadDigest {
    found: String,
}

impl Digest {
    /// Reads the hex digits of a digest by `algorithm`, in any case.
    ///
    /// # Errors
    /// When they are not as many as that algorithm makes, or no hex digits.
    pub fn from_hex(algorithm: DigestAlgorithm, digits: &str) -> Result<Self, BadDigest> {
        let bad = || BadDigest { found: format!("{algorithm}:{digits}") };
        let bytes = hex::decode(digits).map_err(|_| bad())?;
        Self::from_bytes(algorithm, &bytes).ok_or_else(bad)
    }

    /// The digest that these bytes are; nothing if they are not as many as `algorithm` makes.
    #[must_use]
    pub fn from_bytes(algorithm: DigestAlgorithm, bytes: &[u8]) -> Option<Self> {
        Some(match algorithm {
            DigestAlgorithm::Sha256 => Self::Sha256(bytes.try_into().ok()?),
            DigestAlgorithm::Sha512 => Self::Sha512(bytes.try_into().ok()?),
            DigestAlgorithm::Md5 => Self::Md5(bytes.try_into().ok()?),
            DigestAlgorithm::Sha1 => Self::Sha1(bytes.try_into().ok()?),
        })
    }

    /// What made it.
    #[must_use]
    pub fn algorithm(&self) -> DigestAlgorithm {
        match self {
            Self::Sha256(_) => DigestAlgorithm::Sha256,
            Self::Sha512(_) => DigestAlgorithm::Sha512,
            Self::Md5(_) => DigestAlgorithm::Md5,
            Self::Sha1(_) => DigestAlgorithm::Sha1,
        }
    }

    /// Its bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Sha256(bytes) => bytes,
            Self::Sha512(bytes) => bytes,
            Self::Md5(bytes) => bytes,
            Self::Sha1(bytes) => bytes,
        }
    }
}

impl FromStr for Digest {
    type Err = BadDigest;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = || BadDigest { found: text.to_owned() };
        let (algorithm, digits) = match text.trim().split_once(':') {
            Some((name, digits)) => (DigestAlgorithm::by_name(name), digits),
            None => (DigestAlgorithm::by_length(text.trim().len() / 2), text.trim()),
        };
        Self::from_hex(algorithm.ok_or_else(bad)?, digits).map_err(|_| bad())
    }
}

impl TryFrom<String> for Digest {
    type Error = BadDigest;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.to_string()
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.algorithm(), hex::encode(self.as_bytes()))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The digest that stands in two fields, its algorithm and its hex digits; nothing where both are absent. `fields` are their names.
pub(super) fn digest_of_pair(
    pair: (Option<DigestAlgorithm>, Option<&str>),
    fields: (&str, &str),
) -> Result<Option<Digest>, DecodeError> {
    let bad = |field: &str, reason: String| Err(DecodeError::Schema { field: field.into(), reason });
    let missing = |field: &str, other: &str| {
        let other = other.rsplit('.').next().unwrap_or(other);
        bad(field, format!("missing; it goes with {other}"))
    };
    let (algorithm_field, digits_field) = fields;
    match pair {
        (None, None) => Ok(None),
        (Some(algorithm), Some(digits)) => match Digest::from_hex(algorithm, digits) {
            Ok(digest) => Ok(Some(digest)),
            Err(error) => bad(digits_field, error.to_string()),
        },
        (Some(_), None) => missing(digits_field, algorithm_field),
        (None, Some(_)) => missing(algorithm_field, digits_field),
    }
}

/// What a digest looks like, for schemas.
pub(super) const DIGEST_PATTERN: &str = "([sS][hH][aA]-?256:)?[0-9a-fA-F]{64}|([sS][hH][aA]-?512:)?[0-9a-fA-F]{128}|([mM][dD]5:)?[0-9a-fA-F]{32}|([sS][hH][aA]-?1:)?[0-9a-fA-F]{40}";

impl JsonSchema for Digest {
    fn schema_name() -> Cow<'static, str> {
        "Digest".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "A digest: `sha256:`, `sha512:`, `sha1:` or `md5:` and hex digits, or the digits alone.",
            "pattern": format!("^({DIGEST_PATTERN})$")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_operators_write() {
        for algorithm in DigestAlgorithm::ALL {
            let digits = "AB".repeat(algorithm.bytes());
            let digest: Digest = digits.parse().unwrap();
            assert_eq!(digest.algorithm(), *algorithm);
            assert_eq!(digest, format!(" {}:{digits} ", algorithm.as_str().to_uppercase()).parse().unwrap());
            assert_eq!(digest.to_string(), format!("{algorithm}:{}", digits.to_lowercase()));
        }
        assert_eq!(DigestAlgorithm::by_name("SHA-512"), Some(DigestAlgorithm::Sha512));
    }

    #[test]
    fn refuses_the_rest() {
        for text in [
            "",
            "sha256:",
            "crc32:00000000",
            "sha256:d41d8cd98f00b204e9800998ecf8427e",
            "abcd",
            &"zz".repeat(32),
            &"ab".repeat(33),
            &"é".repeat(16),
        ] {
            assert!(text.parse::<Digest>().is_err(), "{text:?}");
        }
    }
}
