//! Where a job says that its image is.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{BadUrl, ImageUrl};

/// The longest name of a container that Swift takes, in bytes (`max_container_name_length`).
const LONGEST_CONTAINER: usize = 256;
/// The longest name of an object that Swift takes, in bytes (`max_object_name_length`).
const LONGEST_OBJECT: usize = 1024;

/// How the source of an image is written: as a person names it in a job ([`ImageSource`]), or as an agent fetches it ([`ImageUrl`]).
pub trait Source: Clone + fmt::Debug + fmt::Display + Serialize + DeserializeOwned + JsonSchema {
    /// The same without credentials and signatures: what may be shown.
    #[must_use]
    fn without_secrets(&self) -> Self;
}

impl Source for ImageUrl {
    fn without_secrets(&self) -> Self {
        self.redacted()
    }
}

/// Where a job says that its image is. The coordinator makes the URL of it that an agent is sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum ImageSource {
    /// The UUID of an image, alone or as `glance://<uuid>`: the object of that name in Swift, in the container that `[glance]` says.
    Glance(Uuid),
    /// `swift://container/object`.
    Swift(SwiftObject),
    /// An `http` or `https` URL, or a `file` URL of a file on the coordinator.
    Url(ImageUrl),
}

/// An object in Swift. Both names are as Swift has them: nothing is encoded.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SwiftObject {
    container: String,
    object: String,
}

/// A source that names nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadImageSource {
    /// It is no URL of an image.
    #[error("neither the UUID of an image, nor swift://container/object, nor {0}")]
    Url(BadUrl),
    /// What follows `glance://` is no UUID.
    #[error("glance:// is followed by the UUID of an image, and {found:?} is none")]
    Uuid {
        /// What followed.
        found: String,
    },
    /// What follows `swift://` is no object.
    #[error("expected swift://container/object: {reason}")]
    Swift {
        /// What is wrong.
        reason: &'static str,
    },
}

impl SwiftObject {
    /// Takes the names of a container and of an object in it.
    ///
    /// # Errors
    /// Swift has no such names.
    pub fn new(container: &str, object: &str) -> Result<Self, BadImageSource> {
        let bad = |reason| Err(BadImageSource::Swift { reason });
        match (container, object) {
            ("", _) => bad("the container is missing"),
            (_, "") => bad("the object is missing"),
            (name, _) if name.contains('/') => bad("the name of a container has no slash"),
            (name, _) if name.len() > LONGEST_CONTAINER => bad("the name of the container is too long"),
            (_, name) if name.len() > LONGEST_OBJECT => bad("the name of the object is too long"),
            // Servers and proxies on the way take these for parts of a path, and go to another object.
            ("." | "..", _) => bad("the container is `.` or `..`"),
            (_, name) if name.split('/').any(|part| matches!(part, "." | "..")) => {
                bad("a part of the object's name is `.` or `..`")
            }
            (container, object) if [container, object].iter().any(|name| name.contains(char::is_control)) => {
                bad("there is a control character in it")
            }
            (container, object) => Ok(Self { container: container.to_owned(), object: object.to_owned() }),
        }
    }

    /// The name of the container.
    #[must_use]
    pub fn container(&self) -> &str {
        &self.container
    }

    /// The name of the object. May have slashes.
    #[must_use]
    pub fn object(&self) -> &str {
        &self.object
    }
}

impl fmt::Display for SwiftObject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "swift://{}/{}", self.container, self.object)
    }
}

impl Source for ImageSource {
    fn without_secrets(&self) -> Self {
        match self {
            Self::Url(url) => Self::Url(url.redacted()),
            other => other.clone(),
        }
    }
}

impl From<ImageUrl> for ImageSource {
    fn from(url: ImageUrl) -> Self {
        Self::Url(url)
    }
}

impl FromStr for ImageSource {
    type Err = BadImageSource;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some(rest) = text.strip_prefix("glance://") {
            let uuid = rest.parse().map_err(|_| BadImageSource::Uuid { found: rest.to_owned() })?;
            return Ok(Self::Glance(uuid));
        }
        if let Some(rest) = text.strip_prefix("swift://") {
            let (container, object) = rest.split_once('/').unwrap_or((rest, ""));
            return SwiftObject::new(container, object).map(Self::Swift);
        }
        match text.parse() {
            Ok(uuid) => Ok(Self::Glance(uuid)),
            Err(_) => text.parse().map(Self::Url).map_err(BadImageSource::Url),
        }
    }
}

impl TryFrom<String> for ImageSource {
    type Error = BadImageSource;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<ImageSource> for String {
    fn from(source: ImageSource) -> Self {
        match source {
            ImageSource::Url(url) => url.into(),
            other => other.to_string(),
        }
    }
}

impl fmt::Display for ImageSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Glance(uuid) => uuid.fmt(f),
            Self::Swift(object) => object.fmt(f),
            Self::Url(url) => url.fmt(f),
        }
    }
}

impl JsonSchema for ImageSource {
    fn schema_name() -> Cow<'static, str> {
        "ImageSource".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "Where an image is: the UUID of one, also as `glance://<uuid>`; `swift://container/object`; an http or https URL; or the file URL of a file on the coordinator.",
            "pattern": "^((glance://)?[0-9a-fA-F-]{32,36}|swift://[^/]+/.+|([hH][tT][tT][pP][sS]?|[fF][iI][lL][eE])://.*)$"
        })
    }
}

/// How the coordinator makes the URL of an image, in the words of Ironic's option of the same name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ImageDownloadSource {
    /// An object in Swift by a temporary URL. Another image in the way that `http` says.
    #[default]
    Swift,
    /// An object in Swift and a file are served by the coordinator. An `http` or `https` URL is handed to the agent as it is.
    Http,
    /// Every image is served by the coordinator.
    Local,
}

impl ImageDownloadSource {
    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Swift => "swift",
            Self::Http => "http",
            Self::Local => "local",
        }
    }
}

impl FromStr for ImageDownloadSource {
    type Err = BadDownloadSource;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let known = [Self::Swift, Self::Http, Self::Local].into_iter().find(|source| source.as_str() == text);
        known.ok_or_else(|| BadDownloadSource { found: text.to_owned() })
    }
}

/// A way that does not exist.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected swift, http or local, found {found:?}")]
pub struct BadDownloadSource {
    found: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<ImageSource, String> {
        text.parse::<ImageSource>().map_err(|error| error.to_string())
    }

    #[test]
    fn a_source_is_a_uuid_an_object_or_a_url() {
        let uuid = "0198f2a4-3b7e-7cc0-8f00-5d1c7f2b9a10";
        assert_eq!(read(uuid), read(&format!("glance://{uuid}")));
        assert_eq!(read(uuid).unwrap().to_string(), uuid);
        let swift = read("swift://glance/a b/c.raw").unwrap();
        assert_eq!(swift, ImageSource::Swift(SwiftObject::new("glance", "a b/c.raw").unwrap()));
        assert_eq!(swift.to_string(), "swift://glance/a b/c.raw");
        for url in ["http://h/i", "https://h/i?sig=x", "file:///images/i"] {
            assert!(matches!(read(url), Ok(ImageSource::Url(_))), "{url}");
        }
    }

    #[test]
    fn what_names_nothing_is_refused() {
        for (text, word) in [
            ("glance://x", "UUID"),
            ("swift://c", "object is missing"),
            ("swift:///o", "container is missing"),
            ("swift://c/a/../b", "`..`"),
            ("swift://../o", "`..`"),
            ("swift://c/a\nb", "control character"),
            ("ftp://h/i", "ftp"),
            ("image.raw", "neither the UUID"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(word), "{text}: {error}");
        }
    }

    #[test]
    fn is_written_whole_and_shown_without_secrets() {
        let source = read("https://user:secret@h/i?sig=secret").unwrap();
        assert!(serde_json::to_string(&source).unwrap().contains("sig=secret"));
        let shown = format!("{source} {source:?} {}", String::from(source.without_secrets()));
        assert!(!shown.contains("secret"), "{shown}");
    }
}
