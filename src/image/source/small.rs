//! Small files that belong to an image: checksum files.

use bytes::{Bytes, BytesMut};

use super::{LastGood, Source};
use crate::image::fresh::Urls;
use crate::image::{Image, ImageError, Limits};
use crate::wire::ImageUrl;

/// How often a file that changes while it is read is read again.
const TIMES: usize = 3;

/// Reads a file of at most `max_bytes` that belongs to `image`, reached in the way that the image is.
///
/// # Errors
/// [`ImageError::NotSmall`] when it has more; else why it cannot be fetched.
pub(in crate::image) async fn read_small(
    url: &ImageUrl,
    image: &Image,
    limits: &Limits,
    max_bytes: usize,
) -> Result<Bytes, ImageError> {
    for _ in 1..TIMES {
        match read_once(url, image, limits, max_bytes).await {
            Err(ImageError::StartOver { .. }) => {}
            result => return result,
        }
    }
    read_once(url, image, limits, max_bytes).await
}

async fn read_once(
    url: &ImageUrl,
    image: &Image,
    limits: &Limits,
    max_bytes: usize,
) -> Result<Bytes, ImageError> {
    let connection = &image.connection;
    let urls = Urls::fixed(vec![url.clone()]);
    let mut source = Source::open_at(&urls, connection, false, limits, &LastGood::default()).await?;
    let mut content = BytesMut::new();
    while let Some(piece) = source.next().await? {
        content.extend_from_slice(&piece);
        if content.len() > max_bytes {
            return Err(ImageError::NotSmall { url: Box::new(url.clone()), limit: max_bytes });
        }
    }
    Ok(content.freeze())
}
