//! URLs that may carry credentials or a signature, and never show them.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use url::Url;

/// A URL that is not what was expected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not {expected}: {reason}")]
pub struct BadUrl {
    expected: &'static str,
    reason: String,
}

macro_rules! redacted_url {
    ($(#[$doc:meta])* $name:ident, $what:literal, schemes [$($scheme:literal),+], read $read:path, $(format $format:literal,)? pattern $pattern:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Url);

        impl $name {
            /// The whole URL, secrets included: for the request alone.
            #[must_use]
            pub fn expose(&self) -> &Url {
                &self.0
            }

            /// The same without its credentials, its query and its fragment: what may be shown.
            #[must_use]
            pub fn redacted(&self) -> Self {
                Self(without_secrets(&self.0))
            }

            /// Takes a URL of one of these schemes.
            ///
            /// # Errors
            /// Names the scheme that was found.
            pub fn new(url: Url) -> Result<Self, BadUrl> {
                match url.scheme() {
                    $($scheme)|+ => Ok(Self(url)),
                    other => Err(BadUrl { expected: $what, reason: format!("its scheme is {other:?}") }),
                }
            }
        }

        impl FromStr for $name {
            type Err = BadUrl;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                let url = $read(text).map_err(|error| BadUrl { expected: $what, reason: error.to_string() })?;
                Self::new(url)
            }
        }

        impl TryFrom<String> for $name {
            type Error = BadUrl;

            fn try_from(text: String) -> Result<Self, Self::Error> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(url: $name) -> Self {
                url.0.into()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                redacted(&self.0, f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                redacted(&self.0, f)
            }
        }

        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({
                    "type": "string",
                    $("format": $format,)?
                    "description": concat!($what, "."),
                    "pattern": $pattern
                })
            }
        }
    };
}

redacted_url! {
    /// An `http` or `https` URL. Printed without its credentials and its query, which may be a signature.
    HttpUrl, "an http or https URL", schemes ["http", "https"], read Url::parse, format "uri", pattern "^[hH][tT][tT][pP][sS]?://"
}

redacted_url! {
    /// Where an image is: an `http`, `https` or `file` URL. Printed without its credentials and its query.
    ImageUrl, "an http, https or file URL", schemes ["http", "https", "file"], read Url::parse, format "uri", pattern "^([hH][tT][tT][pP][sS]?|[fF][iI][lL][eE])://"
}

redacted_url! {
    /// A proxy: an `http` or `https` URL, with credentials where it wants some. Without a scheme, as in `proxy:3128`, it is `http`.
    /// Printed without its credentials.
    ProxyUrl, "an http or https URL of a proxy", schemes ["http", "https"], read read_with_scheme, pattern "^([hH][tT][tT][pP][sS]?://)?[^/?#]+/?$"
}

/// `proxy:3128` would else be a URL of the scheme `proxy`.
fn read_with_scheme(text: &str) -> Result<Url, url::ParseError> {
    let text = text.trim();
    if text.contains("://") { Url::parse(text) } else { Url::parse(&format!("http://{text}")) }
}

impl From<HttpUrl> for ImageUrl {
    fn from(url: HttpUrl) -> Self {
        Self(url.0)
    }
}

fn redacted(url: &Url, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    write!(f, "{}{}", without_secrets(url), if url.query().is_some() { "?..." } else { "" })
}

fn without_secrets(url: &Url) -> Url {
    let mut shown = url.clone();
    shown.set_query(None);
    shown.set_fragment(None);
    // Both fail only for URLs that cannot have credentials.
    let _ = shown.set_username("");
    let _ = shown.set_password(None);
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_no_secret() {
        let url: HttpUrl = "https://user:pass@h/c/o?temp_url_sig=abc#f".parse().unwrap();
        assert_eq!(format!("{url} {url:?}"), "https://h/c/o?... https://h/c/o?...");
        assert!(url.expose().as_str().contains("temp_url_sig=abc"));
        assert_eq!(ImageUrl::from(url).to_string(), "https://h/c/o?...");
    }

    #[test]
    fn a_proxy_needs_no_scheme_and_shows_no_password() {
        for (text, whole, shown) in [
            ("proxy:3128", "http://proxy:3128/", "http://proxy:3128/"),
            ("user:pass@10.0.0.1", "http://user:pass@10.0.0.1/", "http://10.0.0.1/"),
            ("[fd00::1]:3128", "http://[fd00::1]:3128/", "http://[fd00::1]:3128/"),
            ("https://user:pass@proxy", "https://user:pass@proxy/", "https://proxy/"),
        ] {
            let proxy: ProxyUrl = text.parse().unwrap();
            assert_eq!((proxy.expose().as_str(), proxy.to_string().as_str()), (whole, shown));
        }
        let error = "socks5://user:pass@proxy".parse::<ProxyUrl>().unwrap_err().to_string();
        assert!(error.contains("socks5") && !error.contains("pass"), "{error}");
        assert!("".parse::<ProxyUrl>().is_err());
    }

    #[test]
    fn takes_only_its_schemes() {
        assert!("file:///etc/shadow".parse::<HttpUrl>().is_err());
        assert!("file:///images/i".parse::<ImageUrl>().is_ok());
        let error = "ftp://h/i".parse::<ImageUrl>().unwrap_err();
        assert_eq!(error.to_string(), "not an http, https or file URL: its scheme is \"ftp\"");
    }
}
