//! Temporary URLs: what Swift's middleware `tempurl` takes. Pure: nothing is asked and nothing is kept.
//!
//! <https://docs.openstack.org/swift/latest/api/temporary_url_middleware.html>

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use farrier::wire::SwiftObject;
use hmac::{Hmac, KeyInit};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use sha1::Sha1;
use sha2::{Sha256, Sha512};

/// What stands in a path as it is: the unreserved characters of RFC 3986, and the slash.
const PATH: AsciiSet = NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/');

/// By which digest URLs are signed. Swift takes those that its `allowed_digests` names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DigestAlgorithm {
    /// For a Swift before 2015; newer ones advise against it.
    Sha1,
    /// Taken by every Swift that is in use.
    #[default]
    Sha256,
    /// Longer.
    Sha512,
}

impl DigestAlgorithm {
    /// The name that Swift has for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sha1 => "sha1",
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        }
    }

    /// The HMAC of `message` as it stands in a URL: in hex, but for the longest, which Swift wants in base64 with its name before it.
    fn signature(self, key: &str, message: &str) -> String {
        match self {
            Self::Sha1 => hex::encode(hmac::<Hmac<Sha1>>(key, message)),
            Self::Sha256 => hex::encode(hmac::<Hmac<Sha256>>(key, message)),
            Self::Sha512 => format!("sha512:{}", URL_SAFE.encode(hmac::<Hmac<Sha512>>(key, message))),
        }
    }
}

impl fmt::Display for DigestAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for DigestAlgorithm {
    type Err = UnknownDigest;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let known = [Self::Sha1, Self::Sha256, Self::Sha512].into_iter().find(|known| known.as_str() == text);
        known.ok_or(UnknownDigest)
    }
}

/// Swift signs URLs by no such digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected sha1, sha256 or sha512")]
pub struct UnknownDigest;

/// What a temporary URL allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Method {
    Get,
    Head,
}

impl Method {
    fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
        }
    }
}

/// The path of an object that is signed: nothing is encoded in it, for Swift holds it against the path that it has decoded.
pub(super) fn signed_path(api_version: &str, account: &str, object: &SwiftObject) -> String {
    format!("/{api_version}/{account}/{}/{}", object.container(), object.object())
}

/// The URL below `endpoint`, which ends without a slash, that allows `method` until `expires`, in seconds since 1970. The endpoint
/// is not signed: another name or scheme of the same Swift will do.
pub(super) fn temp_url(
    endpoint: &str,
    signed_path: &str,
    method: Method,
    expires: i64,
    key: &str,
    digest: DigestAlgorithm,
) -> String {
    let message = format!("{}\n{expires}\n{signed_path}", method.as_str());
    let signature = digest.signature(key, &message);
    let path = utf8_percent_encode(signed_path, &PATH);
    format!("{endpoint}{path}?temp_url_sig={signature}&temp_url_expires={expires}")
}

/// The HMAC of `message`.
fn hmac<M: hmac::Mac + KeyInit>(key: &str, message: &str) -> Vec<u8> {
    let mut mac = <M as KeyInit>::new_from_slice(key.as_bytes()).expect("an HMAC takes a key of any length");
    mac.update(message.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(container: &str, object: &str) -> SwiftObject {
        SwiftObject::new(container, object).unwrap()
    }

    /// From the documentation of the middleware, whose samples were made by the code that stands before them.
    #[test]
    fn signs_as_the_documentation_of_swift_does() {
        let path = signed_path("v1", "AUTH_account", &object("container", "object"));
        assert_eq!(path, "/v1/AUTH_account/container/object");
        let sign = |digest, expires| temp_url("https://swift", &path, Method::Get, expires, "mykey", digest);
        assert_eq!(
            sign(DigestAlgorithm::Sha256, 1_512_508_563),
            "https://swift/v1/AUTH_account/container/object?temp_url_sig=\
             732fcac368abb10c78a4cbe95c3fab7f311584532bf779abd5074e13cbe8b88b&temp_url_expires=1512508563"
        );
        assert_eq!(
            sign(DigestAlgorithm::Sha512, 1_516_741_234),
            "https://swift/v1/AUTH_account/container/object?temp_url_sig=sha512:ZrSijn0GyDhsv1ltIj9hWUTrbAeE45NcKXyBaz7aPbSMvROQ\
             4jtYH4nRAmm5ErY2X11Yc1Yhy2OMCyN3yueeXg==&temp_url_expires=1516741234"
        );
    }

    #[test]
    fn names_are_encoded_in_the_url_alone() {
        let path = signed_path("v1", "AUTH_a", &object("c d", "e%2f/ü?#&+.raw"));
        assert_eq!(path, "/v1/AUTH_a/c d/e%2f/ü?#&+.raw");
        let url = temp_url("http://h/x", &path, Method::Head, 1, "k", DigestAlgorithm::Sha1);
        assert!(
            url.starts_with("http://h/x/v1/AUTH_a/c%20d/e%252f/%C3%BC%3F%23%26%2B.raw?temp_url_sig="),
            "{url}"
        );
        let read: url::Url = url.parse().unwrap();
        assert_eq!(read.as_str(), url, "a client sends it as it is");
    }

    #[test]
    fn every_part_is_signed() {
        let sign =
            |path: &str, method, expires, key, digest| temp_url("", path, method, expires, key, digest);
        let (get, sha1) = (Method::Get, DigestAlgorithm::Sha1);
        let signature = |url: String| url.split(['=', '&']).nth(1).map(str::to_owned);
        let plain = signature(sign("/p", get, 1, "k", sha1));
        assert_eq!(plain.as_deref().map(str::len), Some(40));
        for other in [
            sign("/q", get, 1, "k", sha1),
            sign("/p", Method::Head, 1, "k", sha1),
            sign("/p", get, 2, "k", sha1),
            sign("/p", get, 1, "l", sha1),
            sign("/p", get, 1, "k", DigestAlgorithm::Sha256),
        ] {
            assert_ne!(signature(other), plain);
        }
    }
}
