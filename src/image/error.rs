//! What can go wrong with an image.

use std::io;
use std::time::Duration;

use reqwest::StatusCode;

use super::decode::qcow2::Qcow2Flaw;
use super::decode::sniff::Container;
use crate::meter::Cancelled;
use crate::wire::{Coded, Digest, ErrorCode, ImageUrl};

/// An image could not be fetched, was not what it was said to be, or could not be written. The disk does not boot then.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// Told to stop.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),

    /// The HTTP client cannot be set up.
    #[error(
        "cannot set up the HTTP client to fetch {url}; does this system have CA certificates in /etc/ssl/certs?"
    )]
    Client {
        /// What was to be fetched.
        url: Box<ImageUrl>,
        /// Why.
        source: reqwest::Error,
    },

    /// No connection, or none with a TLS that can be trusted.
    #[error(
        "cannot connect to the server of {url}; check its name, its port, the network and its certificate"
    )]
    Connect {
        /// What was to be fetched.
        url: Box<ImageUrl>,
        /// Why.
        source: reqwest::Error,
    },

    /// Redirected in circles, too often, or to where no image can be.
    #[error("cannot follow the redirects of {url}; give the address that they should lead to")]
    Redirect {
        /// What was to be fetched.
        url: Box<ImageUrl>,
        /// Why.
        source: reqwest::Error,
    },

    /// A status that will be the same next time.
    #[error(
        "the server of {url} answered {status}; expected 200 OK: check that the image is there and may be read"
    )]
    Status {
        /// What was to be fetched.
        url: Box<ImageUrl>,
        /// The status.
        status: StatusCode,
    },

    /// A status that may pass.
    #[error("the server of {url} answered {status}, which may pass; expected 200 OK")]
    Unavailable {
        /// What was to be fetched.
        url: Box<ImageUrl>,
        /// The status.
        status: StatusCode,
    },

    /// The connection broke.
    #[error(
        "the connection to the server of {url} ended after {received} bytes; expected {}",
        .expected.map_or_else(|| "the body to be ended properly".to_owned(), |length| format!("{length} bytes"))
    )]
    Truncated {
        /// What was fetched.
        url: Box<ImageUrl>,
        /// How much of it came.
        received: u64,
        /// How much the server had announced.
        expected: Option<u64>,
        /// What the client says of it, where it noticed.
        source: Option<reqwest::Error>,
    },

    /// Nothing came.
    #[error("the server of {url} sent nothing for {} s after {received} bytes", .waited.as_secs_f64())]
    Stalled {
        /// What was fetched.
        url: Box<ImageUrl>,
        /// How much of it came.
        received: u64,
        /// How long was waited.
        waited: Duration,
    },

    /// It does not fit.
    #[error("{url} has {found} bytes{}; {target} has {capacity}: choose a larger disk or a smaller image", if *.at_least { " or more" } else { "" })]
    TooLarge {
        /// What was fetched.
        url: Box<ImageUrl>,
        /// Its length, as announced or as counted so far.
        found: u64,
        /// Whether more may follow.
        at_least: bool,
        /// The disk.
        target: String,
        /// Its size.
        capacity: u64,
    },

    /// A container of some kind, not the bytes of a disk.
    #[error("{url} is {container}; expected a raw whole-disk image: convert it first")]
    Format {
        /// What was fetched.
        url: Box<ImageUrl>,
        /// What it is.
        container: Container,
    },

    /// Not the image of a disk that boots.
    #[error(
        "{url} begins with neither a GPT nor an MBR, but with {begins_with}; expected a raw whole-disk image"
    )]
    NotBootable {
        /// What was fetched.
        url: Box<ImageUrl>,
        /// Its first bytes, escaped.
        begins_with: String,
    },

    /// A qcow2 image that is refused or damaged.
    #[error("{url} {flaw}")]
    Qcow2 {
        /// What was fetched.
        url: Box<ImageUrl>,
        /// What is wrong with it.
        flaw: Box<Qcow2Flaw>,
    },

    /// Not the bytes that were meant.
    #[error(
        "{url} has the digest {found}; expected {expected}: the image or the checksum is not the one that was meant"
    )]
    DigestMismatch {
        /// What was fetched.
        url: Box<ImageUrl>,
        /// The digest given.
        expected: Digest,
        /// The digest of what came.
        found: Digest,
    },

    /// The disk failed.
    #[error("cannot {action} {target} at byte {offset}")]
    Device {
        /// The disk.
        target: String,
        /// `open`, `write` or `flush`.
        action: &'static str,
        /// Where.
        offset: u64,
        /// Why.
        source: io::Error,
    },
}

impl ImageError {
    pub(super) fn qcow2(url: &ImageUrl, flaw: Qcow2Flaw) -> Self {
        Self::Qcow2 { url: Box::new(url.clone()), flaw: Box::new(flaw) }
    }

    /// Whether it is no fault but the answer to a request to stop.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        matches!(self, Self::Cancelled(_))
    }
}

impl Coded for ImageError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::Cancelled(_) => ErrorCode::Cancelled,
            Self::Client { .. } => ErrorCode::BadConfig,
            Self::Connect { .. } => ErrorCode::HttpConnect,
            Self::Redirect { .. } | Self::Status { .. } => ErrorCode::HttpStatus,
            Self::Unavailable { .. } => ErrorCode::HttpUnavailable,
            Self::Truncated { .. } => ErrorCode::HttpTruncated,
            Self::Stalled { .. } => ErrorCode::HttpStalled,
            Self::TooLarge { .. } => ErrorCode::ImageTooLarge,
            Self::Format { .. } => ErrorCode::ImageFormat,
            Self::NotBootable { .. } => ErrorCode::ImageNotBootable,
            Self::Qcow2 { flaw, .. } => flaw.code(),
            Self::DigestMismatch { .. } => ErrorCode::DigestMismatch,
            Self::Device { .. } => ErrorCode::DeviceIo,
        }
    }
}
