//! Fetches an image: over HTTP or from a file, from the first place that delivers it, over whatever happens on the way.
//!
//! What came is never asked for again: after a break the next byte is asked for, at the same place or at another one, as long as
//! it is certain that both are of one object. A validator makes that certain, or the digest of the whole, which is held against
//! all that came in the end.

mod client;
mod fetch;
mod file;
mod head;
mod http;
mod mirrors;
mod object;
mod redirect;
mod retry;
mod small;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::ops::Range;
use std::sync::Arc;

use bytes::{Buf as _, Bytes, BytesMut};
use reqwest::header::HeaderValue;
use tokio::time::timeout_at;

pub use head::{Head, head};
pub use mirrors::LastGood;
pub(super) use small::read_small;

use self::fetch::{Body, Fetch};
use self::http::Part;
use self::object::{Object, Validator};
use crate::image::buffer::Buffer;
use crate::image::decode::qcow2::ReadRange;
use crate::image::fresh::Urls;
use crate::image::write::as_u64;
use crate::image::{Connection, Image, ImageError, Limits};
use crate::wire::{Coded as _, ErrorCode, ImageUrl};

/// An image that is being fetched.
#[derive(Debug)]
pub(in crate::image) struct Source {
    fetch: Fetch,
    object: Object,
    /// The mirror that described the object.
    origin: usize,
    /// Whether a digest will tell if what came is of more than one object.
    has_digest: bool,
    may_splice: bool,
    spliced: bool,
    /// None after a break, and at the end.
    stream: Option<Stream>,
    /// What came and is not taken yet.
    pending: Bytes,
    received: u64,
    is_complete: bool,
    /// What ended the stream that came last.
    broken_by: Option<ErrorCode>,
}

impl Source {
    /// Asks for the image, at one place after another and again, until the beginning of an answer has come.
    pub(in crate::image) async fn open(
        image: &Image,
        urls: &Urls,
        limits: &Limits,
        last_good: &LastGood,
    ) -> Result<Self, ImageError> {
        Self::open_at(urls, &image.connection, image.checksum.is_some(), limits, last_good).await
    }

    async fn open_at(
        urls: &Urls,
        connection: &Connection,
        has_digest: bool,
        limits: &Limits,
        last_good: &LastGood,
    ) -> Result<Self, ImageError> {
        Self::begun(Fetch::new(urls, connection, limits, last_good).await?, has_digest).await
    }

    async fn begun(mut fetch: Fetch, has_digest: bool) -> Result<Self, ImageError> {
        let begun = timeout_at(fetch.deadline, fetch.begin()).await;
        let (origin, answer) = match begun {
            Ok(begun) => begun?,
            Err(_) => return Err(fetch.late(0)),
        };
        Ok(Self {
            fetch,
            object: answer.object,
            origin,
            has_digest,
            may_splice: true,
            spliced: false,
            stream: Some(Stream { mirror: origin, body: answer.body }),
            pending: Bytes::new(),
            received: 0,
            is_complete: false,
            broken_by: None,
        })
    }

    /// An image that was fetched from `url` and kept in `file`.
    pub(in crate::image) async fn of_kept(
        url: &ImageUrl,
        file: File,
        limits: &Limits,
    ) -> Result<Self, ImageError> {
        let connection = Connection::default();
        let urls = Urls::fixed(vec![url.clone()]);
        let mut fetch = Fetch::new(&urls, &connection, limits, &LastGood::default()).await?;
        fetch.kept = Some(Arc::new(file));
        Self::begun(fetch, false).await
    }

    /// From now on, never goes on at another place, nor without a validator: what came so has turned out to be wrong.
    pub(in crate::image) fn forbid_splicing(&mut self) {
        self.may_splice = false;
    }

    /// Whether what came is of more than one answer, and nothing but the digest says that they are of one object.
    pub(in crate::image) fn spliced(&self) -> bool {
        self.spliced
    }

    /// What came was right: its server is the one to ask first from now on.
    pub(in crate::image) fn approve(&self) {
        self.fetch.last_good.remember(self.url());
    }

    /// Where it was asked for last.
    pub(in crate::image) fn url(&self) -> &ImageUrl {
        self.fetch.mirrors.url(self.fetch.mirrors.current())
    }

    /// How long the image is, where the server says so.
    pub(in crate::image) fn length(&self) -> Option<u64> {
        self.object.length
    }

    /// How much of it has come.
    pub(in crate::image) fn received(&self) -> u64 {
        self.received
    }

    /// How many requests were made.
    pub(in crate::image) fn attempt(&self) -> u32 {
        self.fetch.attempt
    }

    /// Fills a buffer; it is not full only when the image has ended.
    ///
    /// # Errors
    /// [`ImageError::StartOver`] when the server can no longer give the rest of what has come; else why none of the places delivers
    /// the image, or that it took too long.
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

    /// A part of the image, asked for beside the stream. It is shorter than `range` only where the image ends.
    ///
    /// # Errors
    /// [`ImageError::NoRanges`], and what [`Source::fill`] says.
    pub(in crate::image) async fn read_range(&mut self, range: Range<u64>) -> Result<Bytes, ImageError> {
        let end = self.object.length.map_or(range.end, |length| range.end.min(length));
        if range.start >= end {
            return Ok(Bytes::new());
        }
        match timeout_at(self.fetch.deadline, self.read_part(range.start, end)).await {
            Ok(part) => part,
            Err(_) => Err(self.fetch.late(self.received)),
        }
    }

    /// The next piece; nothing at the end.
    async fn next(&mut self) -> Result<Option<Bytes>, ImageError> {
        match timeout_at(self.fetch.deadline, self.next_in_any_time()).await {
            Ok(piece) => piece,
            Err(_) => Err(self.fetch.late(self.received)),
        }
    }

    async fn next_in_any_time(&mut self) -> Result<Option<Bytes>, ImageError> {
        loop {
            if self.is_complete || self.object.length == Some(self.received) {
                self.complete();
                return Ok(None);
            }
            let Some(stream) = &mut self.stream else {
                self.resume().await?;
                continue;
            };
            // A part may have been asked for elsewhere in the meantime.
            self.fetch.mirrors.trying(stream.mirror);
            match stream.body.next(self.fetch.current_url(), self.received, self.object.length).await {
                Ok(Some(piece)) => return self.take(piece).map(Some),
                Ok(None) if self.object.length.is_none() => self.complete(),
                Ok(None) => {
                    let url = Box::new(self.url().clone());
                    let (received, expected) = (self.received, self.object.length);
                    self.broken(ImageError::Truncated { url, received, expected, source: None });
                }
                Err(error) => self.broken(error),
            }
        }
    }

    fn take(&mut self, piece: Bytes) -> Result<Bytes, ImageError> {
        self.received += as_u64(piece.len());
        match self.object.length {
            Some(length) if self.received > length => {
                Err(self.start_over(format!("more came than the {length} bytes that were announced")))
            }
            _ => {
                self.fetch.brought();
                Ok(piece)
            }
        }
    }

    fn complete(&mut self) {
        if !self.is_complete {
            self.is_complete = true;
            self.stream = None;
            self.object.length = Some(self.received);
        }
    }

    fn broken(&mut self, error: ImageError) {
        self.stream = None;
        self.broken_by = Some(error.code());
        self.fetch.failed(error, self.received);
    }

    /// Asks for what has not come yet, at one place after another and again.
    async fn resume(&mut self) -> Result<(), ImageError> {
        loop {
            let index = self.fetch.turn().await?;
            match self.ask_again(index, self.received, None).await {
                Ok(body) => {
                    self.stream = Some(Stream { mirror: index, body });
                    return Ok(());
                }
                Err(ImageError::NoRanges { .. }) => {
                    let error = self.cannot_resume("the server has no ranges");
                    self.fetch.failed(error, self.received);
                }
                Err(error) => self.fetch.refused(error, self.received).await,
            }
        }
    }

    async fn read_part(&mut self, from: u64, to: u64) -> Result<Bytes, ImageError> {
        loop {
            let index = self.fetch.turn().await?;
            match self.read_part_at(index, from, to).await {
                Ok(part) => {
                    self.fetch.brought();
                    return Ok(part);
                }
                Err(error @ (ImageError::NoRanges { .. } | ImageError::StartOver { .. })) => {
                    return Err(error);
                }
                Err(error) => self.fetch.refused(error, self.received).await,
            }
        }
    }

    async fn read_part_at(&mut self, index: usize, from: u64, to: u64) -> Result<Bytes, ImageError> {
        let mut body = self.ask_again(index, from, Some(to)).await?;
        let end = self.object.length.map_or(to, |length| to.min(length));
        let mut part = BytesMut::new();
        let (url, expected) = (self.fetch.mirrors.url(index), Some(end - from));
        while let Some(piece) = body.next(url, as_u64(part.len()), expected).await? {
            part.extend_from_slice(&piece);
            if as_u64(part.len()) >= end - from {
                break;
            }
        }
        match as_u64(part.len()) {
            length if length == end - from => Ok(part.freeze()),
            received => {
                let url = Box::new(url.clone());
                Err(ImageError::Truncated { url, received, expected, source: None })
            }
        }
    }

    /// Asks a mirror for a part of the object that is being fetched, and of no other.
    async fn ask_again(&mut self, index: usize, from: u64, to: Option<u64>) -> Result<Body, ImageError> {
        let if_still = if to.is_some() { self.condition_of_part(index) } else { self.condition(index)? };
        let part = Part { from, to, if_still };
        let answer = self.fetch.ask(index, Some(&part), self.received).await?;
        let proven = self.check_same(index, &part, &answer.object)?;
        self.spliced |= !proven && to.is_none();
        self.object.length = self.object.length.or(answer.object.length);
        Ok(answer.body)
    }

    /// On what condition a mirror shall give the rest: that the object is still the same, or on none, for the digest will tell.
    fn condition(&self, index: usize) -> Result<Option<HeaderValue>, ImageError> {
        let is_origin = index == self.origin;
        let across = self.may_splice && self.object.length.is_some();
        match &self.object.validator {
            Some(validator) if is_origin => Ok(validator.for_if_range().cloned()),
            _ if across && self.has_digest => Ok(None),
            Some(Validator::Tag(tag)) if across => Ok(Some(tag.clone())),
            _ => Err(self.cannot_resume(
                "nothing says that the rest is of the same object: no validator, and no digest and length",
            )),
        }
    }

    /// Whoever asks for a part sees the same bytes in the stream again and compares them: no condition is needed.
    fn condition_of_part(&self, index: usize) -> Option<HeaderValue> {
        let validator = self.object.validator.as_ref().filter(|_| index == self.origin)?;
        validator.for_if_range().cloned()
    }

    /// Refuses another object. Says whether it is certain, without the digest, that it is the same.
    fn check_same(&self, index: usize, part: &Part, found: &Object) -> Result<bool, ImageError> {
        if let (Some(before), Some(now)) = (self.object.length, found.length)
            && before != now
        {
            return Err(self.start_over(format!("it had {before} bytes and now has {now}")));
        }
        let is_origin = index == self.origin;
        let (before, now) = (self.object.validator.as_ref(), found.validator.as_ref());
        let contradicts = before.zip(now).is_some_and(|(before, now)| before.contradicts(now));
        if contradicts && (is_origin || !self.has_digest) {
            return Err(self.start_over("it has changed on the server".to_owned()));
        }
        let comparable = is_origin || matches!(before, Some(Validator::Tag(_)));
        Ok(part.if_still.is_some() || (comparable && before.is_some() && before == now))
    }

    fn start_over(&self, reason: String) -> ImageError {
        self.start_anew(reason, ErrorCode::HttpChanged)
    }

    /// The stream broke, for a reason that counts in the end, and cannot be taken up again.
    fn cannot_resume(&self, why: &str) -> ImageError {
        let code = self.broken_by.unwrap_or(ErrorCode::HttpChanged);
        self.start_anew(format!("it broke off ({code}) and cannot be taken up again: {why}"), code)
    }

    fn start_anew(&self, reason: String, code: ErrorCode) -> ImageError {
        // It may be the only one that delivers, and nothing will be left of what the other one gave.
        self.fetch.last_good.remember(self.url());
        ImageError::StartOver { url: Box::new(self.url().clone()), received: self.received, reason, code }
    }
}

impl ReadRange for Source {
    fn read(&mut self, range: Range<u64>) -> impl Future<Output = Result<Bytes, ImageError>> + Send {
        self.read_range(range)
    }
}

/// What comes from one mirror, up to the end of the image.
#[derive(Debug)]
struct Stream {
    mirror: usize,
    body: Body,
}
