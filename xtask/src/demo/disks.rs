//! Reading the lab disks back: what a job says is one thing, what is on the disk another.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use farrier_testbed::disk_image::{self, DiskImage};
use farrier_testbed::wait::blocking;

use super::stage::Stage;

const BLOCK_BYTES: usize = 1 << 20;

/// What a disk must hold to its last byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// The image, zeros after it, and the copy of its partition table at the end.
    Image,
    /// Zeros.
    Zeros,
}

/// A disk that was read.
#[derive(Debug)]
pub(super) struct ReadBack {
    /// The disk.
    pub(super) disk: PathBuf,
    /// What it was to hold.
    pub(super) expected: Content,
    /// Where it first holds something else.
    pub(super) differs_at: Option<u64>,
}

/// Reads every disk of every node: the first one must hold the image, the others nothing any more.
pub(super) async fn read_back(stage: &Stage) -> anyhow::Result<Vec<ReadBack>> {
    let disks: Vec<_> = stage
        .fleet
        .agents
        .iter()
        .flat_map(|agent| agent.spec().lab_disks.iter().enumerate())
        .map(|(place, disk)| (disk.clone(), if place == 0 { Content::Image } else { Content::Zeros }))
        .collect();
    let image = stage.image.clone();
    blocking(move || {
        disks
            .into_iter()
            .map(|(disk, expected)| {
                let differs_at = first_difference(&disk, expected, &image)
                    .with_context(|| format!("cannot read {} back", disk.display()))?;
                Ok(ReadBack { disk, expected, differs_at })
            })
            .collect()
    })
    .await
}

fn first_difference(disk: &Path, expected: Content, image: &DiskImage) -> anyhow::Result<Option<u64>> {
    let found = File::open(disk)?;
    let length = found.metadata()?.len();
    match expected {
        Content::Zeros => difference(found, std::io::repeat(0).take(length)),
        Content::Image => difference(found, &disk_image::fitted(&image.path, length)?[..]),
    }
}

/// The offset of the first byte at which two streams differ; the end of one of them counts.
fn difference(found: impl Read, expected: impl Read) -> anyhow::Result<Option<u64>> {
    let mut found = BufReader::with_capacity(BLOCK_BYTES, found);
    let mut expected = BufReader::with_capacity(BLOCK_BYTES, expected);
    let (mut found_block, mut expected_block) = (vec![0; BLOCK_BYTES], vec![0; BLOCK_BYTES]);
    let mut offset = 0;
    loop {
        let found_length = fill(&mut found, &mut found_block)?;
        let expected_length = fill(&mut expected, &mut expected_block)?;
        let (one, other) = (&found_block[..found_length], &expected_block[..expected_length]);
        if one != other {
            let same = one.iter().zip(other).take_while(|(one, other)| one == other).count();
            return Ok(Some(offset + u64::try_from(same)?));
        }
        if found_length == 0 {
            return Ok(None);
        }
        offset += u64::try_from(found_length)?;
    }
}

/// Reads until the block is full or the stream ends.
fn fill(stream: &mut impl Read, block: &mut [u8]) -> std::io::Result<usize> {
    let mut length = 0;
    while length < block.len() {
        match stream.read(&mut block[length..])? {
            0 => break,
            more => length += more,
        }
    }
    Ok(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_first_byte_that_differs() {
        let mut bytes = vec![7; BLOCK_BYTES + 10];
        let same = bytes.clone();
        assert_eq!(difference(&bytes[..], &same[..]).unwrap(), None);
        bytes[BLOCK_BYTES + 3] = 8;
        assert_eq!(difference(&bytes[..], &same[..]).unwrap(), Some(BLOCK_BYTES as u64 + 3));
        assert_eq!(difference(&same[..9], &same[..]).unwrap(), Some(9));
        assert_eq!(difference(&same[..], &same[..5]).unwrap(), Some(5));
    }

    #[test]
    fn a_disk_must_be_the_image_and_then_zeros() {
        let dir = tempfile::tempdir().unwrap();
        let image = DiskImage { path: dir.path().join("image"), sha256_hex: String::new(), size: 3 };
        std::fs::write(&image.path, [1, 2, 3]).unwrap();
        let disk = dir.path().join("disk");
        std::fs::write(&disk, [1, 2, 3, 0, 0]).unwrap();
        assert_eq!(first_difference(&disk, Content::Image, &image).unwrap(), None);
        assert_eq!(first_difference(&disk, Content::Zeros, &image).unwrap(), Some(0));
        std::fs::write(&disk, [1, 2, 3, 0, 9]).unwrap();
        assert_eq!(first_difference(&disk, Content::Image, &image).unwrap(), Some(4));
    }
}
