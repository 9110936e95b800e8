//! Inspect, clean and deploy on lab disks and loop devices, as every worker calls them.

#![expect(clippy::unwrap_used, reason = "what a test cannot set up, it cannot test")]

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;
use std::time::Duration;

use farrier::disk::Access;
use farrier::handlers::{Context, Finished, carry_out};
use farrier::image::{Limits, Settings};
use farrier::wire::report::{CleanReport, DeployReport, EraseProof, Output, StepOutcome};
use farrier::wire::{
    Checksum, CleanSpec, DeploySpec, Digest, ErrorCode, InspectSpec, NoopSpec, Outcome, RootDeviceHints,
    StepProgress, Work,
};
use farrier_testbed::disk_image::{self, DiskImage};
use farrier_testbed::http::{Fault, FaultyServer, Nginx};
use farrier_testbed::lab_disk::{self, OLD_DATA};
use farrier_testbed::loop_device::LoopDevice;
use nix::fcntl::{Flock, FlockArg};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

const MIB: usize = 1 << 20;
/// No test waits longer for anything that must happen.
const BOUND: Duration = Duration::from_secs(60);
/// Servers that are silent for a moment have failed, and nothing is tried twice.
fn short() -> Limits {
    Limits {
        connect: Duration::from_secs(5),
        stall: Duration::from_millis(500),
        tries: 1,
        ..Limits::default()
    }
}

/// A real image of 32 MiB, built once for all tests.
static IMAGE: LazyLock<DiskImage> = LazyLock::new(|| {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("handlers");
    fs::create_dir_all(&dir).unwrap();
    disk_image::build(&dir, 32).unwrap()
});

struct Lab {
    dir: TempDir,
    disks: Vec<PathBuf>,
    limits: Limits,
    cancel: CancellationToken,
    progress: watch::Sender<Option<StepProgress>>,
}

impl Lab {
    /// With disks of so many MiB, full of old data.
    fn with_disks(mib: &[usize]) -> Self {
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
            cancel: CancellationToken::new(),
            progress: watch::Sender::new(None),
        }
    }

    async fn carry_out(&self, work: Work) -> Finished {
        self.carry_out_on(self.disks.clone(), work).await
    }

    /// On a task of its own, as an agent does it.
    async fn carry_out_on(&self, disks: Vec<PathBuf>, work: Work) -> Finished {
        let context = Context {
            access: Access::detect(disks).unwrap(),
            images: Settings { limits: self.limits, ..Settings::default() },
            cancel: self.cancel.clone(),
            progress: self.progress.clone(),
        };
        let task = tokio::spawn(async move { carry_out(&work, &context).await });
        tokio::time::timeout(BOUND, task).await.expect("the handler does not end").unwrap()
    }

    fn nginx(&self) -> Nginx {
        Nginx::start(&self.dir.path().join("nginx"), IMAGE.path.parent().unwrap()).unwrap()
    }

    fn content(&self, disk: usize) -> Vec<u8> {
        fs::read(&self.disks[disk]).unwrap()
    }

    fn assert_old(&self, disk: usize) {
        let content = self.content(disk);
        assert!(content == OLD_DATA.repeat(content.len() / OLD_DATA.len()), "disk {disk} was touched");
    }

    fn assert_zero(&self, disk: usize) {
        assert!(is_zero(&self.content(disk)), "disk {disk} holds data");
    }

    /// That a disk holds the image, with the copy of its GPT where it belongs.
    fn assert_holds_image(&self, disk: usize) {
        let (content, image) = (self.content(disk), fs::read(&IMAGE.path).unwrap());
        assert!(content[MIB..31 * MIB] == image[MIB..31 * MIB], "disk {disk} holds something else");
        must("sfdisk", &["--verify"], &self.disks[disk], &[]);
        let last = &content[content.len() - 512..];
        assert!(last.starts_with(b"EFI PART"), "disk {disk} has no copy of the GPT at its end");
    }

    fn assert_does_not_boot(&self, disk: usize) {
        let content = self.content(disk);
        assert!(is_zero(&content[..MIB]) && is_zero(&content[content.len() - MIB..]), "disk {disk} may boot");
    }
}

fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0)
}

fn deploy_spec(url: &str) -> DeploySpec {
    DeploySpec::new(url.parse().unwrap(), IMAGE.sha256_hex.parse().unwrap())
}

/// Of an image that a server has as its only one.
fn spec_of(image: &[u8], server: &FaultyServer) -> DeploySpec {
    let image_checksum = Some(Checksum::Digest(Digest::Sha256(Sha256::digest(image).into())));
    DeploySpec { image_checksum, ..deploy_spec(&server.url("image")) }
}

fn must(program: &str, arguments: &[&str], path: &Path, more: &[&str]) {
    let mut command = Command::new(program);
    command.args(arguments).arg(path).args(more).env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    let output = command.output().unwrap_or_else(|error| panic!("cannot start {program}: {error}"));
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
}

fn deploy(url: &str) -> Work {
    Work::Deploy(Box::new(deploy_spec(url)))
}

fn with_serial(path: &Path) -> RootDeviceHints {
    let serial = path.file_name().unwrap().to_str().unwrap().to_owned();
    RootDeviceHints { serial: Some(serial), ..RootDeviceHints::default() }
}

fn steps(finished: &Finished) -> Vec<(&str, StepOutcome)> {
    finished.steps.iter().map(|step| (step.name.as_str(), step.outcome)).collect()
}

/// Asserts that it failed, and returns the code and the message.
fn failure(finished: &Finished) -> (ErrorCode, &str) {
    let error = finished.error.as_ref().unwrap_or_else(|| panic!("no error: {finished:?}"));
    assert_eq!(finished.outcome, Outcome::Failed, "{error}");
    (error.code, &error.message)
}

fn deployed(finished: &Finished) -> &DeployReport {
    match &finished.output {
        Some(Output::Deploy(report)) if finished.outcome == Outcome::Succeeded => report,
        _ => panic!("not deployed: {finished:?}"),
    }
}

fn cleaned(finished: &Finished) -> &CleanReport {
    match &finished.output {
        Some(Output::Clean(report)) => report,
        _ => panic!("no report: {finished:?}"),
    }
}

#[tokio::test]
async fn noop_does_nothing() {
    let lab = Lab::with_disks(&[1]);
    let finished = lab.carry_out(Work::Noop(NoopSpec {})).await;
    assert_eq!((finished.outcome, &finished.output), (Outcome::Succeeded, &Some(Output::Noop {})));
    lab.assert_old(0);
}

#[tokio::test]
async fn inspect_lists_the_lab_disks_and_no_other() {
    let lab = Lab::with_disks(&[2, 3]);
    let finished = lab.carry_out(Work::Inspect(InspectSpec {})).await;
    assert_eq!(steps(&finished), [("collect_inventory", StepOutcome::Succeeded)]);
    let Some(Output::Inventory(inventory)) = &finished.output else { panic!("{finished:?}") };
    let mut found: Vec<_> =
        inventory.disks.iter().map(|disk| (PathBuf::from(&disk.name), disk.size)).collect();
    found.sort();
    let expected: Vec<_> = lab.disks.iter().cloned().zip([2 * MIB as u64, 3 * MIB as u64]).collect();
    assert_eq!(found, expected);
    lab.assert_old(0);
}

#[tokio::test]
async fn clean_erases_every_disk_and_proves_it() {
    let lab = Lab::with_disks(&[8, 4]);
    let finished = lab.carry_out(Work::Clean(CleanSpec::default())).await;
    assert_eq!(finished.outcome, Outcome::Succeeded, "{finished:?}");
    assert_eq!(
        steps(&finished),
        [
            ("choose_devices", StepOutcome::Succeeded),
            ("erase_devices_metadata", StepOutcome::Succeeded),
            ("erase_devices", StepOutcome::Succeeded),
        ]
    );
    let report = cleaned(&finished);
    assert_eq!((report.devices.len(), report.skipped.len()), (4, 0));
    for (entry, bytes) in report.devices[2..].iter().zip([8 * MIB as u64, 4 * MIB as u64]) {
        assert_eq!(entry.proof, EraseProof { bytes_verified: bytes, complete: true });
    }
    lab.assert_zero(0);
    lab.assert_zero(1);
}

#[tokio::test]
async fn clean_leaves_alone_what_the_skip_list_names() {
    let lab = Lab::with_disks(&[2, 2]);
    let spec = CleanSpec { skip_block_devices: vec![with_serial(&lab.disks[0])], ..CleanSpec::default() };
    let finished = lab.carry_out(Work::Clean(spec)).await;
    assert_eq!(finished.outcome, Outcome::Succeeded, "{finished:?}");
    let report = cleaned(&finished);
    assert_eq!((report.devices.len(), report.skipped.len()), (2, 1));
    assert_eq!(Path::new(&report.skipped[0].name), lab.disks[0]);
    lab.assert_old(0);
    lab.assert_zero(1);
}

#[tokio::test]
async fn clean_fails_where_nothing_is_to_be_erased_unless_that_is_fine() {
    let lab = Lab::with_disks(&[1]);
    let mut spec = CleanSpec { skip_block_devices: vec![with_serial(&lab.disks[0])], ..CleanSpec::default() };
    let finished = lab.carry_out(Work::Clean(spec.clone())).await;
    let (code, message) = failure(&finished);
    assert_eq!(code, ErrorCode::NothingToErase);
    assert!(message.contains("allow_no_devices"), "{message}");

    spec.allow_no_devices = true;
    let finished = lab.carry_out(Work::Clean(spec)).await;
    assert_eq!(finished.outcome, Outcome::Succeeded, "{finished:?}");
    lab.assert_old(0);
}

#[tokio::test]
async fn clean_reports_the_disks_that_were_erased_before_one_failed() {
    let lab = Lab::with_disks(&[2, 2]);
    let held = Flock::lock(File::open(&lab.disks[1]).unwrap(), FlockArg::LockExclusiveNonblock).unwrap();
    let finished = lab.carry_out(Work::Clean(CleanSpec::default())).await;
    let (code, message) = failure(&finished);
    assert_eq!(code, ErrorCode::DeviceInUse);
    assert!(message.contains("disk1"), "{message}");
    let names: Vec<_> =
        cleaned(&finished).devices.iter().map(|entry| Path::new(&entry.device.name)).collect();
    assert_eq!(names, [&lab.disks[0]]);
    drop(held);
    lab.assert_old(1);
}

#[tokio::test]
async fn without_a_lab_disk_nothing_is_destroyed() {
    let lab = Lab::with_disks(&[]);
    for work in
        [Work::Clean(CleanSpec { allow_no_devices: true, ..CleanSpec::default() }), deploy("http://h/i")]
    {
        let finished = lab.carry_out(work).await;
        let (code, message) = failure(&finished);
        assert_eq!(code, ErrorCode::NoLabDisks);
        assert!(message.contains("--lab-disk"), "{message}");
    }
}

#[tokio::test]
async fn deploy_writes_a_real_image_to_the_disk_that_the_hints_choose() {
    let lab = Lab::with_disks(&[40, 40]);
    let nginx = lab.nginx();
    let mut spec = deploy_spec(&nginx.url("disk.img?temp_url_sig=secret"));
    spec.root_device = Some(with_serial(&lab.disks[1]));
    let finished = lab.carry_out(Work::Deploy(Box::new(spec))).await;

    let report = deployed(&finished);
    assert_eq!(
        steps(&finished),
        [
            ("choose_root_device", StepOutcome::Succeeded),
            ("write_image", StepOutcome::Succeeded),
            ("verify_partitions", StepOutcome::Succeeded),
        ]
    );
    assert_eq!(finished.steps[1].bytes, IMAGE.size);
    assert_eq!(report.image_bytes, IMAGE.size);
    assert_eq!(report.image_checksum.to_string(), format!("sha256:{}", IMAGE.sha256_hex));
    assert_eq!(Path::new(&report.root_device.name), lab.disks[1]);
    assert!(report.bytes_per_second > 0 && !report.image_source.contains("secret"), "{report:?}");
    let labels: Vec<_> = report.partitions.iter().map(|partition| partition.label.as_str()).collect();
    assert_eq!(labels, ["ESP", "root"]);
    assert_eq!((report.duplicates.as_slice(), report.unexamined.as_slice()), (&[][..], &[][..]));
    lab.assert_holds_image(1);
    lab.assert_old(0);
}

#[tokio::test]
async fn deploy_writes_to_a_block_device() {
    let lab = Lab::with_disks(&[40]);
    let nginx = lab.nginx();
    let device = LoopDevice::attach(&lab.disks[0], 512).unwrap();
    let finished = lab.carry_out_on(vec![device.path().to_owned()], deploy(&nginx.url("disk.img"))).await;
    assert_eq!(deployed(&finished).partitions.len(), 2);
    drop(device);
    lab.assert_holds_image(0);
}

#[tokio::test]
async fn an_image_for_other_sectors_is_refused_before_anything_is_destroyed() {
    let lab = Lab::with_disks(&[40]);
    let nginx = lab.nginx();
    let device = LoopDevice::attach(&lab.disks[0], 4096).unwrap();
    let finished = lab.carry_out_on(vec![device.path().to_owned()], deploy(&nginx.url("disk.img"))).await;
    let (code, message) = failure(&finished);
    assert_eq!(code, ErrorCode::ImageNotBootable);
    assert!(
        message.contains("a GPT for sectors of 512 bytes, and the disk has sectors of 4096 bytes"),
        "{message}"
    );
    assert_eq!(steps(&finished).last(), Some(&("write_image", StepOutcome::Failed)));
    drop(device);
    lab.assert_old(0);
}

#[tokio::test]
async fn an_image_without_partitions_is_refused_before_anything_is_destroyed() {
    let lab = Lab::with_disks(&[4]);
    let mut image = vec![0x5a; 3 * MIB];
    image[510..512].copy_from_slice(b"\x55\xaa");
    let server = FaultyServer::start(image.clone(), Fault::NoContentLength).await.unwrap();
    let finished = lab.carry_out(Work::Deploy(Box::new(spec_of(&image, &server)))).await;
    let (code, message) = failure(&finished);
    assert_eq!(code, ErrorCode::ImageNotBootable);
    assert!(message.contains("lists no partition"), "{message}");
    lab.assert_old(0);
}

/// An MBR does not say for what sectors it is: only its partitions do, once they are on the disk.
#[tokio::test]
async fn an_image_with_an_mbr_for_other_sectors_is_taken_back() {
    let lab = Lab::with_disks(&[40]);
    let file = lab.dir.path().join("image");
    File::create(&file).unwrap().set_len(8 * MIB as u64).unwrap();
    must("mke2fs", &["-q", "-F", "-E", "offset=1048576"], &file, &["4M"]);
    let mut image = fs::read(&file).unwrap();
    image[446..462].copy_from_slice(&[0, 0, 0, 0, 0x83, 0, 0, 0, 0, 8, 0, 0, 0, 8, 0, 0]);
    image[510..512].copy_from_slice(b"\x55\xaa");
    let server = FaultyServer::start(image.clone(), Fault::NoContentLength).await.unwrap();
    let work = || Work::Deploy(Box::new(spec_of(&image, &server)));

    let finished = lab.carry_out(work()).await;
    let partitions = &deployed(&finished).partitions;
    assert_eq!((partitions.len(), &*partitions[0].type_guid), (1, "0x83"));

    let device = LoopDevice::attach(&lab.disks[0], 4096).unwrap();
    let finished = lab.carry_out_on(vec![device.path().to_owned()], work()).await;
    let (code, message) = failure(&finished);
    assert_eq!(code, ErrorCode::ImageNotBootable);
    assert!(message.contains("removed again") && message.contains("an MBR for sectors of 512"), "{message}");
    assert_eq!(steps(&finished).last(), Some(&("verify_partitions", StepOutcome::Failed)));
    drop(device);
    lab.assert_does_not_boot(0);
}

#[tokio::test]
async fn the_same_image_on_another_disk_is_reported() {
    let lab = Lab::with_disks(&[40, 40, 33]);
    let nginx = lab.nginx();
    let mut spec = deploy_spec(&nginx.url("disk.img"));
    for (disk, others) in [(0, 0), (1, 1), (2, 2)] {
        spec.root_device = Some(with_serial(&lab.disks[disk]));
        let finished = lab.carry_out(Work::Deploy(Box::new(spec.clone()))).await;
        let found = &deployed(&finished).duplicates;
        // That of the table, and those of two partitions with a UUID and a label in each.
        assert_eq!(found.len(), others * 7, "{found:?}");
        for (other, path) in lab.disks[..disk].iter().enumerate() {
            let on_other = found.iter().filter(|one| Path::new(&one.other_disk.name) == path);
            assert_eq!(on_other.count(), 7, "with disk {other}");
        }
    }
}

#[tokio::test]
async fn an_image_that_cannot_be_had_whole_leaves_no_partition_table() {
    let image = fs::read(&IMAGE.path).unwrap();
    for (fault, expected) in [
        (Fault::CutAfter(20 * MIB), ErrorCode::HttpTruncated),
        (Fault::StallAfter(20 * MIB), ErrorCode::HttpStalled),
        (Fault::ContentLength(20 * MIB as u64), ErrorCode::DigestMismatch),
    ] {
        let lab = Lab::with_disks(&[32]);
        let server = FaultyServer::start(image.clone(), fault).await.unwrap();
        let finished = lab.carry_out(deploy(&server.url("image"))).await;
        assert_eq!(failure(&finished).0, expected);
        assert_eq!(steps(&finished).last(), Some(&("write_image", StepOutcome::Failed)));
        assert_eq!(finished.output, None);
        lab.assert_does_not_boot(0);
    }
}

#[tokio::test]
async fn an_image_that_is_refused_leaves_the_disk_as_it_was() {
    let lab = Lab::with_disks(&[31]);
    let nginx = lab.nginx();
    let too_large = lab.carry_out(deploy(&nginx.url("disk.img"))).await;
    assert_eq!(failure(&too_large).0, ErrorCode::ImageTooLarge);
    let absent = lab.carry_out(deploy(&nginx.url("absent.img"))).await;
    assert_eq!(failure(&absent).0, ErrorCode::HttpStatus);

    let server = FaultyServer::start(Vec::new(), Fault::Status(503)).await.unwrap();
    let unavailable = lab.carry_out(deploy(&server.url("image"))).await;
    assert_eq!(failure(&unavailable).0, ErrorCode::HttpUnavailable);

    let server = FaultyServer::start(b"KDMV\x01\0\0\0".to_vec(), Fault::NoContentLength).await.unwrap();
    let finished = lab.carry_out(deploy(&server.url("image"))).await;
    let (code, message) = failure(&finished);
    assert_eq!(code, ErrorCode::ImageFormat);
    assert!(message.contains("VMDK") && message.contains("raw"), "{message}");
    lab.assert_old(0);
}

#[tokio::test]
async fn hints_that_fit_no_disk_or_several_list_every_candidate() {
    let lab = Lab::with_disks(&[2, 3]);
    let both = RootDeviceHints { model: Some("lab disk".into()), ..RootDeviceHints::default() };
    let none = RootDeviceHints { serial: Some("elsewhere".into()), ..RootDeviceHints::default() };
    for (hints, expected) in [
        (Some(both), ErrorCode::AmbiguousRootDevice),
        (None, ErrorCode::AmbiguousRootDevice),
        (Some(none), ErrorCode::NoRootDevice),
    ] {
        let spec = DeploySpec { root_device: hints, ..deploy_spec("http://127.0.0.1:9/image") };
        let finished = lab.carry_out(Work::Deploy(Box::new(spec))).await;
        let (code, message) = failure(&finished);
        assert_eq!(code, expected);
        for disk in &lab.disks {
            assert!(message.contains(disk.to_str().unwrap()), "{disk:?} is not in: {message}");
        }
        assert_eq!(steps(&finished), [("choose_root_device", StepOutcome::Failed)]);
    }
}

#[tokio::test]
async fn deploy_never_takes_what_the_skip_list_names() {
    let lab = Lab::with_disks(&[2]);
    let mut spec = deploy_spec("http://127.0.0.1:9/image");
    spec.root_device = Some(with_serial(&lab.disks[0]));
    spec.skip_block_devices = vec![with_serial(&lab.disks[0])];
    let finished = lab.carry_out(Work::Deploy(Box::new(spec))).await;
    assert_eq!(failure(&finished).0, ErrorCode::NoRootDevice);
    lab.assert_old(0);
}

#[tokio::test]
async fn cancelling_in_the_middle_of_a_write_leaves_no_partition_table() {
    let lab = Lab { limits: Limits { stall: BOUND, ..short() }, ..Lab::with_disks(&[32]) };
    let image = fs::read(&IMAGE.path).unwrap();
    let server = FaultyServer::start(image, Fault::StallAfter(20 * MIB)).await.unwrap();
    let cancel_once_written = async {
        server.has_sent(20 * MIB).await.unwrap();
        // The head of the ESP, in the second MiB, is one of the first things written.
        let disk = File::open(&lab.disks[0]).unwrap();
        let mut block = vec![0; OLD_DATA.len()];
        while {
            disk.read_exact_at(&mut block, MIB as u64).unwrap();
            block == OLD_DATA
        } {
            tokio::task::yield_now().await;
        }
        lab.cancel.cancel();
    };
    let (finished, ()) = tokio::join!(lab.carry_out(deploy(&server.url("image"))), async {
        tokio::time::timeout(BOUND, cancel_once_written).await.expect("nothing is written");
    });
    assert_eq!(finished.outcome, Outcome::Cancelled, "{finished:?}");
    assert_eq!(finished.error.as_ref().unwrap().code, ErrorCode::Cancelled);
    assert_eq!(steps(&finished)[1], ("write_image", StepOutcome::Cancelled));
    lab.assert_does_not_boot(0);
}

#[tokio::test]
async fn what_is_cancelled_before_it_begins_does_nothing() {
    let lab = Lab::with_disks(&[1]);
    lab.cancel.cancel();
    for work in
        [Work::Clean(CleanSpec::default()), deploy("http://127.0.0.1:9/image"), Work::Noop(NoopSpec {})]
    {
        let finished = lab.carry_out(work).await;
        assert_eq!((finished.outcome, finished.steps.len()), (Outcome::Cancelled, 0));
    }
    lab.assert_old(0);
}
