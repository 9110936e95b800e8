//! Disks as they are given, opened, erased and read: on files, and on loop devices over files. Needs root.

#![expect(clippy::unwrap_used, reason = "what a test cannot set up, it cannot test")]

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use farrier::disk::{self, Access, Disk, DiskError, OpenDisk};
use farrier::meter::Meter;
use farrier::wire::report::{EraseMethod, EraseProof};
use farrier::wire::{CleanStep, Coded as _, ErrorCode};
use farrier_testbed::disk_image;
use farrier_testbed::lab_disk::{self, OLD_DATA};
use farrier_testbed::loop_device::LoopDevice;
use tempfile::TempDir;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

const MIB: u64 = 1 << 20;
const O_EXCL: i32 = nix::libc::O_EXCL;

/// A file full of old data.
struct Lab {
    dir: TempDir,
    file: PathBuf,
    size: u64,
}

impl Lab {
    fn new(size: u64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("disk");
        lab_disk::create(&file, size).unwrap();
        Self { dir, file, size }
    }

    fn attach(&self, sector: u32, options: &[&str]) -> LoopDevice {
        LoopDevice::attach_with(&self.file, sector, options).unwrap()
    }

    /// Where old data is left in the file, by MiB.
    fn dirty_mib(&self) -> Vec<u64> {
        let content = fs::read(&self.file).unwrap();
        assert_eq!(content.len() as u64, self.size);
        let dirty = |mib: &[u8]| mib.iter().any(|byte| *byte != 0);
        (0..).zip(content.chunks(1 << 20)).filter(|(_, mib)| dirty(mib)).map(|(number, _)| number).collect()
    }

    fn is_untouched(&self) -> bool {
        let content = fs::read(&self.file).unwrap();
        content.chunks(OLD_DATA.len()).all(|chunk| OLD_DATA.starts_with(chunk))
    }
}

fn find(path: &Path) -> (Access, Disk) {
    let access = Access::detect(vec![path.to_owned()]).unwrap();
    let disk = access.disks().unwrap().remove(0);
    (access, disk)
}

fn open(path: &Path) -> OpenDisk {
    let (access, disk) = find(path);
    access.open(&disk).unwrap()
}

/// That a disk is refused for a reason which its message tells, as well as the disk.
#[track_caller]
fn assert_refused<T: std::fmt::Debug>(
    result: Result<T, DiskError>,
    path: &Path,
    code: ErrorCode,
    reason: &str,
) {
    let error = result.unwrap_err();
    let message = error.report().message;
    assert_eq!(error.code(), code, "{message}");
    assert!(message.contains(&*path.to_string_lossy()) && message.contains(reason), "{message}");
}

fn run(program: &str, arguments: &[&str]) -> Output {
    let mut command = Command::new(program);
    command.args(arguments).env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    command.output().unwrap_or_else(|error| panic!("cannot start {program}: {error}"))
}

#[track_caller]
fn must(program: &str, arguments: &[&str]) {
    let output = run(program, arguments);
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Something mounted, until it is dropped.
struct Mounted(PathBuf);

impl Mounted {
    #[track_caller]
    fn new(kind: &str, source: &str, at: PathBuf) -> Self {
        fs::create_dir_all(&at).unwrap();
        must("mount", &["-t", kind, source, text(&at)]);
        Self(at)
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        run("umount", &[text(&self.0)]);
    }
}

#[test]
fn a_loop_device_is_found_by_any_of_its_names() {
    let lab = Lab::new(4 * MIB);
    let device = lab.attach(4096, &[]);
    let link = lab.dir.path().join("link");
    std::os::unix::fs::symlink(device.path(), &link).unwrap();
    let (_, disk) = find(&link);
    let facts = disk.facts();
    assert_eq!(facts.name, device.path().display().to_string());
    assert_eq!((facts.size, facts.logical_sectors, facts.read_only), (4 * MIB, 4096, false));
    assert_eq!((facts.serial.as_deref(), facts.tran.as_deref()), (Some("disk"), Some("loop")));
    assert_eq!((disk.identity().name, disk.size()), (facts.name.clone(), 4 * MIB));
}

#[test]
fn every_byte_is_erased_and_proven() {
    for sector in [None, Some(512), Some(4096)] {
        let lab = Lab::new(20 * MIB + 4096);
        let device = sector.map(|sector| lab.attach(sector, &[]));
        let path = device.as_ref().map_or(&*lab.file, LoopDevice::path);
        let open = open(path);
        assert_eq!(open.logical_sector(), sector.unwrap_or(512));

        let report = disk::erase(&open, &Meter::unobserved()).unwrap();
        assert_eq!(
            (report.step, report.method),
            (CleanStep::EraseDevices, EraseMethod::Discard),
            "{report:?}"
        );
        assert_eq!(report.proof, EraseProof { bytes_verified: lab.size, complete: true });
        assert_eq!((report.bytes_erased, report.device.name.as_str()), (lab.size, text(path)));
        assert!(report.tried.is_empty());
        assert!(lab.dirty_mib().is_empty(), "sectors of {sector:?}");
    }
}

#[test]
fn a_file_of_any_length_is_erased() {
    for size in [1, 511, 4097, MIB + 1, 3 * MIB - 1] {
        let lab = Lab::new(size);
        let report = disk::erase(&open(&lab.file), &Meter::unobserved()).unwrap();
        assert_eq!(report.proof.bytes_verified, size);
        assert!(lab.dirty_mib().is_empty(), "{size} bytes");

        lab_disk::create(&lab.file, size).unwrap();
        let report = disk::erase_metadata(&open(&lab.file), &Meter::unobserved()).unwrap();
        assert_eq!(report.proof, EraseProof { bytes_verified: size.min(2 * MIB), complete: true });
    }
}

/// A file of old data on ramfs, which has neither holes nor `O_DIRECT`.
fn on_ramfs(size: u64) -> (Lab, Mounted) {
    let mut lab = Lab::new(MIB);
    let ramfs = Mounted::new("ramfs", "none", lab.dir.path().join("ramfs"));
    (lab.file, lab.size) = (ramfs.0.join("disk"), size);
    lab_disk::create(&lab.file, size).unwrap();
    (lab, ramfs)
}

#[test]
fn a_device_that_discards_nothing_is_zeroed() {
    let (lab, _ramfs) = on_ramfs(20 * MIB);
    let device = lab.attach(512, &[]);
    let report = disk::erase(&open(device.path()), &Meter::unobserved()).unwrap();
    assert_eq!(report.method, EraseMethod::ZeroOut);
    assert!(matches!(report.tried.as_slice(), [tried] if tried.starts_with("BLKDISCARD: ")), "{report:?}");
    assert_eq!(report.proof, EraseProof { bytes_verified: lab.size, complete: true });
    assert!(lab.dirty_mib().is_empty());
}

#[test]
fn a_file_that_takes_no_holes_is_overwritten() {
    let (lab, _ramfs) = on_ramfs(70 * MIB + 5);
    let report = disk::erase(&open(&lab.file), &Meter::unobserved()).unwrap();
    assert_eq!(report.method, EraseMethod::Overwrite);
    assert!(
        matches!(report.tried.as_slice(), [tried] if tried.starts_with("FALLOC_FL_PUNCH_HOLE: ")),
        "{report:?}"
    );
    assert_eq!(report.proof.bytes_verified, lab.size);
    assert!(lab.dirty_mib().is_empty());
}

#[test]
fn an_erasure_that_is_cancelled_leaves_the_disk_alone() {
    let lab = Lab::new(2 * MIB);
    let open = open(&lab.file);
    let cancel = CancellationToken::new();
    let meter = Meter::new("erase_devices", 1, 1, cancel.clone(), watch::Sender::new(None));
    cancel.cancel();
    for error in [disk::erase(&open, &meter).unwrap_err(), disk::erase_metadata(&open, &meter).unwrap_err()] {
        assert_eq!(error.code(), ErrorCode::Cancelled);
    }
    assert!(lab.is_untouched());
}

/// What tools find on a disk.
fn signatures(path: &Path) -> String {
    let output = run("wipefs", &["--no-act", "--noheadings", "--output", "TYPE,OFFSET", text(path)]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn metadata_is_erased_and_the_rest_is_left() {
    for sector in [512, 4096] {
        let lab = Lab::new(40 * MIB);
        let device = lab.attach(sector, &["--partscan"]);
        partition(device.path());
        let first = PathBuf::from(format!("{}p1", device.path().display()));
        must("mkfs.ext4", &["-q", "-F", text(&first)]);
        assert!(signatures(device.path()).contains("gpt") && signatures(&first).contains("ext4"));

        let report = disk::erase_metadata(&open(device.path()), &Meter::unobserved()).unwrap();
        assert_eq!((report.step, report.method), (CleanStep::EraseDevicesMetadata, EraseMethod::Overwrite));
        assert!(report.proof.complete && report.bytes_erased == report.proof.bytes_verified);
        assert_eq!(signatures(device.path()), "");
        assert!(!first.exists(), "the kernel still knows {}", first.display());

        // The second partition had no file system: between its ends there is old data.
        let dirty = lab.dirty_mib();
        for (mib, expected) in
            [(0, false), (1, false), (20, false), (21, true), (28, true), (29, false), (39, false)]
        {
            assert_eq!(dirty.contains(&mib), expected, "MiB {mib} of {dirty:?} with sectors of {sector}");
        }
    }
}

/// One partition from 1 to 20 MiB, one from 20 to 30.
fn partition(device: &Path) {
    sfdisk(device, "gpt", b"start=1MiB, size=19MiB, name=one\nstart=20MiB, size=10MiB, name=two\n");
    // The kernel need not know a GPT itself.
    must("partx", &["--update", text(device)]);
}

fn sfdisk(device: &Path, label: &str, table: &[u8]) {
    use std::io::Write as _;
    use std::process::Stdio;
    let mut sfdisk = Command::new("/usr/sbin/sfdisk")
        .args(["--quiet", "--label", label])
        .arg(device)
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    sfdisk.stdin.take().unwrap().write_all(table).unwrap();
    assert!(sfdisk.wait().unwrap().success());
}

#[test]
fn partitions_are_read_and_told_to_the_kernel() {
    for sector in [512, 4096] {
        let lab = Lab::new(40 * MIB);
        let device = lab.attach(sector, &["--partscan"]);
        partition(device.path());
        let open = open(device.path());
        let partitions = disk::read_layout(&open).unwrap().partitions;
        let found: Vec<_> =
            partitions.iter().map(|one| (one.number, &*one.label, one.start, one.size)).collect();
        assert_eq!(found, [(1, "one", MIB, 19 * MIB), (2, "two", 20 * MIB, 10 * MIB)]);
        assert!(open.reread_partition_table().unwrap());
    }
}

#[test]
fn an_image_is_of_use_only_with_its_own_sectors() {
    let lab = Lab::new(MIB);
    let image = disk_image::build(lab.dir.path(), 24).unwrap();
    let on_file = open(&image.path);
    let layout = disk::read_layout(&on_file).unwrap();
    assert_eq!(layout.disk_id, "6c6fab1e-0000-4000-8000-000000000001");
    assert_eq!(layout.partitions.iter().map(|one| &*one.label).collect::<Vec<_>>(), ["ESP", "root"]);
    assert_eq!(layout.partitions[0].type_guid, "c12a7328-f81f-11d2-ba4b-00a0c93ec93b");
    assert!(!on_file.reread_partition_table().unwrap());
    drop(on_file);

    let device = LoopDevice::attach(&image.path, 4096).unwrap();
    let on_device = open(device.path());
    assert_refused(
        disk::read_layout(&on_device),
        device.path(),
        ErrorCode::ImageNotBootable,
        "a GPT for sectors of 512 bytes, and the disk has sectors of 4096 bytes",
    );
    assert!(
        !on_device.reread_partition_table().unwrap(),
        "a loop device without --partscan has no partitions"
    );
}

/// A file with an MBR made for sectors of so many bytes, and an ext4 in its only partition, from 1 to 5 MiB.
fn with_mbr(file: &Path, bytes: u64, sector: u32) {
    File::create(file).unwrap().set_len(bytes).unwrap();
    let device = LoopDevice::attach(file, sector).unwrap();
    sfdisk(device.path(), "dos", b"start=1MiB, size=4MiB, type=83\n");
    let options = format!("offset={MIB}");
    must("mkfs.ext4", &["-q", "-F", "-E", &options, text(device.path()), "4M"]);
}

#[test]
fn an_mbr_is_read_and_told_from_one_for_other_sectors() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("disk");
    for (made_for, attached, bytes) in
        [(512, 512, 8 * MIB), (512, 4096, 8 * MIB), (512, 4096, 64 * MIB), (4096, 512, 8 * MIB)]
    {
        with_mbr(&file, bytes, made_for);
        let device = LoopDevice::attach(&file, attached).unwrap();
        let layout = disk::read_layout(&open(device.path()));
        if made_for == attached {
            let partitions = layout.unwrap().partitions;
            assert_eq!((partitions.len(), partitions[0].start, partitions[0].size), (1, MIB, 4 * MIB));
        } else {
            let reason = format!(
                "an MBR for sectors of {made_for} bytes, by the ext2, ext3 or ext4 file system of its partition 1"
            );
            assert_refused(layout, device.path(), ErrorCode::ImageNotBootable, &reason);
        }
    }
}

#[test]
fn a_damaged_partition_table_is_told() {
    let lab = Lab::new(MIB);
    let image = disk_image::build(lab.dir.path(), 24).unwrap();
    let file = OpenOptions::new().write(true).open(&image.path).unwrap();
    file.write_all_at(b"x", 1024).unwrap();
    let open = open(&image.path);
    assert_refused(
        disk::read_layout(&open),
        &image.path,
        ErrorCode::ImageNotBootable,
        "checksum of its entries",
    );
    disk::erase_metadata(&open, &Meter::unobserved()).unwrap();
    assert_refused(
        disk::read_layout(&open),
        &image.path,
        ErrorCode::ImageNotBootable,
        "neither a GPT nor an MBR",
    );
}

#[test]
fn a_mounted_disk_is_refused_and_so_is_one_with_a_mounted_partition() {
    let lab = Lab::new(40 * MIB);
    let device = lab.attach(512, &["--partscan"]);
    let path = device.path();
    let (access, disk) = find(path);

    must("mkfs.ext4", &["-q", "-F", text(path)]);
    let mounted = Mounted::new("ext4", text(path), lab.dir.path().join("a mount"));
    let at = format!("mounted at {}", mounted.0.display());
    assert_refused(access.open(&disk), path, ErrorCode::DeviceInUse, &at);
    drop(mounted);
    access.open(&disk).unwrap();

    partition(path);
    let second = format!("{}p2", path.display());
    must("mkfs.ext4", &["-q", "-F", &second]);
    let mounted = Mounted::new("ext4", &second, lab.dir.path().join("mount"));
    let reason = format!("its partition {} is mounted at {}", &second["/dev/".len()..], mounted.0.display());
    assert_refused(access.open(&disk), path, ErrorCode::DeviceInUse, &reason);
    assert!(fs::read_dir(&mounted.0).unwrap().count() > 0, "the mounted file system is gone");
}

#[test]
fn a_disk_used_as_swap_is_refused() {
    let lab = Lab::new(4 * MIB);
    let device = lab.attach(512, &[]);
    let (access, disk) = find(device.path());
    must("mkswap", &["--quiet", text(device.path())]);
    must("swapon", &[text(device.path())]);
    let result = access.open(&disk);
    must("swapoff", &[text(device.path())]);
    assert_refused(result, device.path(), ErrorCode::DeviceInUse, "swap");
}

#[test]
fn a_disk_that_is_held_is_refused_and_an_open_one_is_held() {
    let lab = Lab::new(4 * MIB);
    let device = lab.attach(512, &[]);
    let (access, disk) = find(device.path());
    let exclusively = || OpenOptions::new().read(true).custom_flags(O_EXCL).open(device.path());

    let holder = exclusively().unwrap();
    assert_refused(access.open(&disk), device.path(), ErrorCode::DeviceInUse, "holds it");
    drop(holder);
    let open = access.open(&disk).unwrap();
    assert!(exclusively().is_err());
    assert_refused(access.open(&disk), device.path(), ErrorCode::DeviceInUse, "holds it");
    drop(open);
    exclusively().unwrap();
}

#[test]
fn a_file_in_use_is_refused() {
    let lab = Lab::new(4 * MIB);
    let (access, disk) = find(&lab.file);
    let first = access.open(&disk).unwrap();
    assert_refused(access.open(&disk), &lab.file, ErrorCode::DeviceInUse, "locked");

    // Attached after it was opened, and once more before it is opened.
    let device = lab.attach(512, &[]);
    let name = device.path().file_name().unwrap().to_str().unwrap();
    let reason = format!("attached to the loop device {name}");
    assert_refused(first.recheck(), &lab.file, ErrorCode::DeviceInUse, &reason);
    assert_refused(disk::erase(&first, &Meter::unobserved()), &lab.file, ErrorCode::DeviceInUse, &reason);
    drop(first);
    assert_refused(access.open(&disk), &lab.file, ErrorCode::DeviceInUse, &reason);
    drop(device);
    assert!(lab.is_untouched());
}

#[test]
fn what_is_read_only_is_refused() {
    let lab = Lab::new(4 * MIB);
    let device = lab.attach(512, &["--read-only"]);
    let (access, disk) = find(device.path());
    assert!(disk.facts().read_only);
    assert_refused(access.open(&disk), device.path(), ErrorCode::DeviceReadOnly, "read-only");

    let file = Lab::new(MIB);
    let (access, disk) = find(&file.file);
    fs::set_permissions(&file.file, fs::Permissions::from_mode(0o444)).unwrap();
    let (_, found_read_only) = find(&file.file);
    assert_refused(access.open(&found_read_only), &file.file, ErrorCode::DeviceReadOnly, "permissions");
    // Root may write it, whatever its permissions have become since it was found.
    access.open(&disk).unwrap();
}

#[test]
fn a_disk_that_turns_read_only_is_refused() {
    let lab = Lab::new(4 * MIB);
    let device = lab.attach(512, &[]);
    let (access, disk) = find(device.path());
    must("blockdev", &["--setro", text(device.path())]);
    let result = access.open(&disk);
    // The number of the device would stay read-only for whoever is given it next.
    must("blockdev", &["--setrw", text(device.path())]);
    assert_refused(result, device.path(), ErrorCode::DeviceReadOnly, "read-only");
}

#[test]
fn a_file_that_was_replaced_is_not_opened() {
    let lab = Lab::new(MIB);
    let (access, disk) = find(&lab.file);
    let other = lab.dir.path().join("other");
    lab_disk::create(&other, MIB).unwrap();
    fs::rename(&other, &lab.file).unwrap();
    assert_refused(access.open(&disk), &lab.file, ErrorCode::DeviceChanged, "inode");

    fs::rename(&lab.file, &other).unwrap();
    std::os::unix::fs::symlink(&other, &lab.file).unwrap();
    assert_refused(access.open(&disk), &lab.file, ErrorCode::DeviceChanged, "a link");
    assert!(lab.is_untouched());
}

#[test]
fn a_disk_that_is_gone_is_told() {
    let lab = Lab::new(MIB);
    let (access, disk) = find(&lab.file);
    fs::remove_file(&lab.file).unwrap();
    assert_refused(access.open(&disk), &lab.file, ErrorCode::DeviceIo, "cannot open");
    assert_refused(access.disks(), &lab.file, ErrorCode::BadConfig, "cannot be found");
}

#[test]
fn a_disk_that_changes_while_it_is_open_is_not_erased() {
    let lab = Lab::new(4 * MIB);
    let open_file = open(&lab.file);
    File::options().write(true).open(&lab.file).unwrap().set_len(5 * MIB).unwrap();
    assert_refused(
        open_file.recheck(),
        &lab.file,
        ErrorCode::DeviceChanged,
        "size in bytes was 4194304 and is 5242880",
    );
    drop(open_file);

    let device = lab.attach(512, &[]);
    let open_device = open(device.path());
    File::options().write(true).open(&lab.file).unwrap().set_len(6 * MIB).unwrap();
    must("losetup", &["--set-capacity", text(device.path())]);
    let result = disk::erase(&open_device, &Meter::unobserved());
    assert_refused(
        result,
        device.path(),
        ErrorCode::DeviceChanged,
        "size in bytes was 5242880 and is 6291456",
    );
}

#[test]
fn another_disk_under_the_same_name_is_not_opened() {
    // Somebody else on this machine may be given the number in between: then it is tried with the next.
    const TRIES: usize = 20;
    let (lab, other) = (Lab::new(4 * MIB), Lab::new(4 * MIB));
    for _ in 0..TRIES {
        let device = lab.attach(512, &[]);
        let path = device.path().to_owned();
        let (access, disk) = find(&path);
        drop(device);
        let replaced = other.attach(512, &[]);
        if replaced.path() == path {
            assert_refused(access.open(&disk), &path, ErrorCode::DeviceChanged, "disk sequence number");
            assert!(other.is_untouched());
            return;
        }
    }
    panic!("no loop device was given the same number again in {TRIES} tries");
}

#[test]
fn a_partition_is_no_lab_disk() {
    let lab = Lab::new(40 * MIB);
    let device = lab.attach(512, &["--partscan"]);
    partition(device.path());
    let first = PathBuf::from(format!("{}p1", device.path().display()));
    assert_refused(Access::detect(vec![first.clone()]), &first, ErrorCode::BadConfig, "a partition");
}
