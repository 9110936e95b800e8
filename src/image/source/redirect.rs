//! Where a server sends those who ask for an image, and what may be shown there.

use reqwest::header::{HeaderMap, LOCATION};
use reqwest::{Method, Response, StatusCode};
use tokio::time::timeout;
use url::Url;

use super::client::Clients;
use super::http::not_answered;
use crate::image::{ImageError, Limits};
use crate::wire::ImageUrl;

const MAX_REDIRECTS: usize = 5;

/// One request and those that it is redirected to.
pub(super) struct Request<'a> {
    pub(super) method: Method,
    pub(super) clients: &'a Clients,
    pub(super) url: &'a ImageUrl,
    /// For every server on the way, beside those of the clients.
    pub(super) headers: HeaderMap,
    pub(super) limits: &'a Limits,
    /// How much of the image there is already.
    pub(super) received: u64,
}

impl Request<'_> {
    /// Asks, and asks on where it is sent. Credentials, headers and the client certificate are for the server that was named: once
    /// the way has led to another one, that and those behind it see none of them.
    pub(super) async fn send(self) -> Result<Response, ImageError> {
        let mut place = Place { url: self.url.expose().clone(), foreign: false };
        for _ in 0..=MAX_REDIRECTS {
            let response = self.ask(&place).await?;
            let location = response.headers().get(LOCATION);
            match location.filter(|_| is_redirect(response.status())) {
                None => return Ok(response),
                Some(location) => {
                    let next = location.to_str().map_err(|_| "it is no text").and_then(|to| place.next(to));
                    place =
                        next.map_err(|reason| self.lost(format!("a redirect leads nowhere: {reason}")))?;
                }
            }
        }
        Err(self.lost(format!("there are more than {MAX_REDIRECTS}")))
    }

    async fn ask(&self, place: &Place) -> Result<Response, ImageError> {
        let (client, mut headers) = self.clients.for_server(place.foreign);
        headers.extend(self.headers.clone());
        let waited = self.limits.connect + self.limits.stall;
        let request = client.request(self.method.clone(), place.url.clone()).headers(headers).send();
        let proxy = self.clients.proxy(&place.url);
        match timeout(waited, request).await {
            Ok(Ok(response)) => match (response.status(), proxy) {
                (StatusCode::PROXY_AUTHENTICATION_REQUIRED, Some(proxy)) => {
                    Err(ImageError::ProxyRefused { url: Box::new(self.url.clone()), proxy })
                }
                _ => Ok(response),
            },
            Ok(Err(error)) => Err(not_answered(self.url, proxy, self.received, error)),
            Err(_) => {
                Err(ImageError::Stalled { url: Box::new(self.url.clone()), received: self.received, waited })
            }
        }
    }

    fn lost(&self, reason: String) -> ImageError {
        ImageError::Redirect { url: Box::new(self.url.clone()), reason }
    }
}

fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

/// A server on the way, and whether it is another one than was named.
#[derive(Debug)]
struct Place {
    url: Url,
    foreign: bool,
}

impl Place {
    /// Where `location` leads from here.
    fn next(&self, location: &str) -> Result<Self, &'static str> {
        let mut url = self.url.join(location).map_err(|_| "it is no URL")?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err("it is no http or https URL");
        }
        // Another port is another server, and so is the same one without TLS.
        let foreign = self.foreign || url.origin() != self.url.origin();
        let (user, password) = if foreign { ("", None) } else { (self.url.username(), self.url.password()) };
        // Fails only for URLs that cannot have credentials, and those of http can.
        let _ = url.set_username(user);
        let _ = url.set_password(password);
        Ok(Self { url, foreign })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(url: &str, foreign: bool) -> Place {
        Place { url: url.parse().unwrap(), foreign }
    }

    #[test]
    fn credentials_stay_with_the_server_that_was_named() {
        let from = place("https://user:pass@a.net/x/image?sig=1", false);
        for (location, expected, foreign) in [
            ("/y", "https://user:pass@a.net/y", false),
            ("y?sig=2", "https://user:pass@a.net/x/y?sig=2", false),
            ("https://a.net:443/y", "https://user:pass@a.net/y", false),
            ("https://A.net/y", "https://user:pass@a.net/y", false),
            ("//a.net/y", "https://user:pass@a.net/y", false),
            ("https://a.net:8443/y", "https://a.net:8443/y", true),
            ("http://a.net/y", "http://a.net/y", true),
            ("http://a.net:443/y", "http://a.net:443/y", true),
            ("https://b.net/y", "https://b.net/y", true),
            ("https://sub.a.net/y", "https://sub.a.net/y", true),
            ("https://user:pass@b.net/y", "https://b.net/y", true),
            ("https://a.net@b.net/y", "https://b.net/y", true),
        ] {
            let next = from.next(location).unwrap();
            assert_eq!((next.url.as_str(), next.foreign), (expected, foreign), "{location}");
        }
        // The way back is no better than the way there.
        let back = place("https://b.net/", true).next("https://a.net/y").unwrap();
        assert_eq!((back.url.as_str(), back.foreign), ("https://a.net/y", true));
    }

    #[test]
    fn a_server_cannot_make_us_read_files() {
        for location in ["file:///etc/shadow", "ftp://a.net/", "data:,x", "http://", "https://a.net:x/"] {
            assert!(place("http://a.net/", false).next(location).is_err(), "{location}");
        }
    }
}
