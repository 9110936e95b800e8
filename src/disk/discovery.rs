//! Which disks there are.

use std::fs::{self, Metadata};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use super::identity::Identity;
use super::{Disk, DiskError, sysfs};
use crate::wire::inventory;

const BLOCK_DEVICES: &str = "/sys/block";
/// Loop, RAM, zram, device mapper, md and network block devices are here: none of them is a disk of the machine.
const VIRTUAL: &str = "/sys/devices/virtual/block";
/// Bytes in a sector of a file.
pub(super) const FILE_SECTOR: u32 = 512;
const ANY_WRITE: u32 = 0o222;

/// The disks of the machine, without floppy and optical drives, without memory and devices made of others, and without drives that
/// hold no medium.
pub(super) fn of_machine() -> Result<Vec<Disk>, DiskError> {
    let unreadable = |source| DiskError::Kernel { path: BLOCK_DEVICES.into(), source };
    fs::read_dir(BLOCK_DEVICES).map_err(unreadable)?;
    let folders = sysfs::children(Path::new(BLOCK_DEVICES)).into_iter().filter(|(name, _)| !is_drive(name));
    let folders = folders.filter_map(|(_, link)| fs::canonicalize(link).ok());
    Ok(folders.filter_map(|folder| machine_disk(&folder)).collect())
}

/// One disk of the machine, by its folder in sysfs.
pub(super) fn machine_disk(folder: &Path) -> Option<Disk> {
    let hidden = sysfs::number(&folder.join("hidden")) == Some(1);
    if hidden || folder.starts_with(VIRTUAL) {
        return None;
    }
    // The kernel writes a slash in a name as `!` there.
    let name = folder.file_name()?.to_string_lossy().replace('!', "/");
    let disk = block_device(&Path::new("/dev").join(name), folder, sysfs::device_number(folder)?);
    (disk.size() > 0).then_some(disk)
}

/// Whether a name is that of a floppy or optical drive.
fn is_drive(name: &str) -> bool {
    ["fd", "sr"].iter().any(|kind| {
        name.strip_prefix(kind).is_some_and(|rest| rest.starts_with(|char: char| char.is_ascii_digit()))
    })
}

/// Exactly the disks that were named.
pub(super) fn of_lab(paths: &[PathBuf]) -> Result<Vec<Disk>, DiskError> {
    let mut disks: Vec<Disk> = Vec::new();
    for path in paths {
        let disk = lab_disk(path)?;
        if let Some(twin) = disks.iter().position(|other| other.known_by() == disk.known_by()) {
            return Err(DiskError::LabDiskTwice { first: paths[twin].clone(), second: path.clone() });
        }
        disks.push(disk);
    }
    Ok(disks)
}

fn lab_disk(path: &Path) -> Result<Disk, DiskError> {
    let missing = |source| DiskError::LabDiskMissing { path: path.to_owned(), source };
    let unfit = |found| DiskError::LabDiskUnfit { path: path.to_owned(), found };
    let real = fs::canonicalize(path).map_err(missing)?;
    let metadata = fs::metadata(&real).map_err(missing)?;
    let kind = metadata.file_type();
    if kind.is_file() {
        if metadata.len() == 0 { Err(unfit("an empty file")) } else { Ok(file(&real, &metadata)) }
    } else if kind.is_block_device() {
        let folder =
            sysfs::folder(metadata.rdev()).ok_or_else(|| unfit("a block device without a driver"))?;
        if folder.join("partition").exists() {
            return Err(unfit("a partition"));
        }
        let disk = block_device(&real, &folder, metadata.rdev());
        if disk.size() == 0 { Err(unfit("a block device that holds no medium")) } else { Ok(disk) }
    } else if kind.is_dir() {
        Err(unfit("a folder"))
    } else {
        Err(unfit("a pipe, a socket or a character device"))
    }
}

fn block_device(name: &Path, folder: &Path, device: u64) -> Disk {
    Disk::new(sysfs::facts(folder, name), Identity::Block { device, sequence: sysfs::sequence(folder) })
}

/// A file that stands for a disk.
fn file(path: &Path, metadata: &Metadata) -> Disk {
    let facts = inventory::Disk {
        name: path.display().to_string(),
        model: Some("lab disk".to_owned()),
        vendor: Some("farrier".to_owned()),
        serial: path.file_name().map(|name| name.to_string_lossy().into_owned()),
        tran: Some("file".to_owned()),
        size: metadata.len(),
        logical_sectors: FILE_SECTOR,
        physical_sectors: FILE_SECTOR,
        // Root may write it all the same; whoever took the right away did not mean it to be.
        read_only: metadata.permissions().mode() & ANY_WRITE == 0,
        ..inventory::Disk::default()
    };
    Disk::new(facts, Identity::File { device: metadata.dev(), inode: metadata.ino() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Coded as _, ErrorCode};

    #[test]
    fn drives_are_told_from_disks() {
        for (name, drive) in [("fd0", true), ("sr1", true), ("sda", false), ("fda", false), ("srv", false)] {
            assert_eq!(is_drive(name), drive, "{name}");
        }
    }

    #[test]
    fn devices_made_of_others_and_memory_are_no_disks_of_the_machine() {
        for disk in of_machine().unwrap() {
            let name = disk.name();
            assert!(!["loop", "ram", "zram", "dm-", "md"].iter().any(|kind| name.contains(kind)), "{name}");
            assert!(disk.size() > 0, "{name}");
        }
    }

    #[test]
    fn a_file_stands_for_a_disk_under_its_real_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("disk-7");
        fs::write(&path, [1; 2048]).unwrap();
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        let disks = of_lab(&[link]).unwrap();
        let facts = disks[0].facts();
        assert_eq!(facts.name, fs::canonicalize(&path).unwrap().display().to_string());
        assert_eq!((facts.size, facts.logical_sectors, facts.read_only), (2048, 512, false));
        assert_eq!((facts.serial.as_deref(), facts.tran.as_deref()), (Some("disk-7"), Some("file")));
        assert_eq!((facts.model.as_deref(), facts.vendor.as_deref()), (Some("lab disk"), Some("farrier")));
    }

    #[test]
    fn what_is_no_disk_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let empty = dir.path().join("empty");
        fs::write(&empty, []).unwrap();
        for (path, part) in [
            (dir.path().join("absent"), "cannot be found"),
            (dir.path().to_owned(), "a folder"),
            (empty, "an empty file"),
            ("/dev/null".into(), "a character device"),
        ] {
            let error = of_lab(std::slice::from_ref(&path)).unwrap_err();
            assert_eq!(error.code(), ErrorCode::BadConfig);
            let message = error.to_string();
            assert!(message.contains(&path.display().to_string()) && message.contains(part), "{message}");
        }
    }

    #[test]
    fn the_same_disk_by_two_names_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let (path, twin) = (dir.path().join("disk"), dir.path().join("twin"));
        fs::write(&path, [1; 512]).unwrap();
        fs::hard_link(&path, &twin).unwrap();
        let message = of_lab(&[path.clone(), twin.clone()]).unwrap_err().to_string();
        assert!(
            message.contains(&path.display().to_string()) && message.contains(&twin.display().to_string())
        );
    }
}
