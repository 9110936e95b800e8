//! What the first bytes of an image say of the disk that it was made for.

use std::ops::Range;

use super::Disk;
use super::ends::Ends;
use crate::image::ImageError;
use crate::partition_table::{self, Problem, Tail};
use crate::wire::ImageUrl;

/// Refuses an image, by its first MiB or the whole of a smaller one, that is no use on this disk.
///
/// # Errors
/// [`ImageError::Layout`].
pub(in crate::image) fn check_head(url: &ImageUrl, head: &[u8], disk: &Disk) -> Result<(), ImageError> {
    match partition_table::check(head, disk.sector(), disk.capacity()) {
        Ok(_) => Ok(()),
        Err(problem) => Err(error(url, problem)),
    }
}

/// Makes the ends of an image of `length` bytes those of the disk: the copy of a GPT goes to the end. Says where in the body the old
/// copy is, which is to be zeroed.
///
/// # Errors
/// [`ImageError::Layout`].
pub(super) fn fit(
    url: &ImageUrl,
    ends: &mut Ends,
    length: u64,
    disk: &Disk,
) -> Result<Range<u64>, ImageError> {
    check_head(url, &ends.head, disk)?;
    let tail = Tail { start: ends.tail_start(), bytes: &mut ends.tail };
    let moved = partition_table::relocate(&mut ends.head, tail, disk.sector(), disk.capacity(), length);
    let moved = moved.map_err(|problem| error(url, problem))?;
    Ok(moved.and_then(|moved| moved.stale).unwrap_or(0..0))
}

fn error(url: &ImageUrl, problem: Problem) -> ImageError {
    ImageError::Layout { url: Box::new(url.clone()), problem: Box::new(problem) }
}
