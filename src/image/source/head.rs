//! What a server says of an image, without the image.

use reqwest::header::{
    ACCEPT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, ETAG, HeaderMap, HeaderName, HeaderValue, LAST_MODIFIED,
    RANGE,
};
use reqwest::{Method, Response, StatusCode};

use super::client::Clients;
use super::http::{bad_status, read_content_range};
use super::redirect::Request;
use crate::image::{Connection, ImageError, Limits};
use crate::wire::ImageUrl;

/// What a server says of an image.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// How many bytes it has.
    pub length: Option<u64>,
    /// Its entity tag, weak or strong, as it stands in the header.
    pub etag: Option<String>,
    /// When it was modified, as it stands in the header.
    pub last_modified: Option<String>,
}

/// Asks a server about an image, once, by `HEAD`; by a `GET` of its first byte where the server does not take that. No body is read.
///
/// # Errors
/// What [`write`](crate::image::write()) says of a server that does not deliver.
pub async fn head(url: &ImageUrl, connection: &Connection, limits: &Limits) -> Result<Head, ImageError> {
    let clients = Clients::new(std::slice::from_ref(url), connection, limits).await?;
    let ask = async |method: Method, more: Option<(HeaderName, HeaderValue)>| {
        // The length of a compressed transfer would be another one.
        let mut headers = HeaderMap::from_iter([(ACCEPT_ENCODING, HeaderValue::from_static("identity"))]);
        headers.extend(more);
        Request { method, clients: &clients, url, headers, limits, received: 0 }.send().await
    };
    let mut response = ask(Method::HEAD, None).await?;
    if matches!(response.status(), StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED) {
        let first_byte = (RANGE, HeaderValue::from_static("bytes=0-0"));
        response = ask(Method::GET, Some(first_byte)).await?;
    }
    match response.status() {
        StatusCode::OK | StatusCode::PARTIAL_CONTENT => Ok(Head::of(&response)),
        _ => Err(bad_status(url, &response)),
    }
}

impl Head {
    fn of(response: &Response) -> Self {
        let text = |name| response.headers().get(name)?.to_str().ok();
        let length = if response.status() == StatusCode::PARTIAL_CONTENT {
            text(CONTENT_RANGE).and_then(read_content_range).map(|(_, total)| total)
        } else {
            // Not what the client says: the body of an answer to `HEAD` is empty.
            text(CONTENT_LENGTH).and_then(|length| length.trim().parse().ok())
        };
        Self {
            length,
            etag: text(ETAG).map(str::to_owned),
            last_modified: text(LAST_MODIFIED).map(str::to_owned),
        }
    }
}
