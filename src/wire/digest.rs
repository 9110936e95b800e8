//! A digest as operators write it.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// A SHA-256 digest, written `sha256:<64 hex digits>` or as the bare hex digits, in any case.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest(pub [u8; 32]);

/// A digest that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a SHA-256 digest: {found:?}; expected sha256:<64 hex digits> or the 64 digits alone")]
pub struct BadDigest {
    found: String,
}

impl FromStr for Digest {
    type Err = BadDigest;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = || BadDigest { found: text.to_owned() };
        let digits = match text.trim().split_once(':') {
            Some((algorithm, digits)) if algorithm.eq_ignore_ascii_case("sha256") => digits,
            Some(_) => return Err(bad()),
            None => text.trim(),
        };
        let mut bytes = [0; 32];
        hex::decode_to_slice(digits, &mut bytes).map_err(|_| bad())?;
        Ok(Self(bytes))
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
        write!(f, "sha256:{}", hex::encode(self.0))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl JsonSchema for Digest {
    fn schema_name() -> Cow<'static, str> {
        "Digest".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "A SHA-256 digest: `sha256:` and 64 hex digits, or the digits alone.",
            "pattern": "^([sS][hH][aA]256:)?[0-9a-fA-F]{64}$"
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_operators_write() {
        let hex = "AB".repeat(32);
        let digest: Digest = hex.parse().unwrap();
        assert_eq!(digest, format!("SHA256:{hex}").parse().unwrap());
        assert_eq!(digest.to_string(), format!("sha256:{}", hex.to_lowercase()));
    }

    #[test]
    fn refuses_the_rest() {
        for text in [
            "",
            "sha256:",
            "md5:d41d8cd98f00b204e9800998ecf8427e",
            "abcd",
            &"zz".repeat(32),
            &"ab".repeat(33),
        ] {
            assert!(text.parse::<Digest>().is_err(), "{text:?}");
        }
    }
}
