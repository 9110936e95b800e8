//! Keeps an image that cannot be written in one pass: a qcow2 whose server has no ranges. Only where the operator gives room.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;

use super::buffer::{Buffer, Pool};
use super::source::Source;
use super::write::as_u64;
use super::{ImageError, Spool};
use crate::blocking;
use crate::meter::Meter;
use crate::wire::ImageUrl;

/// Fetches the whole image into a file without a name, which is gone with the process whatever happens.
///
/// # Errors
/// [`ImageError::NeedsSpool`] when there is no room for it, [`ImageError::Spool`] when the file cannot be written.
pub(super) async fn keep(
    source: &mut Source,
    head: Buffer,
    room: Option<&Spool>,
    meter: &Meter,
) -> Result<File, ImageError> {
    let url = source.url().clone();
    let needs_room = |most| ImageError::NeedsSpool { url: Box::new(url.clone()), most };
    let Some(Spool { directory, bytes: most }) = room else { return Err(needs_room(None)) };
    if source.length().is_some_and(|length| length > *most) {
        return Err(needs_room(Some(*most)));
    }
    meter.phase("spool", source.length());
    let failed = fault(&url, directory);
    let directory = directory.clone();
    let mut file = blocking::run(move || tempfile::tempfile_in(&directory)).await.map_err(&failed)?;
    let mut pool = Pool::new(2);
    let mut buffer = head;
    while !buffer.bytes().is_empty() {
        if source.received() > *most {
            return Err(needs_room(Some(*most)));
        }
        meter.advance(as_u64(buffer.bytes().len()));
        file = blocking::run(move || file.write_all(buffer.bytes()).map(|()| file)).await.map_err(&failed)?;
        buffer = pool.take().await;
        source.fill(&mut buffer).await?;
    }
    Ok(file)
}

fn fault(url: &ImageUrl, directory: &Path) -> impl Fn(std::io::Error) -> ImageError {
    let (url, directory) = (url.clone(), directory.to_owned());
    move |source| ImageError::Spool { url: Box::new(url.clone()), directory: directory.clone(), source }
}
