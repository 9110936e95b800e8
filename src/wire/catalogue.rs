//! What is known of an image, by its UUID.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use super::digest::digest_of_pair;
use super::envelope::{DecodeError, from_value};
use super::{Checksum, DigestAlgorithm, ImageFormat, ImageSource, Source as _};

/// The longest name of an image, in bytes; Glance has the same.
const LONGEST_NAME: usize = 255;

/// `PUT /v1/images/{image}`: what a deploy of the image with this UUID uses where its job says nothing else. In Glance's key names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ImageEntry {
    /// Its name, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 255))]
    pub name: Option<String>,
    /// Where it is; where absent, the object of that UUID in the container of `[glance]`. Not itself the UUID of an image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<ImageSource>,
    /// The digest of the bytes that are served, or the URL of a checksum file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_checksum: Option<Checksum>,
    /// The algorithm of `os_hash_value`. The two stand together, and before `image_checksum`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub os_hash_algo: Option<DigestAlgorithm>,
    /// The digest of the bytes that are served, in hex digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub os_hash_value: Option<String>,
    /// The format that it must have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_format: Option<ImageFormat>,
    /// Bytes that are served.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub size: Option<u64>,
}

/// An entry of the catalogue, as the API shows it: URLs without credentials and signatures.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Image {
    /// The UUID of the image.
    pub id: Uuid,
    /// See [`ImageEntry::name`].
    pub name: Option<String>,
    /// See [`ImageEntry::source`].
    pub source: Option<ImageSource>,
    /// See [`ImageEntry::image_checksum`].
    pub image_checksum: Option<Checksum>,
    /// See [`ImageEntry::os_hash_algo`].
    pub os_hash_algo: Option<DigestAlgorithm>,
    /// See [`ImageEntry::os_hash_value`].
    pub os_hash_value: Option<String>,
    /// See [`ImageEntry::disk_format`].
    pub disk_format: Option<ImageFormat>,
    /// See [`ImageEntry::size`].
    pub size: Option<u64>,
    /// When it was registered.
    pub created_at: DateTime<Utc>,
    /// When it was last replaced.
    pub updated_at: DateTime<Utc>,
}

impl ImageEntry {
    /// Reads an entry. Errors name its fields without a prefix.
    ///
    /// # Errors
    /// [`DecodeError::Schema`] with the field.
    pub fn from_json(value: Value) -> Result<Self, DecodeError> {
        let entry: Self = from_value("", value)?;
        entry.checksum()?;
        let bad = |field: &str, reason: &str| {
            Err(DecodeError::Schema { field: field.into(), reason: reason.into() })
        };
        let fits = |name: &str| (1..=LONGEST_NAME).contains(&name.len()) && !name.contains(char::is_control);
        if entry.name.as_deref().is_some_and(|name| !fits(name)) {
            return bad("name", "expected 1 to 255 bytes without control characters");
        }
        if matches!(entry.source, Some(ImageSource::Glance(_))) {
            return bad(
                "source",
                "the UUID of another image; expected where the image itself is: swift://container/object, or an http, \
                 https or file URL",
            );
        }
        if entry.size == Some(0) {
            return bad("size", "expected the number of bytes that are served, found 0");
        }
        Ok(entry)
    }

    /// The checksum, wherever it stands.
    ///
    /// # Errors
    /// [`DecodeError::Schema`] when one of the `os_hash` pair is missing, or the value is no digest of that algorithm.
    pub fn checksum(&self) -> Result<Option<Checksum>, DecodeError> {
        let pair = (self.os_hash_algo, self.os_hash_value.as_deref());
        let digest = digest_of_pair(pair, ("os_hash_algo", "os_hash_value"))?;
        Ok(digest.map(Checksum::Digest).or_else(|| self.image_checksum.clone()))
    }

    /// The same without credentials and signatures of URLs: what may be shown.
    #[must_use]
    pub fn redacted(&self) -> Self {
        Self {
            source: self.source.as_ref().map(ImageSource::without_secrets),
            image_checksum: self.image_checksum.as_ref().map(Checksum::redacted),
            ..self.clone()
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_entry_is_read_and_its_checksum_found() {
        let digits = "ab".repeat(64);
        let entry = ImageEntry::from_json(json!({
            "name": "debian 13", "source": "swift://glance/debian.qcow2", "image_checksum": "cd".repeat(32),
            "os_hash_algo": "sha512", "os_hash_value": digits, "disk_format": "qcow2", "size": 5
        }))
        .unwrap();
        assert_eq!(entry.checksum().unwrap().unwrap(), format!("sha512:{digits}").parse().unwrap());
        let plain = ImageEntry::from_json(json!({"image_checksum": "cd".repeat(32)})).unwrap();
        assert_eq!(plain.checksum().unwrap(), plain.image_checksum);
        assert_eq!(ImageEntry::from_json(json!({})).unwrap().checksum().unwrap(), None);
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let uuid = "0198f2a4-3b7e-7cc0-8f00-5d1c7f2b9a10";
        for (entry, field) in [
            (json!({"nmae": "x"}), "nmae"),
            (json!({"name": ""}), "name"),
            (json!({"name": "a\nb"}), "name"),
            (json!({"source": uuid}), "source"),
            (json!({"source": format!("glance://{uuid}")}), "source"),
            (json!({"source": "ftp://h/i"}), "source"),
            (json!({"image_checksum": "abc"}), "image_checksum"),
            (json!({"os_hash_algo": "sha256"}), "os_hash_value"),
            (json!({"os_hash_value": "ab".repeat(32)}), "os_hash_algo"),
            (json!({"os_hash_algo": "sha512", "os_hash_value": "ab".repeat(32)}), "os_hash_value"),
            (json!({"os_hash_algo": "crc32", "os_hash_value": "ab"}), "os_hash_algo"),
            (json!({"disk_format": "vmdk"}), "disk_format"),
            (json!({"size": 0}), "size"),
            (json!({"size": -1}), "size"),
        ] {
            let error = ImageEntry::from_json(entry.clone()).unwrap_err();
            assert_eq!(error.field(), Some(field), "{entry}: {error}");
        }
    }

    #[test]
    fn is_shown_without_secrets() {
        let entry = json!({"source": "https://u:hunter2@h/i?sig=hunter2", "image_checksum": "https://h/S?sig=hunter2"});
        let shown = serde_json::to_string(&ImageEntry::from_json(entry).unwrap().redacted()).unwrap();
        assert_eq!(shown, r#"{"source":"https://h/i","image_checksum":"https://h/S"}"#);
    }
}
