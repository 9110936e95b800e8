//! An image at another server, asked about before an agent is sent there.

use std::time::Duration;

use backon::{ExponentialBuilder, Retryable as _};
use farrier::image::{Connection, Head, ImageError, Limits, head};
use farrier::wire::{Coded, ErrorCode, ImageUrl, Secret};
use tokio::time::timeout;

/// How long a server may take to be connected, and to answer.
const CONNECT: Duration = Duration::from_secs(10);
const ANSWER: Duration = Duration::from_secs(20);
/// How long may pass until it is known whether the image is there, all tries together.
const WITHIN: Duration = Duration::from_secs(60);
/// After how long a server is asked again, and how often.
const FIRST_WAIT: Duration = Duration::from_millis(200);
const LONGEST_WAIT: Duration = Duration::from_secs(10);
const TRIES_MORE: usize = 3;

/// Why an image cannot be fetched from where it is said to be.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// It is not there.
    #[error("there is no image at {url}: its server answered {status}; check the address")]
    NotFound {
        /// Where it was to be.
        url: Box<ImageUrl>,
        /// The status.
        status: u16,
    },
    /// Its server refuses it, fails or cannot be reached.
    #[error(transparent)]
    Server(#[from] ImageError),
    /// Its server keeps us waiting.
    #[error("the server of {url} has not said within {} s whether the image is there", WITHIN.as_secs())]
    Late {
        /// Where it was to be.
        url: Box<ImageUrl>,
    },
}

impl Coded for HttpError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::NotFound { .. } => ErrorCode::ImageNotFound,
            Self::Server(error) => error.code(),
            Self::Late { .. } => ErrorCode::HttpStalled,
        }
    }
}

/// Makes sure that an image is there. `authorization` is the value of the header of that name, which only the server of `url` sees.
///
/// # Errors
/// [`HttpError`]. What may pass was tried again.
pub async fn check(
    connection: &Connection,
    url: &ImageUrl,
    authorization: Option<&Secret>,
) -> Result<Head, HttpError> {
    let mut connection = connection.clone();
    let authorization = authorization.map(|value| ("Authorization".to_owned(), value.clone()));
    connection.headers.extend(authorization);
    let limits = Limits { connect: CONNECT, stall: ANSWER, ..Limits::default() };
    let waits = ExponentialBuilder::new()
        .with_min_delay(FIRST_WAIT)
        .with_max_delay(LONGEST_WAIT)
        .with_max_times(TRIES_MORE)
        .with_jitter();
    let asking = (|| head(url, &connection, &limits))
        .retry(waits)
        .when(ImageError::may_pass)
        // One that asks to be left alone for longer is not asked again.
        .adjust(|error, wait| match error.retry_after() {
            Some(asked) if asked > LONGEST_WAIT => None,
            asked => wait.map(|wait| wait.max(asked.unwrap_or_default())),
        })
        .notify(|error, wait| tracing::warn!(%error, ?wait, "an image is asked about again"));
    match timeout(WITHIN, asking).await {
        Err(_) => Err(HttpError::Late { url: Box::new(url.clone()) }),
        Ok(Err(ImageError::Status { url, status })) if matches!(status.as_u16(), 404 | 410) => {
            Err(HttpError::NotFound { url, status: status.as_u16() })
        }
        Ok(told) => Ok(told?),
    }
}
