//! Lab disks, images and what a handler says, for the tests of handlers.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;
use std::time::Duration;

use farrier::disk::Access;
use farrier::handlers::{Context, Finished, carry_out};
use farrier::image::{Limits, Settings};
use farrier::wire::report::{CleanReport, DeployReport, Output, StepOutcome};
use farrier::wire::{Checksum, DeploySpec, Digest, ErrorCode, Outcome, RootDeviceHints, StepProgress, Work};
use farrier_testbed::disk_image::{self, DiskImage};
use farrier_testbed::http::{FaultyServer, Nginx};
use farrier_testbed::lab_disk::{self, OLD_DATA};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub(crate) const MIB: usize = 1 << 20;
/// No test waits longer for anything that must happen.
pub(crate) const BOUND: Duration = Duration::from_secs(60);
/// Servers that are silent for a moment have failed, and nothing is tried twice.
pub(crate) fn short() -> Limits {
    Limits {
        connect: Duration::from_secs(5),
        stall: Duration::from_millis(500),
        tries: 1,
        ..Limits::default()
    }
}

/// A real image of 32 MiB, built once for all tests.
pub(crate) static IMAGE: LazyLock<DiskImage> = LazyLock::new(|| {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("handlers");
    fs::create_dir_all(&dir).unwrap();
    disk_image::build(&dir, 32).unwrap()
});

pub(crate) struct Lab {
    pub(crate) dir: TempDir,
    pub(crate) disks: Vec<PathBuf>,
    pub(crate) limits: Limits,
    pub(crate) flush: bool,
    pub(crate) cancel: CancellationToken,
    pub(crate) progress: watch::Sender<Option<StepProgress>>,
}

impl Lab {
    /// With disks of so many MiB, full of old data.
    pub(crate) fn with_disks(mib: &[usize]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let create = |(number, mib): (usize, &usize)| {
            let path = dir.path().canonicalize().unwrap().join(format!("disk{number}"));
            lab_disk::create(&path, (mib * MIB) as u64).unwrap();
            path
        };
        let disks = mib.iter().enumerate().map(create).collect();
        Self {
            dir,
            disks,
            limits: short(),
            flush: false,
            cancel: CancellationToken::new(),
            progress: watch::Sender::new(None),
        }
    }

    pub(crate) async fn carry_out(&self, work: Work) -> Finished {
        self.carry_out_on(self.disks.clone(), work).await
    }

    /// On a task of its own, as an agent does it.
    pub(crate) async fn carry_out_on(&self, disks: Vec<PathBuf>, work: Work) -> Finished {
        let context = Context {
            access: Access::detect(disks).unwrap(),
            images: Settings { limits: self.limits, ..Settings::default() },
            flush: self.flush,
            cancel: self.cancel.clone(),
            progress: self.progress.clone(),
        };
        let task = tokio::spawn(async move { carry_out(&work, &context).await });
        tokio::time::timeout(BOUND, task).await.expect("the handler does not end").unwrap()
    }

    pub(crate) fn nginx(&self) -> Nginx {
        Nginx::start(&self.dir.path().join("nginx"), IMAGE.path.parent().unwrap()).unwrap()
    }

    pub(crate) fn content(&self, disk: usize) -> Vec<u8> {
        fs::read(&self.disks[disk]).unwrap()
    }

    pub(crate) fn assert_old(&self, disk: usize) {
        let content = self.content(disk);
        assert!(content == OLD_DATA.repeat(content.len() / OLD_DATA.len()), "disk {disk} was touched");
    }

    pub(crate) fn assert_zero(&self, disk: usize) {
        assert!(is_zero(&self.content(disk)), "disk {disk} holds data");
    }

    /// That a disk holds the image, with the copy of its GPT where it belongs.
    pub(crate) fn assert_holds_image(&self, disk: usize) {
        let (content, image) = (self.content(disk), fs::read(&IMAGE.path).unwrap());
        assert!(content[MIB..31 * MIB] == image[MIB..31 * MIB], "disk {disk} holds something else");
        must("sfdisk", &["--verify"], &self.disks[disk], &[]);
        let last = &content[content.len() - 512..];
        assert!(last.starts_with(b"EFI PART"), "disk {disk} has no copy of the GPT at its end");
    }

    pub(crate) fn assert_does_not_boot(&self, disk: usize) {
        let content = self.content(disk);
        assert!(is_zero(&content[..MIB]) && is_zero(&content[content.len() - MIB..]), "disk {disk} may boot");
    }
}

pub(crate) fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0)
}

pub(crate) fn deploy_spec(url: &str) -> DeploySpec {
    DeploySpec::new(url.parse().unwrap(), IMAGE.sha256_hex.parse().unwrap())
}

/// Of an image that a server has as its only one.
pub(crate) fn spec_of(image: &[u8], server: &FaultyServer) -> DeploySpec {
    let image_checksum = Some(Checksum::Digest(Digest::Sha256(Sha256::digest(image).into())));
    DeploySpec { image_checksum, ..deploy_spec(&server.url("image")) }
}

pub(crate) fn must(program: &str, arguments: &[&str], path: &Path, more: &[&str]) {
    let mut command = Command::new(program);
    command.args(arguments).arg(path).args(more).env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    let output = command.output().unwrap_or_else(|error| panic!("cannot start {program}: {error}"));
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
}

pub(crate) fn deploy(url: &str) -> Work {
    Work::Deploy(Box::new(deploy_spec(url)))
}

pub(crate) fn with_serial(path: &Path) -> RootDeviceHints {
    let serial = path.file_name().unwrap().to_str().unwrap().to_owned();
    RootDeviceHints { serial: Some(serial), ..RootDeviceHints::default() }
}

pub(crate) fn steps(finished: &Finished) -> Vec<(&str, StepOutcome)> {
    finished.steps.iter().map(|step| (step.name.as_str(), step.outcome)).collect()
}

/// Asserts that it failed, and returns the code and the message.
pub(crate) fn failure(finished: &Finished) -> (ErrorCode, &str) {
    let error = finished.error.as_ref().unwrap_or_else(|| panic!("no error: {finished:?}"));
    assert_eq!(finished.outcome, Outcome::Failed, "{error}");
    (error.code, &error.message)
}

pub(crate) fn deployed(finished: &Finished) -> &DeployReport {
    match &finished.output {
        Some(Output::Deploy(report)) if finished.outcome == Outcome::Succeeded => report,
        _ => panic!("not deployed: {finished:?}"),
    }
}

pub(crate) fn cleaned(finished: &Finished) -> &CleanReport {
    match &finished.output {
        Some(Output::Clean(report)) => report,
        _ => panic!("no report: {finished:?}"),
    }
}
