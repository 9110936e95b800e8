//! Fetches an image over HTTP.

use std::time::Duration;

use bytes::{Buf as _, Bytes};
use reqwest::header::{ACCEPT_ENCODING, HeaderValue};
use reqwest::{Client, ClientBuilder, Response, StatusCode, redirect};
use tokio::time::timeout;

use crate::blocking;
use crate::image::ImageError;
use crate::image::Limits;
use crate::image::buffer::Buffer;
use crate::image::write::as_u64;
use crate::wire::ImageUrl;

const MAX_REDIRECTS: usize = 5;

/// An image that is being fetched.
#[derive(Debug)]
pub(in crate::image) struct Source<'a> {
    url: &'a ImageUrl,
    response: Response,
    length: Option<u64>,
    received: u64,
    /// What came and is not taken yet.
    pending: Bytes,
    stall: Duration,
}

impl<'a> Source<'a> {
    /// Asks for the image and waits until the server begins to answer.
    pub(in crate::image) async fn open(url: &'a ImageUrl, limits: &Limits) -> Result<Self, ImageError> {
        let client = client(url, limits).await?;
        // A compressed transfer would have another digest and another length than the image.
        let request =
            client.get(url.expose().clone()).header(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        let answer = timeout(limits.connect + limits.stall, request.send());
        let response = match answer.await {
            Ok(response) => response.map_err(|error| not_answered(url, error))?,
            Err(_) => {
                return Err(ImageError::Stalled {
                    url: Box::new(url.clone()),
                    received: 0,
                    waited: limits.connect + limits.stall,
                });
            }
        };
        check_status(url, response.status())?;
        let length = response.content_length();
        Ok(Self { url, response, length, received: 0, pending: Bytes::new(), stall: limits.stall })
    }

    pub(in crate::image) fn url(&self) -> &ImageUrl {
        self.url
    }

    /// How long the image is, where the server says so.
    pub(in crate::image) fn length(&self) -> Option<u64> {
        self.length
    }

    /// How much of it has come.
    pub(in crate::image) fn received(&self) -> u64 {
        self.received
    }

    /// Fills a buffer; it is not full only when the image has ended.
    pub(in crate::image) async fn fill(&mut self, buffer: &mut Buffer) -> Result<(), ImageError> {
        while !buffer.is_full() {
            if self.pending.is_empty() {
                match self.next().await? {
                    Some(piece) => self.pending = piece,
                    None => break,
                }
            }
            let taken = buffer.fill(&self.pending);
            self.pending.advance(taken);
        }
        Ok(())
    }

    async fn next(&mut self) -> Result<Option<Bytes>, ImageError> {
        let piece = match timeout(self.stall, self.response.chunk()).await {
            Ok(Ok(piece)) => piece,
            Ok(Err(error)) => return Err(self.truncated(Some(error))),
            Err(_) => {
                return Err(ImageError::Stalled {
                    url: Box::new(self.url.clone()),
                    received: self.received,
                    waited: self.stall,
                });
            }
        };
        match &piece {
            Some(piece) => self.received += as_u64(piece.len()),
            None if self.length.is_some_and(|length| length != self.received) => {
                return Err(self.truncated(None));
            }
            None => {}
        }
        Ok(piece)
    }

    fn truncated(&self, error: Option<reqwest::Error>) -> ImageError {
        ImageError::Truncated {
            url: Box::new(self.url.clone()),
            received: self.received,
            expected: self.length,
            source: error.map(reqwest::Error::without_url),
        }
    }
}

fn check_status(url: &ImageUrl, status: StatusCode) -> Result<(), ImageError> {
    let url = || Box::new(url.clone());
    match status {
        StatusCode::OK => Ok(()),
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS => {
            Err(ImageError::Unavailable { url: url(), status })
        }
        status if status.is_server_error() => Err(ImageError::Unavailable { url: url(), status }),
        status => Err(ImageError::Status { url: url(), status }),
    }
}

fn not_answered(url: &ImageUrl, error: reqwest::Error) -> ImageError {
    let url = Box::new(url.clone());
    // The URL of the error may be a redirected one and carry a signature.
    let error = error.without_url();
    if error.is_redirect() {
        ImageError::Redirect { url, source: error }
    } else if error.is_connect() {
        ImageError::Connect { url, source: error }
    } else {
        ImageError::Truncated { url, received: 0, expected: None, source: Some(error) }
    }
}

/// A client that trusts the certificates of the system and uses no proxy that the environment names: what may be reached is for
/// the configuration to say.
async fn client(url: &ImageUrl, limits: &Limits) -> Result<Client, ImageError> {
    let builder = || {
        ClientBuilder::new()
            .connect_timeout(limits.connect)
            .no_proxy()
            .redirect(redirect::Policy::limited(MAX_REDIRECTS))
            .user_agent(concat!("farrier/", env!("CARGO_PKG_VERSION")))
    };
    let trusting_the_system = builder();
    // Reads the certificate store of the system.
    let client = blocking::run(move || {
        // Fails when there is a provider already, and that one serves as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
        trusting_the_system.build()
    })
    .await;
    match client {
        // A RAM disk may have no certificates, and plain HTTP needs none.
        Err(_) if url.expose().scheme() == "http" => builder().tls_certs_only([]).build(),
        client => client,
    }
    .map_err(|error| ImageError::Client { url: Box::new(url.clone()), source: error.without_url() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Coded as _, ErrorCode};

    #[test]
    fn only_200_is_an_image() {
        let url = "http://h/i?sig=secret".parse().unwrap();
        let code = |status: u16| {
            check_status(&url, StatusCode::from_u16(status).unwrap()).map_err(|error| {
                assert!(!error.to_string().contains("secret"), "{error}");
                error.code()
            })
        };
        assert_eq!(code(200), Ok(()));
        for status in [204, 206, 304, 400, 401, 403, 404, 410] {
            assert_eq!(code(status), Err(ErrorCode::HttpStatus), "{status}");
        }
        for status in [408, 425, 429, 500, 502, 503, 504] {
            assert_eq!(code(status), Err(ErrorCode::HttpUnavailable), "{status}");
        }
    }
}
