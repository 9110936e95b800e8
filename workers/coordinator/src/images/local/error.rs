//! Why an image is not served here.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use farrier::image::ImageError;
use farrier::wire::{Coded, ErrorCode, ImageUrl};

use crate::images::http::HttpError;
use crate::listen::BindError;
use crate::store::StoreError;

/// Why an image is not served by this coordinator.
#[derive(Debug, thiserror::Error)]
pub enum LocalError {
    /// There is no image server.
    #[error(
        "this coordinator serves no images; set `http_listen` in the table [deploy] of its configuration, and `http_url` to what nodes reach it by"
    )]
    NoServer,
    /// There is no room for images of other servers.
    #[error(
        "this coordinator keeps no images of other servers; set `image_cache_dir` in the table [deploy] of its configuration"
    )]
    NoCache,
    /// The URL names no file of this machine.
    #[error("{url} names no file of the coordinator; expected file:///path")]
    NoFileUrl {
        /// What was named.
        url: Box<ImageUrl>,
    },
    /// The source is no HTTP server.
    #[error("{url} is not fetched to be kept here; expected an http or https URL")]
    NotFetched {
        /// What was to be fetched.
        url: Box<ImageUrl>,
    },
    /// The file may not be served.
    #[error("{} may not be served: {reason}", path.display())]
    NotAllowed {
        /// The file.
        path: PathBuf,
        /// Why, and what to do.
        reason: String,
    },
    /// There is no such file.
    #[error("there is no file {} on the coordinator", path.display())]
    NotFound {
        /// The file.
        path: PathBuf,
    },
    /// The file cannot be read.
    #[error("the coordinator cannot read {}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file does not answer.
    #[error("reading {} brought nothing for {} s; is its file system there?", path.display(), waited.as_secs())]
    Silent {
        /// The file.
        path: PathBuf,
        /// How long was waited.
        waited: Duration,
    },
    /// The file is being written.
    #[error(
        "{} changed while it was read; put a new image beside the old one and rename it once it is whole",
        path.display()
    )]
    Changed {
        /// The file.
        path: PathBuf,
    },
    /// The directory of the cache cannot be used.
    #[error("the image cache {} cannot be used", path.display())]
    Cache {
        /// The directory, or what in it.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another coordinator has the same directory.
    #[error(
        "the image cache {} is in use by another process; give each coordinator an `image_cache_dir` of its own",
        path.display()
    )]
    CacheInUse {
        /// The directory.
        path: PathBuf,
    },
    /// There is no room.
    #[error(
        "there is no room for {} in the image cache {}: {reason}",
        bytes.map_or_else(|| "an image of unknown length".to_owned(), |bytes| format!("{bytes} bytes")),
        path.display()
    )]
    CacheFull {
        /// The directory.
        path: PathBuf,
        /// How much is needed, where that is known.
        bytes: Option<u64>,
        /// What there is, and what to do.
        reason: String,
    },
    /// The address of the image server cannot be had.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The work has ended without a result.
    #[error("the work on the image has ended without a result; this is a fault in Farrier")]
    Lost,
    /// The server of the image was asked in vain.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// The image does not come, or is not the one that was meant.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The store fails.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The same, for each of several that waited for one thing.
    #[error(transparent)]
    Shared(#[from] Arc<LocalError>),
}

impl Coded for LocalError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::NoServer | Self::NoCache | Self::CacheInUse { .. } => ErrorCode::BadConfig,
            Self::NoFileUrl { .. } | Self::NotFetched { .. } | Self::NotAllowed { .. } => {
                ErrorCode::PathNotAllowed
            }
            Self::NotFound { .. } => ErrorCode::ImageNotFound,
            Self::Unreadable { .. } | Self::Silent { .. } => ErrorCode::FileUnreadable,
            Self::Changed { .. } => ErrorCode::ImageReplaced,
            Self::Cache { source, .. } if source.kind() == io::ErrorKind::StorageFull => {
                ErrorCode::ImageCacheFull
            }
            Self::Cache { .. } => ErrorCode::DeviceIo,
            Self::CacheFull { .. } => ErrorCode::ImageCacheFull,
            Self::Bind(error) => error.code(),
            Self::Lost => ErrorCode::Internal,
            Self::Http(error) => error.code(),
            Self::Image(error) => error.code(),
            Self::Store(error) => error.code(),
            Self::Shared(error) => error.code(),
        }
    }
}
