//! What tells one version of an object on a server from another.

use chrono::{DateTime, Duration, Utc};
use reqwest::header::{DATE, ETAG, HeaderMap, HeaderValue, LAST_MODIFIED};

/// An object, as its server described it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Object {
    /// Bytes, where the server says so.
    pub(super) length: Option<u64>,
    /// What changes when it does, where there is something of that kind.
    pub(super) validator: Option<Validator>,
}

/// What changes whenever an object does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Validator {
    /// A strong entity tag: equal on two servers only if the bytes are.
    Tag(HeaderValue),
    /// When it was modified, long enough before the answer that it has not been modified twice at that time.
    Modified(HeaderValue),
    /// Which file it is and when it was modified, to the nanosecond.
    File { device: u64, inode: u64, modified: (i64, i64) },
}

impl Validator {
    /// The strongest validator of an answer (RFC 9110, 8.8).
    pub(super) fn of(headers: &HeaderMap) -> Option<Self> {
        let tag = headers.get(ETAG).filter(|tag| is_strong(tag)).cloned().map(Self::Tag);
        tag.or_else(|| {
            let modified = headers.get(LAST_MODIFIED)?;
            // A second is what these dates can tell apart (RFC 9110, 8.8.2.2).
            let settled = date(headers.get(DATE)?)? - date(modified)? >= Duration::seconds(1);
            settled.then(|| Self::Modified(modified.clone()))
        })
    }

    /// As the value of `If-Range`.
    pub(super) fn for_if_range(&self) -> Option<&HeaderValue> {
        match self {
            Self::Tag(value) | Self::Modified(value) => Some(value),
            Self::File { .. } => None,
        }
    }

    /// Whether the two are of one kind and differ: what they are of is not the same.
    pub(super) fn contradicts(&self, other: &Self) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other) && self != other
    }
}

fn is_strong(tag: &HeaderValue) -> bool {
    let tag = tag.as_bytes();
    tag.len() >= 2 && tag.starts_with(b"\"") && tag.ends_with(b"\"")
}

fn date(value: &HeaderValue) -> Option<DateTime<Utc>> {
    Some(httpdate::parse_http_date(value.to_str().ok()?).ok()?.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_changes_with_every_byte_is_a_validator() {
        const OLD: &str = "Sun, 01 Mar 2026 11:59:59 GMT";
        const NOW: &str = "Sun, 01 Mar 2026 12:00:00 GMT";
        let value = |text: &str| HeaderValue::from_str(text).unwrap();
        for (tag, modified, expected) in [
            (Some("\"a\""), Some(OLD), Some(Validator::Tag(value("\"a\"")))),
            (Some("W/\"a\""), None, None),
            (Some("a"), None, None),
            (Some("\""), None, None),
            (Some("W/\"a\""), Some(OLD), Some(Validator::Modified(value(OLD)))),
            (None, Some(NOW), None),
            (None, Some("yesterday"), None),
            (None, None, None),
        ] {
            let mut headers = HeaderMap::from_iter([(DATE, value(NOW))]);
            headers.extend(tag.map(|tag| (ETAG, value(tag))));
            headers.extend(modified.map(|date| (LAST_MODIFIED, value(date))));
            assert_eq!(Validator::of(&headers), expected, "{tag:?} {modified:?}");
        }
        assert_eq!(Validator::of(&HeaderMap::from_iter([(LAST_MODIFIED, value(OLD))])), None, "no date");
    }

    #[test]
    fn validators_of_two_kinds_say_nothing_about_each_other() {
        let tag = |text: &'static str| Validator::Tag(HeaderValue::from_static(text));
        assert!(tag("\"a\"").contradicts(&tag("\"b\"")));
        assert!(!tag("\"a\"").contradicts(&tag("\"a\"")));
        assert!(!tag("\"a\"").contradicts(&Validator::Modified(HeaderValue::from_static("\"b\""))));
    }
}
