//! A process that is killed at any moment leaves no half of an image that could boot.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use farrier_testbed::disk_image;
use farrier_testbed::http::{Fault, FaultyServer, Nginx};
use farrier_testbed::process::Process;
use farrier_testbed::wait::wait_for;
use rand::RngExt as _;
use tempfile::TempDir;

use crate::lab::{BOUND, MIB};

const KILLS: u32 = 24;

/// What a killed writer has left.
#[derive(Debug, PartialEq, Eq)]
enum Left {
    /// It had not begun.
    Untouched,
    /// There is no partition table at either end.
    NotBootable,
    /// It was done.
    Complete,
}

/// A disk that boots, and another image on a server.
struct Lab {
    dir: TempDir,
    old: Vec<u8>,
    new: Vec<u8>,
    sha256: String,
}

impl Lab {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let built = disk_image::build(dir.path(), 24).unwrap();
        let new = fs::read(&built.path).unwrap();
        // Another machine's system: as bootable as the new one, and of the same size.
        let old = new.iter().map(|byte| byte.rotate_left(1)).collect::<Vec<_>>();
        let old = [&new[..MIB], &old[MIB..old.len() - MIB], &new[new.len() - MIB..]].concat();
        Self { dir, old, new, sha256: built.sha256_hex }
    }

    fn disk(&self) -> std::path::PathBuf {
        self.dir.path().join("disk")
    }

    fn start(&self, url: &str) -> Process {
        fs::write(self.disk(), &self.old).unwrap();
        let mut farrier = Command::new(env!("CARGO_BIN_EXE_farrier"));
        farrier.args(["run", "deploy", "--image-source", url, "--image-checksum", &self.sha256]);
        farrier.arg("--lab-disk").arg(self.disk());
        Process::spawn(&farrier).unwrap()
    }

    fn left(&self) -> Left {
        let disk = fs::read(self.disk()).unwrap();
        let end = disk.len() - MIB;
        let zero = |bytes: &[u8]| bytes.iter().all(|byte| *byte == 0);
        if disk == self.new {
            return Left::Complete;
        }
        if disk == self.old {
            return Left::Untouched;
        }
        assert!(zero(&disk[..4096]), "neither image is whole, and there is a partition table");
        if !zero(&disk[end..]) && disk[end..] != self.old[end..] {
            // The copy of the table is written after the digest was verified and the rest is on the disk.
            assert!(
                disk[MIB..] == self.new[MIB..],
                "there is a copy of the partition table of half an image"
            );
        }
        Left::NotBootable
    }
}

fn kill_within(mut process: Process, longest: Duration) {
    let delay = rand::rng().random_range(Duration::ZERO..longest);
    let began = Instant::now();
    while began.elapsed() < delay {
        std::thread::park_timeout(delay.saturating_sub(began.elapsed()));
    }
    process.kill();
}

fn serve(dir: &Path, image: &[u8]) -> Nginx {
    let docroot = dir.join("files");
    fs::create_dir_all(&docroot).unwrap();
    fs::write(docroot.join("image"), image).unwrap();
    Nginx::start(&dir.join("nginx"), &docroot).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_any_moment_it_has_written_nothing_all_or_no_partition_table() {
    let lab = Lab::new();
    let nginx = serve(lab.dir.path(), &lab.new);
    let began = Instant::now();
    let mut whole = lab.start(&nginx.url("image"));
    wait_for("the image is written", BOUND, async || Ok(whole.ended()?)).await.unwrap();
    assert_eq!(lab.left(), Left::Complete);
    let longest = began.elapsed();
    for _ in 0..KILLS {
        let process = lab.start(&nginx.url("image"));
        tokio::task::block_in_place(|| kill_within(process, longest));
        lab.left();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_before_the_last_byte_came_it_never_boots() {
    let lab = Lab::new();
    for _ in 0..KILLS {
        let sent = rand::rng().random_range(2 * MIB..lab.new.len());
        let server = FaultyServer::start(lab.new.clone(), Fault::StallAfter(sent)).await.unwrap();
        let process = lab.start(&server.url("image"));
        server.has_sent(sent / MIB * MIB).await.unwrap();
        tokio::task::block_in_place(|| kill_within(process, Duration::from_millis(50)));
        assert_ne!(lab.left(), Left::Complete, "after {sent} bytes");
    }
}
