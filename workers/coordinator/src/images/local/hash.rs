//! The SHA-256 of a file that stays as it is while it is read.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use chrono::Utc;
use farrier::blocking;
use sha2::{Digest as _, Sha256};
use tokio::time::{sleep, timeout};

use super::LocalError;
use super::identity::Identity;

/// Bytes that are read at a time.
const PIECE_BYTES: usize = 4 << 20;
/// How long reading a piece may take.
const STALL: Duration = Duration::from_secs(60);

/// Hashes the whole file. Reads on blocking threads, a piece at a time, so that it ends soon after nobody wants it any more.
///
/// # Errors
/// The file cannot be read, or has changed meanwhile.
pub(super) async fn sha256_of(
    path: &Path,
    file: Arc<File>,
    identity: Identity,
) -> Result<[u8; 32], LocalError> {
    // A change in the same tick of the clock as the last one would not show later.
    sleep(identity.unsettled_for(Utc::now())).await;
    let mut work = Work { file, hasher: Sha256::new(), buffer: vec![0; PIECE_BYTES], position: 0 };
    loop {
        let piece = timeout(STALL, blocking::run(move || work.next())).await;
        let silent = |_| LocalError::Silent { path: path.to_owned(), waited: STALL };
        let (next, read) = piece.map_err(silent)?;
        work = next;
        if read.map_err(|source| LocalError::Unreadable { path: path.to_owned(), source })? == 0 {
            break;
        }
    }
    let Work { file, hasher, position, .. } = work;
    let now = blocking::run(move || file.metadata()).await;
    let now = now.map_err(|source| LocalError::Unreadable { path: path.to_owned(), source })?;
    if Identity::of(&now) != identity || position != identity.length() {
        return Err(LocalError::Changed { path: path.to_owned() });
    }
    Ok(hasher.finalize().into())
}

/// Goes from thread to thread.
struct Work {
    file: Arc<File>,
    hasher: Sha256,
    buffer: Vec<u8>,
    position: u64,
}

impl Work {
    /// Takes in the next piece, and says how long it was.
    fn next(mut self) -> (Self, io::Result<u64>) {
        let read = match self.file.read_at(&mut self.buffer, self.position) {
            Ok(length) => {
                self.hasher.update(&self.buffer[..length]);
                u64::try_from(length).map_err(io::Error::other)
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return self.next(),
            Err(error) => Err(error),
        };
        self.position += *read.as_ref().unwrap_or(&0);
        (self, read)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[tokio::test]
    async fn is_that_of_sha256sum_and_fails_for_a_file_that_has_changed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        // More than a piece.
        let content = vec![7; PIECE_BYTES + 1];
        fs::write(&path, &content).unwrap();
        let file = Arc::new(File::open(&path).unwrap());
        let identity = Identity::of(&file.metadata().unwrap());
        let hashed = sha256_of(&path, Arc::clone(&file), identity).await.unwrap();
        assert_eq!(hashed, <[u8; 32]>::from(Sha256::digest(&content)));

        fs::write(&path, "shorter").unwrap();
        let changed = sha256_of(&path, file, identity).await;
        assert!(matches!(changed, Err(LocalError::Changed { .. })), "{changed:?}");
    }
}
