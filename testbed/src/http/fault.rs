//! What can go wrong at a server, and what its answer then looks like.

use std::fmt::Write as _;
use std::time::Duration;

use super::faulty::Request;

/// What goes wrong with one answer. Places count from the beginning of the object, wherever the range of the answer begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    Nothing,
    /// Nothing: but the length of the body is not told, it ends with the connection.
    NoContentLength,
    /// The connection ends after so many bytes of the object.
    CutAfter(usize),
    /// Nothing more comes after so many bytes of the object, and the connection stays open.
    StallAfter(usize),
    /// The connection is accepted and nothing ever comes.
    Silence,
    /// The object is said to have so many bytes, whatever it has.
    ContentLength(u64),
    /// The range is said to be this one.
    ContentRange(String),
    /// The object has changed: this is its entity tag now.
    Tag(String),
    /// Ranges are not known of.
    NoRanges,
    /// The condition of a range is not known of.
    NoConditions,
    /// So many bytes come at a time, and then nothing for a while.
    Trickle(usize, Duration),
    /// The body is said to have this content encoding.
    Encoding(String),
    /// The answer has this status and no body.
    Status(u16),
    /// The answer has this status and no body, and asks to come back later.
    RetryAfter(u16, String),
    /// The answer leads to there.
    RedirectTo(String),
}

/// What tells one version of an object from another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Validator {
    /// The entity tag, with its quotes.
    Tag(String),
    /// The date in `Last-Modified`.
    Modified(String),
    /// Nothing does.
    None,
}

impl Validator {
    fn header(&self) -> String {
        match self {
            Self::Tag(tag) => format!("ETag: {tag}\r\n"),
            Self::Modified(date) => format!("Last-Modified: {date}\r\n"),
            Self::None => String::new(),
        }
    }

    fn is(&self, condition: &str) -> bool {
        matches!(self, Self::Tag(value) | Self::Modified(value) if value == condition)
    }
}

/// An answer: its head, and from where to where the body goes.
pub(super) struct Answer {
    pub(super) head: String,
    pub(super) from: usize,
    pub(super) to: usize,
}

/// The answer to a request for an object of `length` bytes.
pub(super) fn answer(request: &Request, fault: &Fault, validator: &Validator, length: usize) -> Answer {
    let empty = |status: u16, more: &str| Answer {
        head: format!("HTTP/1.1 {status} Fault\r\nContent-Length: 0\r\n{more}"),
        from: 0,
        to: 0,
    };
    let validator = match fault {
        Fault::Status(status) => return empty(*status, ""),
        Fault::RetryAfter(status, after) => return empty(*status, &format!("Retry-After: {after}\r\n")),
        Fault::RedirectTo(url) => return empty(302, &format!("Location: {url}\r\n")),
        Fault::Tag(tag) => &Validator::Tag(tag.clone()),
        _ => validator,
    };
    let announced = match fault {
        Fault::ContentLength(announced) => *announced,
        _ => length as u64,
    };
    let condition = request.header("if-range").filter(|_| *fault != Fault::NoConditions);
    let range = request.header("range").filter(|_| *fault != Fault::NoRanges).and_then(read_range);
    let (mut head, from, to) = match range {
        Some((from, to)) if condition.is_none_or(|condition| validator.is(condition)) => {
            let to = to.map_or(announced, |to| announced.min(to + 1));
            if from >= to {
                return empty(416, &format!("Content-Range: bytes */{announced}\r\n"));
            }
            let range = match fault {
                Fault::ContentRange(range) => range.clone(),
                _ => format!("bytes {from}-{}/{announced}", to - 1),
            };
            (format!("HTTP/1.1 206 Partial Content\r\nContent-Range: {range}\r\n"), from, to)
        }
        _ => ("HTTP/1.1 200 OK\r\n".to_owned(), 0, announced),
    };
    head.push_str(&validator.header());
    head.push_str("Date: Sun, 01 Mar 2026 12:00:00 GMT\r\n");
    if *fault != Fault::NoContentLength {
        let _ = write!(head, "Content-Length: {}\r\n", to - from);
    }
    if *fault != Fault::NoRanges {
        head.push_str("Accept-Ranges: bytes\r\n");
    }
    if let Fault::Encoding(encoding) = fault {
        let _ = write!(head, "Content-Encoding: {encoding}\r\n");
    }
    let place = |place: u64| usize::try_from(place).unwrap_or(usize::MAX).min(length);
    let end = match fault {
        Fault::CutAfter(end) | Fault::StallAfter(end) => place(to).min(*end),
        // The whole is sent, whatever was announced of it.
        Fault::ContentLength(_) => length,
        _ => place(to),
    };
    Answer { head, from: place(from), to: end.max(place(from)) }
}

/// `bytes=<from>-` or `bytes=<from>-<last>`.
fn read_range(text: &str) -> Option<(u64, Option<u64>)> {
    let (from, last) = text.strip_prefix("bytes=")?.split_once('-')?;
    let last = if last.is_empty() { None } else { Some(last.parse().ok()?) };
    Some((from.parse().ok()?, last))
}
