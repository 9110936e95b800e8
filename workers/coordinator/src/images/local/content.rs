//! The bytes of a published file, as far as it still is the one that was hashed.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::BoxError;
use axum::http::HeaderMap;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use bytes::Bytes;
use farrier::blocking;
use farrier::telemetry::names;
use futures_util::{Stream, stream};
use metrics::counter;
use tokio::time::timeout;

use super::cache::Hold;
use super::identity::Identity;

/// Bytes that are read and sent at a time.
const PIECE_BYTES: u64 = 256 << 10;
/// How long reading a piece may take.
const STALL: Duration = Duration::from_secs(60);

/// A file that is being served.
#[derive(Clone, Debug)]
pub(super) struct Content {
    pub(super) file: Arc<File>,
    pub(super) identity: Identity,
    /// The hex digits of its SHA-256.
    pub(super) sha256: String,
    /// Keeps it in the cache.
    pub(super) _hold: Option<Arc<Hold>>,
}

impl Content {
    /// The next piece, if the file is the same still.
    async fn piece(&self, range: Range<u64>) -> io::Result<Bytes> {
        let (file, identity) = (Arc::clone(&self.file), self.identity);
        let reading = blocking::run(move || {
            let length = (range.end - range.start).min(PIECE_BYTES);
            let mut piece = vec![0; usize::try_from(length).map_err(io::Error::other)?];
            file.read_exact_at(&mut piece, range.start)?;
            // Afterwards: what was written before that read shows by now.
            if Identity::of(&file.metadata()?) != identity {
                return Err(io::Error::other("the file has changed"));
            }
            Ok(Bytes::from(piece))
        });
        let piece = timeout(STALL, reading).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?;
        match &piece {
            Ok(piece) => {
                counter!(names::IMAGE_BYTES).increment(u64::try_from(piece.len()).unwrap_or_default())
            }
            // The client sees that the body is cut, and nothing of why.
            Err(error) => {
                tracing::warn!(sha256 = self.sha256, %error, "an image that was being served is cut off")
            }
        }
        piece
    }
}

impl http_serve::Entity for Content {
    type Error = BoxError;
    type Data = Bytes;

    fn len(&self) -> u64 {
        self.identity.length()
    }

    fn get_range(
        &self,
        range: Range<u64>,
    ) -> Pin<Box<dyn Stream<Item = Result<Bytes, BoxError>> + Send + Sync>> {
        let content = self.clone();
        let pieces = stream::try_unfold(range, move |range| {
            let content = content.clone();
            async move {
                if range.is_empty() {
                    return Ok(None);
                }
                let piece = content.piece(range.clone()).await?;
                let next = range.start + u64::try_from(piece.len())?;
                Ok(Some((piece, next..range.end)))
            }
        });
        Box::pin(pieces)
    }

    fn add_headers(&self, headers: &mut HeaderMap) {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
        // The URL is of this content and no other, so that caches on the way may keep it.
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("public, max-age=31536000, immutable"));
    }

    fn etag(&self) -> Option<HeaderValue> {
        HeaderValue::try_from(format!("\"{}\"", self.sha256)).ok()
    }

    #[expect(clippy::disallowed_types, reason = "the trait has it")]
    fn last_modified(&self) -> Option<std::time::SystemTime> {
        Some(self.identity.modified().into())
    }
}
