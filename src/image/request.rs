//! What to fetch and how: everything is data of the request, nothing is taken from the process environment.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use url::Url;

use super::fresh::FreshUrls;
use super::source::LastGood;
use crate::wire::{Checksum, ImageFormat, ImageUrl, NoProxy, ProxyUrl, Secret};

/// An image to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// Where it is.
    pub source: ImageUrl,
    /// Where else it is, tried in this order.
    pub mirrors: Vec<ImageUrl>,
    /// The digest of the bytes as served, or where it stands.
    pub checksum: Option<Checksum>,
    /// The format that it must have; any that [`Policy::formats`] allows where absent.
    pub format: Option<ImageFormat>,
    /// How its servers are reached.
    pub connection: Connection,
    /// Whether to read the disk back and compare it with what was written.
    pub read_back: bool,
}

impl Image {
    /// An image at one place, with all else as by default.
    #[must_use]
    pub fn new(source: ImageUrl, checksum: Option<Checksum>) -> Self {
        Self {
            source,
            mirrors: Vec::new(),
            checksum,
            format: None,
            connection: Connection::default(),
            read_back: false,
        }
    }
}

/// What holds for every image that one process writes.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// How long and how often to try.
    pub limits: Limits,
    /// What is allowed.
    pub policy: Policy,
    /// How servers are reached, unless an image says more.
    pub connection: Connection,
    /// Which servers have delivered last.
    pub last_good: LastGood,
    /// Who is asked for URLs in the place of those that have run out. Nobody by default.
    pub fresh_urls: Option<Arc<dyn FreshUrls>>,
}

/// How servers are reached: the same way for the image, its mirrors and the checksum file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Connection {
    /// Certificate authorities in PEM that are trusted beside those of the system.
    pub authorities: Option<Vec<u8>>,
    /// The client certificate with its chain and its key, in PEM.
    pub identity: Option<Secret>,
    /// Headers of every request; never sent to another host that a server redirects to.
    pub headers: Vec<(String, Secret)>,
    /// What stands between here and the servers.
    pub proxies: Proxies,
}

/// The proxies, each for URLs of one scheme.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proxies {
    /// For `http` URLs.
    pub http: Option<ProxyUrl>,
    /// For `https` URLs.
    pub https: Option<ProxyUrl>,
    /// The servers that are reached without one.
    pub no_proxy: NoProxy,
}

impl Proxies {
    /// The proxy on the way to `url`: chosen by the scheme of that, whatever the proxy's own is.
    pub(super) fn on_the_way_to(&self, url: &Url) -> Option<&ProxyUrl> {
        let proxy = match url.scheme() {
            "http" => self.http.as_ref(),
            "https" => self.https.as_ref(),
            _ => None,
        }?;
        let bypassed = self.no_proxy.bypasses(&url.host()?, url.port_or_known_default()?);
        (!bypassed).then_some(proxy)
    }
}

/// How long and how often to try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Until a server is connected, name resolution and TLS included.
    pub connect: Duration,
    /// Until it answers, and then between any two pieces of the image.
    pub stall: Duration,
    /// From the first request to the last byte of the image, all tries together.
    pub deadline: Duration,
    /// Tries in a row at one server that bring no byte; one that brings some begins the count anew.
    pub tries: u32,
    /// Before the second try; doubled for each one after it, with jitter, up to `backoff_max`.
    pub backoff: Duration,
    /// The longest wait between two tries. A `Retry-After` longer than this ends the tries at that server.
    pub backoff_max: Duration,
    /// Until a URL has come in the place of one that has run out.
    pub fresh_url_wait: Duration,
    /// How many are asked for while one image is fetched.
    pub fresh_urls: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            stall: Duration::from_secs(30),
            deadline: Duration::from_secs(4 * 3600),
            tries: 8,
            backoff: Duration::from_secs(1),
            backoff_max: Duration::from_secs(60),
            fresh_url_wait: Duration::from_secs(120),
            fresh_urls: 8,
        }
    }
}

/// What the operator allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// The formats that are taken.
    pub formats: Vec<ImageFormat>,
    /// Whether MD5 and SHA-1 are taken for digests.
    pub weak_digests: bool,
    /// Whether an image without any digest is written.
    pub without_digest: bool,
    /// Where an image is kept that cannot be written in one pass: a qcow2 from a server without ranges.
    pub spool: Option<Spool>,
}

impl Default for Policy {
    fn default() -> Self {
        Self { formats: ImageFormat::ALL.to_vec(), weak_digests: false, without_digest: false, spool: None }
    }
}

/// Room for an image that must be kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spool {
    /// A directory. A file without a name is made there.
    pub directory: PathBuf,
    /// The largest image that is kept, in bytes.
    pub bytes: u64,
}
