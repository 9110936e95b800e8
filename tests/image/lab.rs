//! A disk full of old data, a server with an image, and the pipeline between them.

use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};
use std::time::Duration;

use farrier::image::{self, Image, ImageError, Limits, Settings, Target, Written};
use farrier::meter::Meter;
use farrier::wire::{Checksum, Coded as _, Digest, ErrorCode};
pub(crate) use farrier_testbed::disk_image::disk_like;
use farrier_testbed::http::Nginx;
use farrier_testbed::lab_disk::{self, OLD_DATA};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

pub(crate) const MIB: usize = 1 << 20;
/// What is withheld at each end of a disk.
pub(crate) const END: usize = MIB;
/// No test waits longer for anything that must happen.
pub(crate) const BOUND: Duration = Duration::from_secs(20);

/// Servers that are silent for a moment have failed, and nothing is tried twice.
pub(crate) fn short() -> Limits {
    Limits {
        connect: Duration::from_secs(5),
        stall: Duration::from_millis(300),
        tries: 1,
        ..Limits::default()
    }
}

pub(crate) fn settings(limits: Limits) -> Settings {
    Settings { limits, ..Settings::default() }
}

pub(crate) fn image_at(url: &str, checksum: Digest) -> Image {
    Image::new(url.parse().unwrap(), Some(Checksum::Digest(checksum)))
}

pub(crate) struct Lab {
    pub(crate) dir: TempDir,
    pub(crate) disk: PathBuf,
}

impl Lab {
    pub(crate) fn with_disk(bytes: usize) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let disk = dir.path().join("disk");
        lab_disk::create(&disk, bytes as u64).unwrap();
        Self { dir, disk }
    }

    pub(crate) fn serve(&self, image: &[u8]) -> Nginx {
        let docroot = self.dir.path().join("files");
        fs::create_dir_all(&docroot).unwrap();
        fs::write(docroot.join("image"), image).unwrap();
        Nginx::start(&self.dir.path().join("nginx"), &docroot).unwrap()
    }

    pub(crate) async fn write(
        &self,
        url: &str,
        checksum: Digest,
        meter: &Meter,
    ) -> Result<Written, ImageError> {
        let (image, settings) = (image_at(url, checksum), settings(short()));
        let writing = image::write(&image, target(&self.disk), &settings, meter);
        tokio::time::timeout(BOUND, writing).await.expect("the pipeline neither ends nor fails")
    }

    pub(crate) fn content(&self) -> Vec<u8> {
        fs::read(&self.disk).unwrap()
    }

    /// Old data from one byte to another.
    pub(crate) fn assert_old(&self, from: usize, to: usize) {
        let old = OLD_DATA.repeat(to.div_ceil(OLD_DATA.len()));
        assert!(self.content()[from..to] == old[from..to], "bytes {from} to {to} are not as they were");
    }

    pub(crate) fn assert_untouched(&self) {
        self.assert_old(0, self.content().len());
    }

    pub(crate) fn assert_does_not_boot(&self) {
        let content = self.content();
        let ends = [&content[..END.min(content.len())], &content[content.len().saturating_sub(END)..]];
        assert!(ends.iter().all(|end| end.iter().all(|byte| *byte == 0)), "an end of the disk is not zero");
    }
}

pub(crate) fn target(disk: &Path) -> Target {
    let file = OpenOptions::new().read(true).write(true).open(disk).unwrap();
    let capacity = file.metadata().unwrap().len();
    Target { name: disk.display().to_string(), file, capacity, sector: 512 }
}

pub(crate) fn digest_of(bytes: &[u8]) -> Digest {
    Digest::Sha256(Sha256::digest(bytes).into())
}

pub(crate) fn code<T: std::fmt::Debug>(result: Result<T, ImageError>) -> ErrorCode {
    result.unwrap_err().code()
}
