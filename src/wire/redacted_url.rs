//! A URL that may carry credentials or a signature, and never shows them.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use url::Url;

/// An `http` or `https` URL. Printed without its credentials and its query, which may be a signature.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HttpUrl(Url);

/// A URL that is not one of `http` or `https`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an http or https URL: {reason}")]
pub struct BadUrl {
    reason: String,
}

impl HttpUrl {
    /// The whole URL, secrets included: for the request alone.
    #[must_use]
    pub fn expose(&self) -> &Url {
        &self.0
    }
}

impl FromStr for HttpUrl {
    type Err = BadUrl;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let url = Url::parse(text).map_err(|error| BadUrl { reason: error.to_string() })?;
        match url.scheme() {
            "http" | "https" => Ok(Self(url)),
            other => Err(BadUrl { reason: format!("its scheme is {other:?}") }),
        }
    }
}

impl TryFrom<String> for HttpUrl {
    type Error = BadUrl;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<HttpUrl> for String {
    fn from(url: HttpUrl) -> Self {
        url.0.into()
    }
}

impl fmt::Display for HttpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = self.0.clone();
        let has_query = shown.query().is_some();
        shown.set_query(None);
        shown.set_fragment(None);
        // Both fail only for URLs that cannot have credentials, and http and https can.
        let _ = shown.set_username("");
        let _ = shown.set_password(None);
        write!(f, "{shown}{}", if has_query { "?..." } else { "" })
    }
}

impl fmt::Debug for HttpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl JsonSchema for HttpUrl {
    fn schema_name() -> Cow<'static, str> {
        "HttpUrl".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "format": "uri",
            "description": "An http or https URL.",
            "pattern": "^[hH][tT][tT][pP][sS]?://"
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_no_secret() {
        let url: HttpUrl = "https://user:pass@h/c/o?temp_url_sig=abc#f".parse().unwrap();
        assert_eq!(format!("{url} {url:?}"), "https://h/c/o?... https://h/c/o?...");
        assert!(url.expose().as_str().contains("temp_url_sig=abc"));
        assert!("file:///etc/shadow".parse::<HttpUrl>().is_err());
    }
}
