//! Local HTTP URLs: this coordinator serves a file of its own, or an image that it keeps, by content from one URL for all nodes.
//!
//! A file is opened below an allowed path and nowhere else ([`allowed`]), each time anew. What is served is the version of the file that was
//! hashed, as far as its [`identity`] tells, and never a byte of another one.

mod allowed;
mod cache;
mod config;
mod content;
mod error;
mod fetch;
mod flights;
mod hash;
mod identity;
mod publish;
mod ranges;
mod routes;
mod server;

use std::sync::Arc;

use farrier::image::Settings;
use farrier::wire::{Digest, HttpUrl, ImageUrl};
use tokio::sync::Semaphore;

pub use allowed::AllowedPaths;
pub use config::{AgentSettings, CacheConfig, ConductorSettings, DeploySettings, LocalConfig, ServerConfig};
pub use error::LocalError;
pub use server::ImageServer;

use self::cache::Cache;
use self::fetch::Wanted;
use self::flights::Flights;
use self::identity::Identity;
use crate::store::Store;

/// How many files are hashed at a time: more make a disk slower, and leave no processor to others.
const HASHED_AT_A_TIME: usize = 2;

/// An image that is served here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// Where: the same for all nodes, and for every file of this content.
    pub url: ImageUrl,
    /// Its SHA-256.
    pub sha256: Digest,
    /// How many bytes it has.
    pub length: u64,
}

/// What is served here. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Local(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    allowed: Arc<AllowedPaths>,
    /// What nodes reach the image server by, if there is one.
    url: Option<HttpUrl>,
    hashes: Flights<Identity, String>,
    hashing: Semaphore,
    /// Images of other servers, if they are kept.
    cache: Option<Cache>,
    /// How images of other servers are fetched.
    settings: Settings,
    fetches: Flights<Wanted, Published>,
}

impl Local {
    /// Takes the image cache and binds the image server, which does not serve yet, if there are to be any. `settings` say how images of
    /// other servers are fetched.
    ///
    /// # Errors
    /// The address of the server or the directory of the cache cannot be had.
    pub async fn start(
        config: LocalConfig,
        settings: Settings,
        store: &Store,
    ) -> Result<(Self, Option<ImageServer>), LocalError> {
        let cache = match config.cache {
            None => None,
            Some(cache) => Some(Cache::open(cache, store).await?),
        };
        let bound = match &config.server {
            None => None,
            Some(server) => Some(server::bind(server).await?),
        };
        let (listener, url) = bound.unzip();
        let local = Self(Arc::new(Shared {
            allowed: config.allowed,
            url,
            hashes: Flights::default(),
            hashing: Semaphore::new(HASHED_AT_A_TIME),
            cache,
            settings,
            fetches: Flights::default(),
        }));
        let server = listener.map(|listener| ImageServer::new(listener, local.clone(), store.clone()));
        Ok((local, server))
    }

    /// What nodes reach the image server by.
    ///
    /// # Errors
    /// There is none.
    fn url(&self) -> Result<&HttpUrl, LocalError> {
        self.0.url.as_ref().ok_or(LocalError::NoServer)
    }

    /// The images of other servers that are kept here.
    ///
    /// # Errors
    /// None are.
    fn cache(&self) -> Result<&Cache, LocalError> {
        self.0.cache.as_ref().ok_or(LocalError::NoCache)
    }
}
