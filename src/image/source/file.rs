//! An image in a file of this machine.

use std::fs::{self, File, FileType, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::sync::Arc;

use bytes::Bytes;
use nix::libc::{O_NOCTTY, O_NONBLOCK};

use super::object::{Object, Validator};
use crate::blocking;
use crate::image::ImageError;
use crate::image::buffer::BUFFER_BYTES;
use crate::wire::ImageUrl;

/// An open file, read from a position on. Reads happen on blocking threads: a file may lie on a disk that is slow or on a network.
#[derive(Debug)]
pub(super) struct FileBody {
    file: Arc<File>,
    position: u64,
    end: u64,
}

impl FileBody {
    /// Opens a regular file, and nothing else: to open a device may do something, and a pipe may never answer.
    pub(super) async fn open(
        url: &ImageUrl,
        from: u64,
        to: Option<u64>,
    ) -> Result<(Self, Object), ImageError> {
        let unreadable = |source| ImageError::File { url: Box::new(url.clone()), source };
        let path = url
            .expose()
            .to_file_path()
            .map_err(|()| unreadable(io::Error::other("it names another host; expected file:///path")))?;
        let opened = blocking::run(move || {
            require_regular(&fs::metadata(&path)?)?;
            let file = OpenOptions::new().read(true).custom_flags(O_NONBLOCK | O_NOCTTY).open(&path)?;
            let metadata = file.metadata()?;
            // What the name leads to may have been exchanged in between.
            require_regular(&metadata)?;
            Ok((file, metadata))
        });
        let (file, metadata) = opened.await.map_err(unreadable)?;
        Ok(Self::at(Arc::new(file), &metadata, from, to))
    }

    /// Reads a file that is open, and was fetched from `url`.
    pub(super) async fn of(
        file: Arc<File>,
        url: &ImageUrl,
        from: u64,
        to: Option<u64>,
    ) -> Result<(Self, Object), ImageError> {
        let same = Arc::clone(&file);
        let metadata = blocking::run(move || same.metadata()).await;
        let metadata = metadata.map_err(|source| ImageError::File { url: Box::new(url.clone()), source })?;
        Ok(Self::at(file, &metadata, from, to))
    }

    fn at(file: Arc<File>, metadata: &Metadata, from: u64, to: Option<u64>) -> (Self, Object) {
        let end = to.unwrap_or(metadata.len());
        (Self { file, position: from, end }, object(metadata))
    }

    /// The next piece; nothing at the end.
    pub(super) async fn next(&mut self) -> io::Result<Option<Bytes>> {
        if self.position >= self.end {
            return Ok(None);
        }
        let (file, position) = (Arc::clone(&self.file), self.position);
        let wanted = usize::try_from(self.end - position).map_or(BUFFER_BYTES, |left| left.min(BUFFER_BYTES));
        let piece = blocking::run(move || {
            let mut piece = vec![0; wanted];
            let length = file.read_at(&mut piece, position)?;
            piece.truncate(length);
            Ok::<_, io::Error>(Bytes::from(piece))
        })
        .await?;
        self.position += crate::image::write::as_u64(piece.len());
        Ok((!piece.is_empty()).then_some(piece))
    }
}

fn object(metadata: &Metadata) -> Object {
    let validator = Validator::File {
        device: metadata.dev(),
        inode: metadata.ino(),
        modified: (metadata.mtime(), metadata.mtime_nsec()),
    };
    Object { length: Some(metadata.len()), validator: Some(validator) }
}

fn require_regular(metadata: &Metadata) -> io::Result<()> {
    let kind = metadata.file_type();
    if kind.is_file() {
        return Ok(());
    }
    Err(io::Error::other(format!("it is {}; expected a regular file", name_of(kind))))
}

fn name_of(kind: FileType) -> &'static str {
    if kind.is_dir() {
        "a directory"
    } else if kind.is_block_device() {
        "a block device"
    } else if kind.is_char_device() {
        "a character device"
    } else if kind.is_fifo() {
        "a named pipe"
    } else {
        "a socket"
    }
}
