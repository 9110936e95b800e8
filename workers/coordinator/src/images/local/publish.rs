//! Publishing a file of this machine.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use farrier::blocking;
use farrier::telemetry::names;
use farrier::wire::{Digest, DigestAlgorithm, HttpUrl, ImageUrl};
use metrics::counter;
use tokio::time::timeout;

use super::cache::Hold;
use super::hash::sha256_of;
use super::identity::Identity;
use super::routes::url_of;
use super::{Local, LocalError, Published};
use crate::store::Store;
use crate::store::published::PublishedFile;

/// How long opening a file may take: its file system may be on a network.
const OPENED_WITHIN: Duration = Duration::from_secs(30);

impl Local {
    /// Makes a file of this machine, by its `file` URL, an image that is served here. It is read only if that version of it never was
    /// before, by whichever coordinator on the same store; once, also for many at the same time.
    ///
    /// # Errors
    /// [`LocalError`].
    pub async fn publish(&self, store: &Store, url: &ImageUrl) -> Result<Published, LocalError> {
        let base = self.url()?;
        let path = path_of(url)?;
        let (file, identity) = self.open(&path).await?;
        let sha256 = match store.sha256_of_file(&identity.to_string()).await? {
            Some(sha256) => {
                store.publish(&record(&path, identity, &sha256)).await?;
                sha256
            }
            None => self.hash(store, path, file, identity).await?,
        };
        published(base, &sha256, identity.length())
    }

    /// Opens a file below an allowed path.
    async fn open(&self, path: &Path) -> Result<(File, Identity), LocalError> {
        let (allowed, named) = (Arc::clone(&self.0.allowed), path.to_owned());
        let opened = timeout(OPENED_WITHIN, blocking::run(move || allowed.open_file(&named))).await;
        opened.unwrap_or_else(|_| Err(LocalError::Silent { path: path.to_owned(), waited: OPENED_WITHIN }))
    }

    /// Opens a file that was published, of the cache or below an allowed path. One of the cache is held as long as it is served.
    pub(super) async fn open_published(
        &self,
        file: &PublishedFile,
    ) -> Result<(File, Identity, Option<Hold>), LocalError> {
        let cache = self.0.cache.as_ref().filter(|cache| cache.path(&file.sha256) == file.path);
        let Some(cache) = cache else {
            return self.open(&file.path).await.map(|(file, identity)| (file, identity, None));
        };
        let missing = || LocalError::NotFound { path: file.path.clone() };
        let hold = cache.hold(&file.sha256).ok_or_else(missing)?;
        let (file, identity) = cache.open_file(&file.sha256).await?;
        Ok((file, identity, Some(hold)))
    }

    async fn hash(
        &self,
        store: &Store,
        path: PathBuf,
        file: File,
        identity: Identity,
    ) -> Result<String, LocalError> {
        let (local, store) = (self.clone(), store.clone());
        let work = async move {
            let _turn = local.0.hashing.acquire().await.map_err(|_| LocalError::Lost)?;
            let sha256 = hex::encode(sha256_of(&path, Arc::new(file), identity).await?);
            counter!(names::IMAGE_HASHED_BYTES).increment(identity.length());
            tracing::info!(path = %path.display(), sha256, bytes = identity.length(), "a file was hashed to be served");
            // Here, so that it is known also when nobody waits for it any more.
            store.publish(&record(&path, identity, &sha256)).await?;
            Ok(sha256)
        };
        self.0.hashes.join(identity, work).await
    }
}

fn path_of(url: &ImageUrl) -> Result<PathBuf, LocalError> {
    let no_file = || LocalError::NoFileUrl { url: Box::new(url.clone()) };
    match url.expose() {
        url if url.scheme() == "file" => url.to_file_path().map_err(|()| no_file()),
        _ => Err(no_file()),
    }
}

pub(super) fn record(path: &Path, identity: Identity, sha256: &str) -> PublishedFile {
    PublishedFile { path: path.to_owned(), identity: identity.to_string(), sha256: sha256.to_owned() }
}

/// What is told of an image that is served here.
pub(super) fn published(base: &HttpUrl, sha256: &str, length: u64) -> Result<Published, LocalError> {
    let url = url_of(base, sha256);
    let sha256 = Digest::from_hex(DigestAlgorithm::Sha256, sha256).map_err(|_| LocalError::Lost)?;
    Ok(Published { url, sha256, length })
}
