//! What the first bytes of an image say of the disk that it was made for.

use std::ops::Range;

use super::Disk;
use super::ends::Ends;
use crate::image::ImageError;
use crate::partition_table::{self, LayoutFlaw, Relocated, relocate};
use crate::wire::ImageUrl;

/// Refuses an image, by its first MiB or the whole of a smaller one, that is no use on this disk.
///
/// # Errors
/// [`ImageError::Layout`].
pub(in crate::image) fn check_head(url: &ImageUrl, head: &[u8], disk: &Disk) -> Result<(), ImageError> {
    partition_table::check(head, disk.sector(), disk.capacity()).map_err(|flaw| error(url, disk, flaw))
}

/// Makes the ends of an image those of the disk: the copy of a GPT goes to the end. Says where in the body the old copy is, which is
/// to be zeroed.
///
/// # Errors
/// [`ImageError::Layout`].
pub(super) fn fit(url: &ImageUrl, ends: &mut Ends, disk: &Disk) -> Result<Range<u64>, ImageError> {
    check_head(url, &ends.head, disk)?;
    let tail_start = ends.tail_start();
    let mut in_memory = partition_table::Ends {
        head: &mut ends.head,
        tail: &mut ends.tail,
        tail_start,
        capacity: disk.capacity(),
        sector: disk.sector(),
    };
    match relocate(&mut in_memory).map_err(|flaw| error(url, disk, flaw))? {
        Some(Relocated { stale: Some(stale) }) => {
            ends.clear(&stale);
            Ok(ends.body_of(&stale))
        }
        _ => Ok(0..0),
    }
}

fn error(url: &ImageUrl, disk: &Disk, source: LayoutFlaw) -> ImageError {
    ImageError::Layout { url: Box::new(url.clone()), target: disk.name().to_owned(), source }
}
