//! Asking for an image: which place next, when, how often and how long.

use std::fs::File;
use std::sync::Arc;

use bytes::Bytes;
use tokio::time::{Instant, sleep_until};

use super::client::Clients;
use super::file::FileBody;
use super::http::{self, HttpBody, Part};
use super::mirrors::{LastGood, Mirrors};
use super::object::Object;
use crate::image::fresh::{NoFreshUrl, Urls, may_mean_expired};
use crate::image::{Connection, ImageError, Limits};
use crate::wire::{Coded as _, ImageUrl};

/// What asks for an image: which place next, when, how often, how long.
#[derive(Debug)]
pub(super) struct Fetch {
    clients: Clients,
    urls: Urls,
    pub(super) mirrors: Mirrors,
    limits: Limits,
    pub(super) last_good: LastGood,
    /// The file that the image was kept in: nobody else is asked for it.
    pub(super) kept: Option<Arc<File>>,
    /// The end of it all.
    pub(super) deadline: Instant,
    /// Requests so far.
    pub(super) attempt: u32,
    /// No byte has come since the last request.
    fruitless: bool,
}

/// An answer, from a server or a file.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) body: Body,
    pub(super) object: Object,
}

impl Fetch {
    pub(super) async fn new(
        urls: &Urls,
        connection: &Connection,
        limits: &Limits,
        last_good: &LastGood,
    ) -> Result<Self, ImageError> {
        let now = urls.now();
        Ok(Self {
            clients: Clients::new(&now, connection, limits).await?,
            urls: urls.clone(),
            mirrors: Mirrors::new(now, last_good, limits),
            limits: *limits,
            last_good: last_good.clone(),
            kept: None,
            deadline: Instant::now() + limits.deadline,
            attempt: 0,
            fruitless: true,
        })
    }

    pub(super) fn current_url(&self) -> &ImageUrl {
        self.mirrors.url(self.mirrors.current())
    }

    /// The first answer that is an image.
    pub(super) async fn begin(&mut self) -> Result<(usize, Answer), ImageError> {
        loop {
            let index = self.turn().await?;
            match self.ask(index, None, 0).await {
                Ok(answer) => return Ok((index, answer)),
                Err(error) => self.refused(error, 0).await,
            }
        }
    }

    /// The mirror whose turn it is, once it is time. Why there is none, when all are out.
    pub(super) async fn turn(&mut self) -> Result<usize, ImageError> {
        let Some(next) = self.mirrors.next(Instant::now()) else { return Err(self.mirrors.take_error()) };
        if let Some(at) = next.at {
            sleep_until(at).await;
        }
        self.mirrors.trying(next.index);
        self.attempt = self.attempt.saturating_add(1);
        self.fruitless = true;
        Ok(next.index)
    }

    pub(super) async fn ask(
        &self,
        index: usize,
        part: Option<&Part>,
        received: u64,
    ) -> Result<Answer, ImageError> {
        let url = self.mirrors.url(index);
        let (from, to) = part.map_or((0, None), |part| (part.from, part.to));
        if let Some(file) = &self.kept {
            let (body, object) = FileBody::of(Arc::clone(file), url, from, to).await?;
            return Ok(Answer { body: Body::File(body), object });
        }
        if url.expose().scheme() == "file" {
            let (body, object) = FileBody::open(url, from, to).await?;
            return Ok(Answer { body: Body::File(body), object });
        }
        let answer = http::get(&self.clients, url, part, &self.limits, received).await?;
        let http::Answer { body, object } = answer;
        Ok(Answer { body: Body::Http(body), object })
    }

    /// The mirror that was asked last brought something.
    pub(super) fn brought(&mut self) {
        self.fruitless = false;
        self.mirrors.brought(self.mirrors.current());
    }

    /// The mirror that was asked last did not give what it was asked for. Where its URL has run out and a fresh one comes, it is as
    /// good as before.
    pub(super) async fn refused(&mut self, error: ImageError, received: u64) {
        if let Err(error) = Box::pin(self.renewed(error, received)).await {
            self.failed(error, received);
        }
    }

    /// Asks for fresh URLs where the error is that one has run out. What else it is stays an error.
    async fn renewed(&mut self, error: ImageError, received: u64) -> Result<(), ImageError> {
        let (url, status) = match error {
            ImageError::Status { url, status } if may_mean_expired(status) => (url, status),
            error => return Err(error),
        };
        tracing::warn!(%url, %status, received, "the URL of an image was refused; a fresh one is asked for");
        match self.urls.renew(&url, status, &self.limits).await {
            Ok(fresh) => {
                tracing::info!(%url, received, "the image goes on with a fresh URL");
                self.mirrors.renew(&fresh);
                Ok(())
            }
            // That it was good once is only known where something came by it.
            Err(NoFreshUrl::Nobody) if received == 0 => Err(ImageError::Status { url, status }),
            Err(source) => Err(ImageError::UrlExpired { url, status, source }),
        }
    }

    /// The mirror that was asked last failed.
    pub(super) fn failed(&mut self, error: ImageError, received: u64) {
        let (index, url) = (self.mirrors.current(), self.current_url().clone());
        let reason = error.report().message;
        match self.mirrors.failed(index, error, self.fruitless, Instant::now()) {
            Some(wait) => {
                let wait_seconds = wait.as_secs_f64();
                tracing::warn!(%url, reason, received, wait_seconds, "an image does not come; it will be asked for again");
            }
            None => {
                tracing::warn!(%url, reason, received, "an image does not come; it is not asked for here any more");
            }
        }
    }

    pub(super) fn late(&mut self, received: u64) -> ImageError {
        let url = Box::new(self.current_url().clone());
        let source = self.mirrors.take_last_error().map(Box::new);
        ImageError::Deadline { url, received, allowed: self.limits.deadline, source }
    }
}

/// What is being read.
#[derive(Debug)]
pub(super) enum Body {
    Http(HttpBody),
    File(FileBody),
}

impl Body {
    /// The next piece; nothing at the end. The rest is for errors: how much came, and how much there should be.
    pub(super) async fn next(
        &mut self,
        url: &ImageUrl,
        received: u64,
        expected: Option<u64>,
    ) -> Result<Option<Bytes>, ImageError> {
        match self {
            Self::Http(body) => {
                body.next().await.map_err(|broken| broken.into_error(url, received, expected))
            }
            Self::File(body) => {
                body.next().await.map_err(|source| ImageError::File { url: Box::new(url.clone()), source })
            }
        }
    }
}
