//! The HTTP clients that reach the servers of an image in the way that its request says, and in no other.

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Certificate, Client, ClientBuilder, Identity, Proxy, redirect};

use crate::blocking;
use crate::image::request::Proxies;
use crate::image::{Connection, ImageError, Limits};
use crate::wire::{ImageUrl, ProxyUrl, Secret};

/// What reaches servers, and what is shown to those that the image is said to be at.
#[derive(Debug)]
pub(super) struct Clients {
    /// For the servers that were named.
    own: Client,
    /// For those that they redirect to: without the client certificate.
    foreign: Client,
    /// For the servers that were named.
    headers: HeaderMap,
    proxies: Proxies,
}

impl Clients {
    /// For an image that is at `urls`.
    pub(super) async fn new(
        urls: &[ImageUrl],
        connection: &Connection,
        limits: &Limits,
    ) -> Result<Self, ImageError> {
        let headers = read_headers(&connection.headers)?;
        let proxies = connection.proxies.clone();
        let trust = Trust {
            authorities: connection.authorities.as_deref().map(read_authorities).transpose()?,
            all_plain: urls.iter().all(|url| url.expose().scheme() != "https"),
        };
        let identity = connection.identity.as_ref().map(read_identity).transpose()?;
        let builder = plain_builder(&proxies, limits);
        // Reads the certificate store of the system.
        let clients = blocking::run(move || {
            let foreign = trust.build(&builder)?;
            let own = match identity {
                None => foreign.clone(),
                Some(identity) => trust.build(&move || builder().identity(identity.clone()))?,
            };
            Ok((own, foreign))
        })
        .await;
        match clients {
            Ok((own, foreign)) => Ok(Self { own, foreign, headers, proxies }),
            Err(error) => Err(client_error(urls, error)),
        }
    }

    /// The client and the headers for a server, which may be a `foreign` one.
    pub(super) fn for_server(&self, foreign: bool) -> (&Client, HeaderMap) {
        if foreign { (&self.foreign, HeaderMap::new()) } else { (&self.own, self.headers.clone()) }
    }

    /// The proxy on the way to `url`.
    pub(super) fn proxy(&self, url: &url::Url) -> Option<Box<ProxyUrl>> {
        self.proxies.on_the_way_to(url).cloned().map(Box::new)
    }
}

fn client_error(urls: &[ImageUrl], source: reqwest::Error) -> ImageError {
    let source = source.without_url();
    match urls.first() {
        Some(url) => ImageError::Client { url: Box::new(url.clone()), source },
        None => ImageError::NoMirror { failures: Vec::new() },
    }
}

/// Whom to trust.
struct Trust {
    /// These beside those of the system.
    authorities: Option<Vec<Certificate>>,
    /// Nobody needs to be trusted.
    all_plain: bool,
}

impl Trust {
    fn build(&self, builder: &dyn Fn() -> ClientBuilder) -> reqwest::Result<Client> {
        // Fails when there is a provider already, and that one serves as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let given = self.authorities.clone();
        match builder().tls_certs_merge(given.clone().unwrap_or_default()).build() {
            // A RAM disk may have no certificates. Those that were given are enough, and plain HTTP needs none.
            Err(_) if given.is_some() || self.all_plain => {
                builder().tls_certs_only(given.unwrap_or_default()).build()
            }
            client => client,
        }
    }
}

/// A client that knows no more than the request says: no proxy of the environment and no redirect of its own.
fn plain_builder(proxies: &Proxies, limits: &Limits) -> impl Fn() -> ClientBuilder + Send + use<> {
    let (proxies, connect) = (proxies.clone(), limits.connect);
    move || {
        let proxies = proxies.clone();
        let choose = move |url: &url::Url| proxies.on_the_way_to(url).map(|proxy| proxy.expose().clone());
        ClientBuilder::new()
            .connect_timeout(connect)
            .no_proxy()
            .proxy(Proxy::custom(choose))
            .redirect(redirect::Policy::none())
            .referer(false)
            .http1_only()
            .user_agent(concat!("farrier/", env!("CARGO_PKG_VERSION")))
    }
}

fn read_headers(headers: &[(String, Secret)]) -> Result<HeaderMap, ImageError> {
    let read = |(name, value): &(String, Secret)| {
        let mut value = HeaderValue::from_str(value.expose()).ok()?;
        value.set_sensitive(true);
        Some((HeaderName::from_bytes(name.as_bytes()).ok()?, value))
    };
    let mut map = HeaderMap::new();
    for header in headers {
        let (name, value) = read(header).ok_or_else(|| ImageError::BadHeader { name: header.0.clone() })?;
        // The last one counts: what an image says is behind what holds for all.
        map.insert(name, value);
    }
    Ok(map)
}

fn read_authorities(pem: &[u8]) -> Result<Vec<Certificate>, ImageError> {
    match Certificate::from_pem_bundle(pem) {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        _ => Err(ImageError::BadPem {
            what: "the certificates of authorities for the servers of images",
            expected: "one certificate or more",
        }),
    }
}

fn read_identity(pem: &Secret) -> Result<Identity, ImageError> {
    Identity::from_pem(pem.expose().as_bytes()).map_err(|_| ImageError::BadPem {
        what: "the client certificate for the servers of images",
        expected: "the certificate, those up to its authority, and the key",
    })
}
