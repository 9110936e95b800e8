//! URLs in the place of those that run out while an image is fetched.

use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use reqwest::StatusCode;
use tokio::time::timeout;

use super::{Image, Limits, Settings};
use crate::wire::{Coded, ErrorCode, ErrorReport, ImageUrl};

/// Makes URLs anew, or knows who does.
pub trait FreshUrls: fmt::Debug + Send + Sync {
    /// URLs of the same objects as those that the image came with: of its source, and then of its mirrors in their order. `refused`
    /// is the one that a server has answered with `status`.
    ///
    /// Whoever waits for them may give up at any time, and then drops this.
    ///
    /// # Errors
    /// Why there are none.
    fn fresh<'a>(
        &'a self,
        refused: &'a ImageUrl,
        status: u16,
    ) -> BoxFuture<'a, Result<Vec<ImageUrl>, ErrorReport>>;
}

/// Why there is no fresh URL in the place of one that has run out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoFreshUrl {
    /// There is nobody to ask.
    #[error("nobody makes fresh ones here")]
    Nobody,
    /// So many have been asked for.
    #[error("{asked} were asked for while the image was fetched, and none of them lasted to its end")]
    TooMany {
        /// How many.
        asked: u32,
    },
    /// None came in time.
    #[error("none came within {} s of being asked for", .waited.as_secs())]
    Late {
        /// How long it was waited for.
        waited: Duration,
    },
    /// Whoever makes them has said that there is none.
    #[error("none was made: {0}")]
    NotMade(ErrorReport),
    /// It came, and is the one that was refused.
    #[error("the one that came in its place is the same")]
    Same,
    /// What came is not one for each place of the image.
    #[error("{found} came in the place of {expected}")]
    Misfit {
        /// How many places the image has.
        expected: usize,
        /// How many URLs came.
        found: usize,
    },
}

impl Coded for NoFreshUrl {
    fn code(&self) -> ErrorCode {
        match self {
            // Whoever made none knows best what that means.
            Self::NotMade(report) if report.code != ErrorCode::Unknown => report.code,
            _ => ErrorCode::UrlExpired,
        }
    }
}

/// Whether a status may mean that the URL has run out.
pub(super) fn may_mean_expired(status: StatusCode) -> bool {
    matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::GONE)
}

/// The URLs of an image as they are now, however often it is begun. Clones are the same.
#[derive(Clone, Debug)]
pub(super) struct Urls(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    now: Mutex<Vec<ImageUrl>>,
    maker: Option<Arc<dyn FreshUrls>>,
    asked: AtomicU32,
}

impl Urls {
    /// Of an image, made anew by whomever the settings name.
    pub(super) fn of(image: &Image, settings: &Settings) -> Self {
        let urls = std::iter::once(&image.source).chain(&image.mirrors).cloned().collect();
        Self::new(urls, settings.fresh_urls.clone())
    }

    /// Nobody makes these anew.
    pub(super) fn fixed(urls: Vec<ImageUrl>) -> Self {
        Self::new(urls, None)
    }

    fn new(urls: Vec<ImageUrl>, maker: Option<Arc<dyn FreshUrls>>) -> Self {
        Self(Arc::new(Shared { now: Mutex::new(urls), maker, asked: AtomicU32::new(0) }))
    }

    /// The source, and the mirrors in their order.
    pub(super) fn now(&self) -> Vec<ImageUrl> {
        self.0.now.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes fresh ones in the place of all, because one was refused.
    ///
    /// # Errors
    /// [`NoFreshUrl`].
    pub(super) async fn renew(
        &self,
        refused: &ImageUrl,
        status: StatusCode,
        limits: &Limits,
    ) -> Result<Vec<ImageUrl>, NoFreshUrl> {
        let Some(maker) = &self.0.maker else { return Err(NoFreshUrl::Nobody) };
        if self.0.asked.fetch_add(1, Ordering::Relaxed) >= limits.fresh_urls {
            return Err(NoFreshUrl::TooMany { asked: limits.fresh_urls });
        }
        let fresh = match timeout(limits.fresh_url_wait, maker.fresh(refused, status.as_u16())).await {
            Ok(made) => made.map_err(NoFreshUrl::NotMade)?,
            Err(_) => return Err(NoFreshUrl::Late { waited: limits.fresh_url_wait }),
        };
        if fresh.contains(refused) {
            return Err(NoFreshUrl::Same);
        }
        let mut now = self.0.now.lock().unwrap_or_else(PoisonError::into_inner);
        if fresh.len() != now.len() {
            return Err(NoFreshUrl::Misfit { expected: now.len(), found: fresh.len() });
        }
        now.clone_from(&fresh);
        Ok(fresh)
    }
}
