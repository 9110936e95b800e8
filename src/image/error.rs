//! What can go wrong with an image.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use reqwest::StatusCode;

use super::decode::{Container, ImageKind, Qcow2Flaw};
use super::digest::BadChecksumFile;
use super::fresh::NoFreshUrl;
use crate::meter::Cancelled;
use crate::partition_table::Problem;
use crate::wire::{Coded, Digest, DigestAlgorithm, ErrorCode, ImageFormat, ImageUrl, ProxyUrl};

/// An image could not be fetched, was not what it was said to be, or could not be written. The disk does not boot then.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// Told to stop.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),

    /// The HTTP client cannot be set up.
    #[error(
        "cannot set up the HTTP client to fetch {url}; does this system have CA certificates in /etc/ssl/certs, and do the client certificate and its key belong together?"
    )]
    Client {
        /// What was to be fetched.
        url: Box<ImageUrl>,
        /// Why.
        source: reqwest::Error,
    },

    /// Certificates that were given cannot be read.
    #[error("{what} cannot be read; expected {expected} in PEM")]
    BadPem {
        /// Which certificates.
        what: &'static str,
        /// What they should have been.
        expected: &'static str,
    },

    /// A header that was given cannot be sent.
    #[error(
        "the header {name:?} for the servers of images cannot be sent; expected a name and a value of one line"
    )]
    BadHeader {
        /// Its name.
        name: String,
    },

    /// No connection.
    #[error(
        "cannot connect to the server of {url}{}; check its name, its port and the network",
        .proxy.as_ref().map_or_else(String::new, |proxy| format!(" through the proxy {proxy}"))
    )]
    Connect {
        /// What was to be fetched.
        url: Box<ImageUrl>,
        /// The proxy on the way to it.
        proxy: Option<Box<ProxyUrl>>,
        /// Why.
        source: reqwest::Error,
    },

    /// A server or a proxy that cannot prove who it is.
    #[error(
        "the certificate of the server of {url}{} is not trusted; give the certificate of the authority that issued it",
        .proxy.as_ref().map_or_else(String::new, |proxy| format!(", or of the proxy {proxy},"))
    )]
    Untrusted {
        /// What was to be fetched.
        url: Box<ImageUrl>,
        /// The proxy on the way to it.
        proxy: Option<Box<ProxyUrl>>,
        /// Why.
        source: reqwest::Error,
    },

    /// Redirected in circles, too often, or to where no image can be.
    #[error("cannot follow the redirects of {url}: {reason}; give the address that they should lead to")]
    Redirect {
        /// What was to be fetched.
        url: Box<ImageUrl>,
        /// Why.
        reason: String,
    },

    /// The proxy wants credentials, or other ones.
    #[error(
        "the proxy {proxy} does not let us through to {url} (407 Proxy Authentication Required); give its user and password in the URL of the proxy"
    )]
    ProxyRefused {
        /// What was to be fetched.
        url: Box<ImageUrl>,
        /// The proxy.
        proxy: Box<ProxyUrl>,
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

    /// The URL has run out, and there is no other one.
    #[error(
        "the server of {url} answered {status}: the URL has probably run out, and there is no fresh one; give it a longer time (swift_temp_url_duration), or look at why none is made"
    )]
    UrlExpired {
        /// What was to be fetched.
        url: Box<ImageUrl>,
        /// The status.
        status: StatusCode,
        /// Why there is no fresh one.
        source: NoFreshUrl,
    },

    /// A status that may pass.
    #[error(
        "the server of {url} answered {status}, which may pass{}; expected 200 OK",
        .retry_after.map_or_else(String::new, |wait| format!(", and asks to come back in {} s", wait.as_secs()))
    )]
    Unavailable {
        /// What was to be fetched.
        url: Box<ImageUrl>,
        /// The status.
        status: StatusCode,
        /// How long the server asks to wait.
        retry_after: Option<Duration>,
    },

    /// A body that is not the bytes of the image.
    #[error(
        "the server of {url} sends it with the content encoding {encoding:?}; expected the bytes of the image as they are: switch that off at the server"
    )]
    Encoded {
        /// What was to be fetched.
        url: Box<ImageUrl>,
        /// The encoding.
        encoding: String,
    },

    /// A part of the image was asked for and the whole came.
    #[error("the server of {url} has no ranges; expected 206 Partial Content with a part of the image")]
    NoRanges {
        /// What was to be fetched.
        url: Box<ImageUrl>,
    },

    /// What came before and what comes now are not of one image.
    #[error(
        "cannot go on with {url} after {received} bytes: {reason}; it has to be fetched from its beginning"
    )]
    StartOver {
        /// What was to be fetched.
        url: Box<ImageUrl>,
        /// How much of it came.
        received: u64,
        /// Why.
        reason: String,
        /// What it comes to when it happens again and again.
        code: ErrorCode,
    },

    /// It took too long.
    #[error("{url} did not come within {} s; {received} bytes of it did", .allowed.as_secs_f64())]
    Deadline {
        /// What was fetched.
        url: Box<ImageUrl>,
        /// How much of it came.
        received: u64,
        /// How long it might have taken.
        allowed: Duration,
        /// What went wrong last, if anything did.
        source: Option<Box<ImageError>>,
    },

    /// None of several servers has delivered.
    #[error("none of the {} places of the image delivers it: {}", .failures.len(), one_after_another(.failures))]
    NoMirror {
        /// Why not, each.
        failures: Vec<ImageError>,
    },

    /// A file cannot be read.
    #[error("cannot read {url}")]
    File {
        /// The file.
        url: Box<ImageUrl>,
        /// Why.
        source: io::Error,
    },

    /// More than a checksum file ever is.
    #[error("{url} has more than {limit} bytes; expected a checksum file")]
    NotSmall {
        /// What was fetched.
        url: Box<ImageUrl>,
        /// How many it may have.
        limit: usize,
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
    #[error(
        "{url} is {container}; expected a whole-disk image in raw, compressed or qcow2 format: convert it first"
    )]
    Format {
        /// What was fetched.
        url: Box<ImageUrl>,
        /// What it is.
        container: Container,
    },

    /// Another format than was declared.
    #[error("{url} is {found}; it was declared to be {declared}: correct image_disk_format, or the image")]
    OtherFormat {
        /// What was fetched.
        url: Box<ImageUrl>,
        /// What it is.
        found: ImageFormat,
        /// What it was to be.
        declared: ImageFormat,
    },

    /// A format that the operator does not allow.
    #[error("{url} is {found}; this agent takes {}: change its setting image.formats, or convert the image", list(.allowed))]
    FormatNotAllowed {
        /// What was fetched.
        url: Box<ImageUrl>,
        /// What it is.
        found: ImageFormat,
        /// What is taken.
        allowed: Vec<ImageFormat>,
    },

    /// A compressed image with something else than a raw one within.
    #[error(
        "{url} is {found} within {format}; expected a raw image within: compress the disk itself, or serve what is within as it is"
    )]
    Within {
        /// What was fetched.
        url: Box<ImageUrl>,
        /// What it is compressed with.
        format: ImageFormat,
        /// What is within.
        found: ImageKind,
    },

    /// A compressed stream that is cut, damaged, or goes on behind its end.
    #[error("{url} is damaged: {format} cannot decode it")]
    Compressed {
        /// What was fetched.
        url: Box<ImageUrl>,
        /// What it is compressed with.
        format: ImageFormat,
        /// What the codec says.
        source: io::Error,
    },

    /// A compressed stream that needs more memory than there may be.
    #[error(
        "{url} needs more memory to decode than an agent has for it; compress it with a smaller {format} dictionary or window (up to 64 MiB for xz, 128 MiB for zstd)"
    )]
    CodecMemory {
        /// What was fetched.
        url: Box<ImageUrl>,
        /// What it is compressed with.
        format: ImageFormat,
        /// What the codec says.
        source: io::Error,
    },

    /// A compressed stream that asks for what is not there.
    #[error(
        "{url} asks for more than {format} gives by itself: a dictionary, a filter or a check that is not known here; compress it without"
    )]
    CodecFeature {
        /// What was fetched.
        url: Box<ImageUrl>,
        /// What it is compressed with.
        format: ImageFormat,
        /// What the codec says.
        source: io::Error,
    },

    /// No digest.
    #[error(
        "no digest is given for {url}; give image_checksum, or set image.without_digest on the agent to write images that nobody vouches for"
    )]
    DigestRequired {
        /// What was to be fetched.
        url: Box<ImageUrl>,
    },

    /// A digest that proves little.
    #[error(
        "the digest given for {url} is by {algorithm}, which can be forged; give one by SHA-256 or SHA-512, or set image.weak_digests on the agent"
    )]
    WeakDigest {
        /// What was to be fetched.
        url: Box<ImageUrl>,
        /// The algorithm.
        algorithm: DigestAlgorithm,
    },

    /// The checksum file says nothing of the image.
    #[error("{url} gives no digest of the image")]
    ChecksumFile {
        /// The checksum file.
        url: Box<ImageUrl>,
        /// Why.
        source: BadChecksumFile,
    },

    /// It cannot be written in one pass, and cannot be kept.
    #[error("the server of {url} has no ranges, which a qcow2 needs to be written in one pass; {}", no_room(*.most))]
    NeedsSpool {
        /// What was to be fetched.
        url: Box<ImageUrl>,
        /// The largest image that may be kept, if any may.
        most: Option<u64>,
    },

    /// It cannot be kept.
    #[error("cannot keep {url} in {}", directory.display())]
    Spool {
        /// What was to be fetched.
        url: Box<ImageUrl>,
        /// Where.
        directory: PathBuf,
        /// Why.
        source: io::Error,
    },

    /// It has more bytes than may be kept.
    #[error("{url} has more than the {most} bytes for which there is room")]
    NoRoom {
        /// What was to be fetched.
        url: Box<ImageUrl>,
        /// For how many there is room.
        most: u64,
    },

    /// The file in which it is kept cannot be written.
    #[error("cannot write the file in which {url} is kept")]
    Keep {
        /// What was to be fetched.
        url: Box<ImageUrl>,
        /// Why.
        source: io::Error,
    },

    /// Not the image of a disk like the one at hand.
    #[error("{url} {problem}")]
    Layout {
        /// What was fetched.
        url: Box<ImageUrl>,
        /// Why.
        problem: Box<Problem>,
    },

    /// Not the image of a disk that boots.
    #[error(
        "{url}{} begins with neither a GPT nor an MBR, but with {begins_with}; expected a whole-disk image in raw, compressed or qcow2 format",
        .within.map_or_else(String::new, |format| format!(", decoded by {format},"))
    )]
    NotBootable {
        /// What was fetched.
        url: Box<ImageUrl>,
        /// What it is compressed with.
        within: Option<ImageFormat>,
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
        expected: Box<Digest>,
        /// The digest of what came.
        found: Box<Digest>,
    },

    /// The disk returns something else than was written to it.
    #[error(
        "{target} does not return what was written to it, in the {length} bytes from byte {offset}: the disk or its controller is faulty, or something else writes to it"
    )]
    ReadBack {
        /// The disk.
        target: String,
        /// Where the piece begins that differs.
        offset: u64,
        /// How long the piece is.
        length: u64,
    },

    /// The disk failed.
    #[error("cannot {action} {target} at byte {offset}")]
    Device {
        /// The disk.
        target: String,
        /// What was done, such as `write` or `flush`.
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

    /// Whether the same request may succeed at the same server in a while.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        matches!(
            self,
            Self::Connect { .. } | Self::Unavailable { .. } | Self::Truncated { .. } | Self::Stalled { .. }
        )
    }

    /// How long the server asks to be left alone.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Unavailable { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}

impl Coded for ImageError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::Cancelled(_) => ErrorCode::Cancelled,
            Self::Client { .. } | Self::BadPem { .. } | Self::BadHeader { .. } => ErrorCode::BadConfig,
            Self::Connect { .. } | Self::Untrusted { .. } => ErrorCode::HttpConnect,
            Self::Redirect { .. } | Self::Status { .. } | Self::ProxyRefused { .. } => ErrorCode::HttpStatus,
            Self::UrlExpired { source, .. } => source.code(),
            Self::Encoded { .. } => ErrorCode::ImageUnsupported,
            Self::NoRanges { .. } => ErrorCode::ImageNeedsSpool,
            Self::StartOver { code, .. } => *code,
            Self::Deadline { .. } => ErrorCode::HttpDeadline,
            // One that may pass makes it worth to try them all again.
            Self::NoMirror { failures } => {
                let codes = || failures.iter().map(Coded::code);
                codes()
                    .find(|code| code.retryable())
                    .or_else(|| codes().next())
                    .unwrap_or(ErrorCode::Internal)
            }
            Self::File { .. } => ErrorCode::FileUnreadable,
            Self::NotSmall { .. } => ErrorCode::ChecksumFile,
            Self::Unavailable { .. } => ErrorCode::HttpUnavailable,
            Self::Truncated { .. } => ErrorCode::HttpTruncated,
            Self::Stalled { .. } => ErrorCode::HttpStalled,
            Self::TooLarge { .. } => ErrorCode::ImageTooLarge,
            Self::Format { .. }
            | Self::OtherFormat { .. }
            | Self::FormatNotAllowed { .. }
            | Self::Within { .. } => ErrorCode::ImageFormat,
            Self::Compressed { .. } => ErrorCode::ImageCorrupt,
            Self::CodecMemory { .. } | Self::CodecFeature { .. } => ErrorCode::ImageUnsupported,
            Self::DigestRequired { .. } | Self::WeakDigest { .. } => ErrorCode::DigestRequired,
            Self::ChecksumFile { .. } => ErrorCode::ChecksumFile,
            Self::NeedsSpool { .. } => ErrorCode::ImageNeedsSpool,
            Self::Spool { .. } => ErrorCode::FileUnreadable,
            Self::NoRoom { .. } => ErrorCode::ImageCacheFull,
            Self::Keep { source, .. } if source.kind() == io::ErrorKind::StorageFull => {
                ErrorCode::ImageCacheFull
            }
            Self::Keep { .. } => ErrorCode::DeviceIo,
            Self::NotBootable { .. } | Self::Layout { .. } => ErrorCode::ImageNotBootable,
            Self::Qcow2 { flaw, .. } => flaw.code(),
            Self::DigestMismatch { .. } => ErrorCode::DigestMismatch,
            Self::ReadBack { .. } => ErrorCode::ReadBackMismatch,
            Self::Device { .. } => ErrorCode::DeviceIo,
        }
    }
}

/// Errors with their causes, as one text.
fn one_after_another(errors: &[ImageError]) -> String {
    errors.iter().map(|error| error.report().message).collect::<Vec<_>>().join("; ")
}

fn list(formats: &[ImageFormat]) -> String {
    formats.iter().map(|format| format.as_str()).collect::<Vec<_>>().join(", ")
}

fn no_room(most: Option<u64>) -> String {
    match most {
        None => "serve it from one that has, or give the agent room by image.spool_dir and image.spool_mib"
            .to_owned(),
        Some(most) => {
            format!("serve it from one that has, or raise image.spool_mib: {most} bytes are less than it has")
        }
    }
}
