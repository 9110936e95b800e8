//! Identifiers that stand on two disks: on files and loop devices. Needs root.

#![expect(clippy::unwrap_used, reason = "what a test cannot set up, it cannot test")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use farrier::disk::{self, Access, Duplicates};
use farrier::wire::ErrorCode;
use farrier::wire::report::DuplicateKind;
use farrier_testbed::disk_image;
use farrier_testbed::loop_device::LoopDevice;
use tempfile::TempDir;

use DuplicateKind::{Label, Partuuid, Ptuuid, Uuid};

/// What the first of these disks has in common with the others.
fn find(disks: Vec<PathBuf>) -> Duplicates {
    let access = Access::detect(disks).unwrap();
    let written = access.open(&access.disks().unwrap()[0]).unwrap();
    let layout = disk::read_layout(&written).unwrap();
    disk::find_duplicates(&access, &written, &layout).unwrap()
}

/// A disk with a real image.
fn image(dir: &TempDir, name: &str) -> PathBuf {
    let built = disk_image::build(dir.path(), 24).unwrap();
    let path = dir.path().join(name);
    fs::rename(built.path, &path).unwrap();
    path
}

fn tool(program: &str, arguments: &[&str], path: &Path) {
    let mut command = Command::new(program);
    let status =
        command.args(arguments).arg(path).env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").status().unwrap();
    assert!(status.success(), "{program} {arguments:?}");
}

fn found(duplicates: &Duplicates) -> Vec<(DuplicateKind, &str, Option<u32>, Option<u32>)> {
    let found = duplicates.found.iter();
    found.map(|one| (one.kind, &*one.value, one.partition, one.other_partition)).collect()
}

#[test]
fn the_same_image_on_two_disks_is_found_by_everything() {
    let dir = tempfile::tempdir().unwrap();
    let (one, two) = (image(&dir, "one"), image(&dir, "two"));
    let assert_all_found = |other: &Path| {
        let duplicates = find(vec![one.clone(), other.to_owned()]);
        let guid = |number: u32| format!("6c6fab1e-0000-4000-8000-{number:012}");
        assert_eq!(
            found(&duplicates),
            [
                (Ptuuid, &*guid(1), None, None),
                (Partuuid, &*guid(2), Some(1), Some(1)),
                (Uuid, "6C6F-AB1E", Some(1), Some(1)),
                (Label, "ESP", Some(1), Some(1)),
                (Partuuid, &*guid(3), Some(2), Some(2)),
                (Uuid, &*guid(3), Some(2), Some(2)),
                (Label, "root", Some(2), Some(2)),
            ]
        );
        assert!(duplicates.found.iter().all(|one| Path::new(&one.other_disk.name) == other));
        assert_eq!(duplicates.unexamined, []);
    };
    assert_all_found(&two);
    let device = LoopDevice::attach(&two, 512).unwrap();
    assert_all_found(device.path());
}

#[test]
fn different_disks_have_nothing_in_common() {
    let dir = tempfile::tempdir().unwrap();
    let one = image(&dir, "one");
    let others = ["blank", "filesystem", "gpt", "mbr"].map(|name| dir.path().join(name));
    for other in &others {
        fs::File::create(other).unwrap().set_len(16 << 20).unwrap();
    }
    tool("mke2fs", &["-q", "-F", "-L", "other"], &others[1]);
    tool("sgdisk", &["--new", "1:0:0"], &others[2]);
    // An MBR whose identifier nobody has set.
    let mut mbr = vec![0; 16 << 20];
    mbr[446 + 4] = 0x83;
    mbr[446 + 8..446 + 16].copy_from_slice(&[0, 8, 0, 0, 0, 8, 0, 0]);
    mbr[510..512].copy_from_slice(b"\x55\xaa");
    fs::write(&others[3], &mbr).unwrap();

    let disks = std::iter::once(one).chain(others.clone()).collect();
    assert_eq!(find(disks), Duplicates::default());
    let twin = dir.path().join("twin");
    fs::write(&twin, &mbr).unwrap();
    assert_eq!(find(vec![others[3].clone(), twin]), Duplicates::default());
}

#[test]
fn a_label_on_a_disk_without_partitions_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let (one, other) = (image(&dir, "one"), dir.path().join("other"));
    fs::File::create(&other).unwrap().set_len(8 << 20).unwrap();
    tool("mke2fs", &["-q", "-F", "-L", "root"], &other);
    assert_eq!(found(&find(vec![one, other])), [(Label, "root", Some(2), None)]);
}

#[test]
fn what_cannot_be_searched_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let (one, used, damaged) = (image(&dir, "one"), image(&dir, "used"), image(&dir, "damaged"));
    let mut bytes = fs::read(&damaged).unwrap();
    bytes[1024] ^= 1;
    fs::write(&damaged, bytes).unwrap();
    let device = LoopDevice::attach(&used, 512).unwrap();

    let duplicates = find(vec![one, used.clone(), damaged.clone()]);
    assert_eq!(duplicates.found, []);
    let told = duplicates.unexamined.iter().map(|one| (Path::new(&one.disk.name), one.error.code));
    let expected = [(&*used, ErrorCode::DeviceInUse), (&*damaged, ErrorCode::ImageNotBootable)];
    assert_eq!(told.collect::<Vec<_>>(), expected);
    drop(device);
}

#[test]
fn a_disk_that_was_not_given_is_not_looked_at() {
    let dir = tempfile::tempdir().unwrap();
    let (one, two) = (image(&dir, "one"), image(&dir, "two"));
    assert_eq!(find(vec![one.clone()]), Duplicates::default());

    // Nor one that another access was given.
    let theirs = Access::detect(vec![two]).unwrap();
    let disk = theirs.disks().unwrap().remove(0);
    theirs.open_to_read(&disk).unwrap();
    let refused = Access::detect(vec![one]).unwrap().open_to_read(&disk).unwrap_err();
    assert!(matches!(refused, disk::DiskError::NotAllowed { .. }), "{refused}");
}

#[test]
fn reading_keeps_nobody_out() {
    let dir = tempfile::tempdir().unwrap();
    let path = image(&dir, "one");
    let access = Access::detect(vec![path]).unwrap();
    let disk = access.disks().unwrap().remove(0);
    let reading = access.open_to_read(&disk).unwrap();
    access.open(&disk).unwrap();
    assert_eq!(reading.size(), 24 << 20);
}
