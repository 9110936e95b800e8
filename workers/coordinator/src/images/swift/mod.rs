//! Images in Swift, handed out as temporary URLs.
//!
//! The object is asked for with a `HEAD` before its URL is handed out: a wrong key or a missing image then fails here, with a clear
//! error, and not on a node. Where the cache is on, the URL is the same for everybody for as long as it is good, so that a caching
//! proxy, which has the whole URL for its key, keeps hitting.

mod cache;
mod client;
mod config;
mod error;
mod temp_url;

use std::time::Duration;

use chrono::{DateTime, Utc};
use farrier::telemetry::names;
use farrier::wire::{ImageUrl, SwiftObject};
use metrics::counter;
use secrecy::ExposeSecret as _;
use uuid::Uuid;

pub use self::cache::{Terms, runs_out_at};
pub use self::config::{Glance, GlanceSettings};
pub use self::error::SwiftError;
pub use self::temp_url::{DigestAlgorithm, UnknownDigest};

use self::client::Client;
use self::temp_url::{Method, signed_path, temp_url};
use crate::store::{Handed, Store, TempUrlEntry};

/// The Swift that images are in.
#[derive(Debug)]
pub struct Swift {
    glance: Glance,
    client: Client,
}

/// Which URL is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    /// One that others have been handed will do.
    Reused,
    /// A fresh one: an agent was refused with the one that it has.
    Fresh {
        /// When that one was to run out, where this is known. One that runs out later will do then: it was made for another agent
        /// that was refused as well.
        later_than: Option<DateTime<Utc>>,
    },
}

/// A URL for an agent, and what there is at it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TempUrl {
    /// The URL, with its signature.
    pub url: ImageUrl,
    /// When Swift begins to refuse it.
    pub expires_at: DateTime<Utc>,
    /// How long the object is.
    pub length: u64,
    /// The `ETag` of the object, without quotes: the MD5 of an object that was uploaded in one piece.
    pub etag: String,
}

impl Swift {
    /// Makes a client. Reads the certificates of the system: blocks.
    ///
    /// # Errors
    /// [`SwiftError::Client`].
    pub fn new(glance: Glance) -> Result<Self, SwiftError> {
        Ok(Self { client: Client::new(&glance)?, glance })
    }

    /// The object of the image with this UUID.
    #[must_use]
    pub fn object_of_image(&self, image: Uuid) -> SwiftObject {
        self.glance.object_of_image(image)
    }

    /// A URL of the object for an agent.
    ///
    /// # Errors
    /// There is no such object, Swift refuses what the key signs, Swift cannot be asked, or the store cannot.
    pub async fn url(&self, store: &Store, object: &SwiftObject, want: Want) -> Result<TempUrl, SwiftError> {
        let path = signed_path(&self.glance.api_version, &self.glance.account, object);
        let found = self.client.head(&self.glance, object, &path).await?;
        let now = Utc::now();
        let new = self.signed(&path, now);
        let handed = match self.glance.start_delay {
            None => Handed::New(new),
            Some(delay) => {
                let fingerprint = cache::fingerprint(&self.glance, object, &found.etag);
                store.temp_url(&fingerprint, terms(now, delay, want), new).await?
            }
        };
        let (entry, outcome) = match handed {
            Handed::Again(entry) => (entry, "reused"),
            Handed::New(entry) => (entry, "made"),
        };
        counter!(names::TEMP_URLS, "outcome" => outcome).increment(1);
        tracing::debug!(%object, expires_at = entry.expires_at, outcome, "a temporary URL is handed out");
        let url =
            entry.url.parse().map_err(|source| SwiftError::BadUrl { object: object.clone(), source })?;
        let expires_at = DateTime::from_timestamp(entry.expires_at, 0).unwrap_or(DateTime::<Utc>::MAX_UTC);
        Ok(TempUrl { url, expires_at, length: found.length, etag: found.etag })
    }

    /// A new URL for agents, good from now on for as long as is configured.
    fn signed(&self, path: &str, now: DateTime<Utc>) -> TempUrlEntry {
        let glance = &self.glance;
        let expires_at = runs_out_at(now, glance.duration);
        let (key, endpoint) = (glance.key.expose_secret(), &glance.agents_endpoint);
        let url = temp_url(endpoint, path, Method::Get, expires_at, key, glance.digest);
        TempUrlEntry { url, expires_at }
    }
}

fn terms(now: DateTime<Utc>, start_delay: Duration, want: Want) -> Terms {
    Terms {
        now: now.timestamp_micros(),
        start_delay: i64::try_from(start_delay.as_secs()).unwrap_or(i64::MAX),
        later_than: match want {
            Want::Reused => None,
            // None runs out later than the end of time.
            Want::Fresh { later_than } => Some(later_than.map_or(i64::MAX, |refused| refused.timestamp())),
        },
    }
}
