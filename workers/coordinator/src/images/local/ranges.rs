//! The range of a request, read before `http-serve` does: that takes an end longer than the whole for nothing, and panics at some numbers.

use axum::http::HeaderMap;
use axum::http::header::{HeaderValue, RANGE};
use http_range_header::parse_range_header;

/// Puts the one range that is asked for plainly. Others are ignored, as a server may (RFC 9110, 14.2): the same one a hundred times would be
/// a hundred times the image.
pub(super) fn make_plain(headers: &mut HeaderMap, length: u64) {
    if let Some(plain) = plain(headers, length) {
        headers.insert(RANGE, plain);
    } else {
        headers.remove(RANGE);
    }
}

fn plain(headers: &HeaderMap, length: u64) -> Option<HeaderValue> {
    let mut given = headers.get_all(RANGE).iter();
    let (first, None) = (given.next()?, given.next()) else { return None };
    let ranges = parse_range_header(first.to_str().ok()?).ok()?;
    if ranges.len() != 1 {
        return None;
    }
    let plain = match ranges.validate(length) {
        Ok(ranges) => ranges.first().map(|range| format!("bytes={}-{}", range.start(), range.end()))?,
        // Behind the end, so that nothing satisfies it.
        Err(_) => format!("bytes={length}-"),
    };
    HeaderValue::try_from(plain).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_range_that_is_asked_for_is_plain_and_others_are_ignored() {
        for (ranges, expected) in [
            (&["bytes=0-1"][..], Some("bytes=0-1")),
            (&["Bytes= 2-"], Some("bytes=2-9")),
            (&["bytes=8-99"], Some("bytes=8-9")),
            (&["bytes=0-18446744073709551615"], Some("bytes=0-9")),
            (&["bytes=-3"], Some("bytes=7-9")),
            (&["bytes=-10"], Some("bytes=0-9")),
            (&["bytes=-30"], Some("bytes=0-9")),
            (&["bytes=-0"], Some("bytes=10-")),
            (&["bytes=10-"], Some("bytes=10-")),
            (&["bytes=5-2"], None),
            (&["bytes=0-1,2-3"], None),
            (&["bytes=0-1", "bytes=2-3"], None),
            (&["lines=0-1"], None),
            (&["bytes=a-b"], None),
            (&[], None),
        ] {
            let mut headers = HeaderMap::new();
            for range in ranges {
                headers.append(RANGE, range.parse().unwrap());
            }
            make_plain(&mut headers, 10);
            assert_eq!(headers.get(RANGE).map(|range| range.to_str().unwrap()), expected, "{ranges:?}");
        }
    }

    #[test]
    fn an_empty_file_has_no_part() {
        for range in ["bytes=0-0", "bytes=0-", "bytes=-1"] {
            let mut headers = HeaderMap::from_iter([(RANGE, range.parse().unwrap())]);
            make_plain(&mut headers, 0);
            let left = headers.get(RANGE);
            assert!(left.is_none_or(|left| left == "bytes=0-"), "{range}: {left:?}");
        }
    }
}
