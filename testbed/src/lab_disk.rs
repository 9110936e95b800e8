//! Lab disks: files that stand for the disks of a node.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;

use anyhow::Context as _;

/// What the last owner of a lab disk left on it, over and over: whoever finds it after an erasure has found old data.
pub const OLD_DATA: &[u8; 16] = b"FARRIER-OLD-DATA";

const BLOCK_BYTES: usize = 1 << 20;

/// Makes a file of `bytes` bytes at `path`, full of [`OLD_DATA`]. An older file there is replaced.
///
/// # Errors
/// When the file cannot be written; names it.
pub fn create(path: &Path, bytes: u64) -> anyhow::Result<()> {
    File::create(path)
        .and_then(|mut file| fill(&mut file, bytes))
        .with_context(|| format!("cannot make the lab disk {} of {bytes} bytes", path.display()))
}

/// Writes so many bytes of [`OLD_DATA`] from where the file stands.
///
/// # Errors
/// When the file cannot be written.
pub fn fill(file: &mut File, bytes: u64) -> io::Result<()> {
    let block = OLD_DATA.repeat(BLOCK_BYTES / OLD_DATA.len());
    let mut left = bytes;
    while left > 0 {
        let length = usize::try_from(left).map_or(BLOCK_BYTES, |left| left.min(BLOCK_BYTES));
        file.write_all(&block[..length])?;
        left -= length as u64;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_full_of_old_data_to_its_last_byte() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("disk");
        let bytes = (1 << 20) + 4 * OLD_DATA.len() + 3;
        create(&path, bytes as u64).unwrap();
        let found = std::fs::read(&path).unwrap();
        assert_eq!(found.len(), bytes);
        assert!(found.chunks(OLD_DATA.len()).all(|chunk| OLD_DATA.starts_with(chunk)));
    }
}
