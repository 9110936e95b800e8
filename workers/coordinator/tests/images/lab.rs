//! An image server on a temporary store, with a directory of images from which it may serve.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use farrier::image::Image;
use farrier::wire::{Coded as _, ErrorReport, ImageUrl};
use farrier_coordinator::feed::Feed;
use farrier_coordinator::images;
use farrier_coordinator::images::local::{
    AllowedPaths, CacheConfig, Local, LocalConfig, Published, ServerConfig,
};
use farrier_coordinator::store::Store;
use farrier_coordinator::vault::Vault;
use reqwest::header::HeaderMap;
use reqwest::{Method, Response};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// The bound on every wait here.
pub(crate) const SOON: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub(crate) struct Lab {
    pub(crate) store: Store,
    pub(crate) local: Local,
    shutdown: CancellationToken,
    serving: JoinHandle<()>,
    pub(crate) directory: Arc<TempDir>,
    cache_bytes: Option<u64>,
}

impl Lab {
    pub(crate) async fn start() -> Self {
        Self::new(None).await
    }

    /// One that keeps so many bytes of images of other servers.
    pub(crate) async fn with_cache(bytes: u64) -> Self {
        Self::new(Some(bytes)).await
    }

    async fn new(cache_bytes: Option<u64>) -> Self {
        let directory = Arc::new(tempfile::tempdir().unwrap());
        fs::create_dir(directory.path().join("images")).unwrap();
        Self::on(directory, cache_bytes).await
    }

    /// Another coordinator on the same store and files.
    pub(crate) async fn another(&self) -> Self {
        Self::on(Arc::clone(&self.directory), self.cache_bytes).await
    }

    /// The same, if it can start.
    pub(crate) async fn try_another(&self) -> Result<Self, ErrorReport> {
        Self::try_on(Arc::clone(&self.directory), self.cache_bytes).await
    }

    pub(crate) async fn on(directory: Arc<TempDir>, cache_bytes: Option<u64>) -> Self {
        Self::try_on(directory, cache_bytes).await.unwrap()
    }

    async fn try_on(directory: Arc<TempDir>, cache_bytes: Option<u64>) -> Result<Self, ErrorReport> {
        let cache = |bytes| CacheConfig { directory: directory.path().join("cache"), bytes, downloads: 4 };
        let config = LocalConfig {
            allowed: Arc::new(AllowedPaths::open(&[directory.path().join("images")]).unwrap()),
            server: Some(ServerConfig {
                listen: "127.0.0.1:0".parse().unwrap(),
                listen_file: None,
                url: None,
            }),
            cache: cache_bytes.map(cache),
        };
        let store = directory.path().join("farrier.db");
        let store = Store::open(&store, Feed::new(), Vault::default()).await.unwrap();
        let started = Local::start(config, images::settings(), &store).await;
        let (local, server) = started.map_err(|error| error.report())?;
        let shutdown = CancellationToken::new();
        let serving = tokio::spawn(server.unwrap().run(shutdown.clone()));
        Ok(Self { store, local, shutdown, serving, directory, cache_bytes })
    }

    /// Ends it as a coordinator ends.
    pub(crate) async fn stop(self) -> Arc<TempDir> {
        self.shutdown.cancel();
        tokio::time::timeout(SOON, self.serving).await.unwrap().unwrap();
        self.store.close().await;
        self.directory
    }

    pub(crate) async fn start_again(self) -> Self {
        let cache_bytes = self.cache_bytes;
        Self::on(self.stop().await, cache_bytes).await
    }

    /// Fetches an image of another server.
    pub(crate) async fn fetch(&self, image: &Image, name: &str) -> Result<Published, ErrorReport> {
        let fetching = tokio::time::timeout(SOON, self.local.fetch(&self.store, image, name));
        fetching.await.expect("it neither ends nor fails").map_err(|error| error.report())
    }

    /// The names in the cache.
    pub(crate) fn cached(&self) -> Vec<String> {
        let entries = fs::read_dir(self.directory.path().join("cache")).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name != "lock").collect()
    }

    /// The path of an image.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join("images").join(name)
    }

    /// Makes an image.
    pub(crate) fn image(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, content).unwrap();
        path
    }

    pub(crate) async fn publish(&self, path: &Path) -> Result<Published, ErrorReport> {
        self.publish_url(&format!("file://{}", path.display())).await
    }

    pub(crate) async fn publish_url(&self, url: &str) -> Result<Published, ErrorReport> {
        let url: ImageUrl = url.parse().unwrap();
        let publishing = tokio::time::timeout(SOON, self.local.publish(&self.store, &url));
        publishing.await.expect("it neither ends nor fails").map_err(|error| error.report())
    }

    /// Publishes an image, and asks for it.
    pub(crate) async fn published(&self, name: &str, content: &[u8]) -> Asked {
        let path = self.image(name, content);
        Asked::of(&self.publish(&path).await.unwrap())
    }
}

/// A URL that is asked for.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) url: String,
    client: reqwest::Client,
}

impl Asked {
    pub(crate) fn of(published: &Published) -> Self {
        Self::at(published.url.expose().as_str())
    }

    pub(crate) fn at(url: &str) -> Self {
        // One may be there already, and serves as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder().no_proxy().tls_certs_only([]).timeout(SOON).build().unwrap();
        Self { url: url.to_owned(), client }
    }

    /// The same server, elsewhere.
    pub(crate) fn elsewhere(&self, path: &str) -> Self {
        let mut url: url::Url = self.url.parse().unwrap();
        url.set_path(path);
        Self { url: url.into(), ..self.clone() }
    }

    pub(crate) async fn ask(&self, method: Method, headers: &[(&str, &str)]) -> Response {
        let request = self.client.request(method, &self.url);
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        request.send().await.unwrap()
    }

    /// The status, the headers and the body of a `GET`.
    pub(crate) async fn get(&self, headers: &[(&str, &str)]) -> (u16, HeaderMap, Vec<u8>) {
        let response = self.ask(Method::GET, headers).await;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        (status, headers, response.bytes().await.unwrap().to_vec())
    }

    /// The status of a problem and its code.
    pub(crate) async fn problem(&self, method: Method) -> (u16, String) {
        let response = self.ask(method, &[]).await;
        let (status, kind) = (response.status().as_u16(), response.headers()["content-type"].clone());
        let problem: Value = serde_json::from_slice(&response.bytes().await.unwrap()).unwrap();
        assert_eq!(kind, "application/problem+json");
        assert_eq!(problem["status"], status);
        (status, problem["code"].as_str().unwrap().to_owned())
    }
}

pub(crate) fn sha256_of(content: &[u8]) -> String {
    hex::encode(Sha256::digest(content))
}
