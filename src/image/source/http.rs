//! An image at an HTTP server: a request for the whole or for a part, and whether the answer is that.

use std::error::Error;
use std::io;
use std::ops::RangeInclusive;
use std::time::Duration;

use bytes::Bytes;
use chrono::Utc;
use reqwest::header::{
    ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_RANGE, HeaderMap, HeaderValue, IF_RANGE, RANGE,
};
use reqwest::{Method, Response, StatusCode};
use tokio::time::timeout;

use super::client::Clients;
use super::object::{Object, Validator};
use super::redirect::Request;
use super::retry::retry_after;
use crate::image::{ImageError, Limits};
use crate::wire::{ErrorCode, ImageUrl, ProxyUrl};

/// What is asked for.
#[derive(Clone, Debug)]
pub(super) struct Part {
    pub(super) from: u64,
    /// The byte behind the last one; up to the end where absent.
    pub(super) to: Option<u64>,
    /// Only if the object still is this one.
    pub(super) if_still: Option<HeaderValue>,
}

/// An answer that is being read.
#[derive(Debug)]
pub(super) struct HttpBody {
    response: Response,
    stall: Duration,
}

/// What an answer says of the object.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) body: HttpBody,
    pub(super) object: Object,
}

/// Asks for an object or a part of it. `received` is how much of the image there is already.
pub(super) async fn get(
    clients: &Clients,
    url: &ImageUrl,
    part: Option<&Part>,
    limits: &Limits,
    received: u64,
) -> Result<Answer, ImageError> {
    let headers = headers(part);
    let response = Request { method: Method::GET, clients, url, headers, limits, received }.send().await?;
    let boxed = || Box::new(url.clone());
    let start_over = |reason: String| ImageError::StartOver {
        url: boxed(),
        received,
        reason,
        code: ErrorCode::HttpChanged,
    };
    let length = match (part, response.status()) {
        (None, StatusCode::OK) => response.content_length(),
        (Some(part), StatusCode::PARTIAL_CONTENT) => {
            let range = response.headers().get(CONTENT_RANGE);
            Some(check_range(part, range, response.content_length()).map_err(start_over)?)
        }
        (Some(part), StatusCode::OK) => {
            let now = Validator::of(response.headers());
            let has_changed = now.is_some_and(|now| now.for_if_range() != part.if_still.as_ref());
            return Err(if part.if_still.is_some() && has_changed {
                start_over("it has changed on the server".to_owned())
            } else {
                ImageError::NoRanges { url: boxed() }
            });
        }
        (Some(part), StatusCode::RANGE_NOT_SATISFIABLE) => {
            return Err(start_over(format!("the server has nothing from byte {} on", part.from)));
        }
        _ => return Err(bad_status(url, &response)),
    };
    let encoding = response.headers().get(CONTENT_ENCODING);
    if let Some(encoding) = encoding.filter(|value| !value.as_bytes().eq_ignore_ascii_case(b"identity")) {
        let encoding = String::from_utf8_lossy(encoding.as_bytes()).into_owned();
        return Err(ImageError::Encoded { url: boxed(), encoding });
    }
    let object = Object { length, validator: Validator::of(response.headers()) };
    Ok(Answer { body: HttpBody { response, stall: limits.stall }, object })
}

fn headers(part: Option<&Part>) -> HeaderMap {
    // A compressed transfer would have another digest and another length than the image.
    let mut headers = HeaderMap::from_iter([(ACCEPT_ENCODING, HeaderValue::from_static("identity"))]);
    if let Some(Part { from, to, if_still }) = part {
        let last = to.map_or_else(String::new, |to| to.saturating_sub(1).to_string());
        let range = HeaderValue::try_from(format!("bytes={from}-{last}"));
        headers.extend(range.ok().map(|range| (RANGE, range)));
        headers.extend(if_still.clone().map(|validator| (IF_RANGE, validator)));
    }
    headers
}

/// Whether the part that comes is the one that was asked for. Says how long the whole is.
fn check_range(
    part: &Part,
    content_range: Option<&HeaderValue>,
    content_length: Option<u64>,
) -> Result<u64, String> {
    let expected = part.to.map_or_else(
        || format!("bytes {}-", part.from),
        |to| format!("bytes {}-{}", part.from, to.saturating_sub(1)),
    );
    let text = content_range.and_then(|value| value.to_str().ok());
    let bad = || format!("the server answered with Content-Range {text:?}; expected {expected}");
    let (range, total) = text.and_then(read_content_range).ok_or_else(bad)?;
    let last = part.to.map_or(total, |to| to.min(total)).checked_sub(1).ok_or_else(bad)?;
    if range != (part.from..=last) {
        return Err(bad());
    }
    let length = last - part.from + 1;
    match content_length {
        Some(found) if found != length => {
            Err(format!("the server announced {found} bytes of a range of {length}"))
        }
        _ => Ok(total),
    }
}

/// The range that comes and the length of the whole (RFC 9110, 14.4). Without the length it says too little.
pub(super) fn read_content_range(text: &str) -> Option<(RangeInclusive<u64>, u64)> {
    let (unit, rest) = text.trim().split_once(' ')?;
    let (range, total) = rest.trim().split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let number = |digits: &str| {
        let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
        digits.parse::<u64>().ok().filter(|_| plain)
    };
    let (first, last, total) = (number(first)?, number(last)?, number(total)?);
    (unit.eq_ignore_ascii_case("bytes") && first <= last && last < total).then_some((first..=last, total))
}

/// The error of a status that is none of those expected.
pub(super) fn bad_status(url: &ImageUrl, response: &Response) -> ImageError {
    let (url, status) = (Box::new(url.clone()), response.status());
    let may_pass = status.is_server_error()
        || matches!(
            status,
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS
        );
    if may_pass {
        let retry_after = retry_after(response.headers(), Utc::now());
        ImageError::Unavailable { url, status, retry_after }
    } else {
        ImageError::Status { url, status }
    }
}

impl HttpBody {
    /// The next piece; nothing at the end.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, Broken> {
        match timeout(self.stall, self.response.chunk()).await {
            Ok(Ok(piece)) => Ok(piece),
            Ok(Err(error)) => Err(Broken::Cut(error.without_url())),
            Err(_) => Err(Broken::Silent(self.stall)),
        }
    }
}

/// How an answer ended before its end.
#[derive(Debug)]
pub(super) enum Broken {
    Cut(reqwest::Error),
    Silent(Duration),
}

impl Broken {
    pub(super) fn into_error(self, url: &ImageUrl, received: u64, expected: Option<u64>) -> ImageError {
        let url = Box::new(url.clone());
        match self {
            Self::Cut(error) => ImageError::Truncated { url, received, expected, source: Some(error) },
            Self::Silent(waited) => ImageError::Stalled { url, received, waited },
        }
    }
}

/// Why there is no answer.
pub(super) fn not_answered(
    url: &ImageUrl,
    proxy: Option<Box<ProxyUrl>>,
    received: u64,
    error: reqwest::Error,
) -> ImageError {
    let url = Box::new(url.clone());
    // The URL of the error may be a redirected one and carry a signature.
    let source = error.without_url();
    match proxy {
        Some(proxy) if wants_proxy_credentials(&source) => ImageError::ProxyRefused { url, proxy },
        proxy if is_untrusted(&source) => ImageError::Untrusted { url, proxy, source },
        proxy if source.is_connect() => ImageError::Connect { url, proxy, source },
        _ => ImageError::Truncated { url, received, expected: None, source: Some(source) },
    }
}

fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| error.source())
}

/// The type of the error is private to the client: its text is all there is to tell it by.
fn wants_proxy_credentials(error: &reqwest::Error) -> bool {
    causes(error).any(|cause| cause.to_string().contains("proxy authorization required"))
}

fn is_untrusted(error: &reqwest::Error) -> bool {
    causes(error).any(holds_bad_certificate)
}

fn holds_bad_certificate(error: &(dyn Error + 'static)) -> bool {
    if let Some(error) = error.downcast_ref::<rustls::Error>() {
        return matches!(error, rustls::Error::InvalidCertificate(_));
    }
    // What an I/O error holds is not its source; that is the source of what it holds.
    let held = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
    held.is_some_and(|held| holds_bad_certificate(held))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn part(from: u64, to: Option<u64>) -> Part {
        Part { from, to, if_still: None }
    }

    fn check(part: &Part, range: &str, length: Option<u64>) -> Result<u64, String> {
        check_range(part, Some(&HeaderValue::from_str(range).unwrap()), length)
    }

    #[test]
    fn only_the_range_that_was_asked_for_will_do() {
        let rest = part(100, None);
        assert_eq!(check(&rest, "bytes 100-199/200", Some(100)), Ok(200));
        assert_eq!(check(&rest, "Bytes 100-199/200", None), Ok(200));
        for (range, length) in [
            ("bytes 99-199/200", None),
            ("bytes 101-199/200", None),
            ("bytes 100-198/200", None),
            ("bytes 100-199/*", None),
            ("bytes 100-199/199", None),
            ("bytes 199-100/200", None),
            ("bytes */200", None),
            ("bytes 100-+199/200", None),
            ("bits 100-199/200", None),
            ("bytes=100-199/200", None),
            ("", None),
            ("bytes 100-199/200", Some(99)),
            ("bytes 100-99999999999999999999/200", None),
        ] {
            assert!(check(&rest, range, length).is_err(), "{range} {length:?}");
        }
        assert!(check_range(&rest, None, None).is_err());
        let middle = part(100, Some(150));
        assert_eq!(check(&middle, "bytes 100-149/200", Some(50)), Ok(200));
        assert!(check(&middle, "bytes 100-199/200", None).is_err());
        // It may reach over the end.
        assert_eq!(check(&middle, "bytes 100-119/120", Some(20)), Ok(120));
    }

    proptest! {
        #[test]
        fn a_content_range_is_read_as_it_is_written(first: u64, length in 1_u64.., rest: u64) {
            if let Some(total) = first.checked_add(length).and_then(|end| end.checked_add(rest)) {
                let last = first + length - 1;
                let read = read_content_range(&format!("bytes {first}-{last}/{total}"));
                prop_assert_eq!(read, Some((first..=last, total)));
            }
        }

        #[test]
        fn no_content_range_makes_it_panic(text in ".{0,40}") {
            if let Some((range, total)) = read_content_range(&text) {
                prop_assert!(range.start() <= range.end() && *range.end() < total);
            }
        }
    }
}
