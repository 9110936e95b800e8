//! Which disks this process may touch.

use std::fs;
use std::path::{Path, PathBuf};

use nix::sys::statfs::{FsType, TMPFS_MAGIC, statfs};

use super::identity::Identity;
use super::{Disk, DiskError, OpenDisk, ReadDisk, discovery, sysfs};

/// `RAMFS_MAGIC` of `linux/magic.h`: what a root file system in memory is where the kernel has no tmpfs.
const RAMFS_MAGIC: FsType = FsType(0x8584_58f6);
/// What the kernel command line of a RAM disk of Farrier's says.
const RAMDISK_WORDS: [&str; 2] = ["farrier.ramdisk", "farrier.ramdisk=1"];

/// The disks that this process may touch: those of the machine in a RAM disk of Farrier's, else those that were named to it one
/// by one. There is no other way to open a disk.
#[derive(Clone, Debug)]
pub struct Access(Scope);

/// Says that this process has the machine for itself: it stands in a RAM disk of Farrier's and was given the disks of the machine.
/// Only [`Access::whole_machine`] makes one.
#[derive(Clone, Copy, Debug)]
pub struct WholeMachine(());

#[derive(Clone, Debug)]
enum Scope {
    /// Every disk of the machine.
    Ramdisk,
    /// These, as they were named; often none.
    Lab(Vec<PathBuf>),
}

impl Access {
    /// The lab disks if any are named, else the disks of the machine in a RAM disk, else none. Blocks.
    ///
    /// # Errors
    /// When a lab disk is missing, is no disk, or is named twice.
    pub fn detect(lab_disks: Vec<PathBuf>) -> Result<Self, DiskError> {
        if lab_disks.is_empty() && Self::in_ramdisk() {
            return Ok(Self(Scope::Ramdisk));
        }
        discovery::of_lab(&lab_disks)?;
        Ok(Self(Scope::Lab(lab_disks)))
    }

    /// Whether this system is a RAM disk of Farrier's: its root file system is in memory, and it was booted as one. Nothing that can
    /// be set in a running system makes it one. What the kernel does not tell counts as no. Blocks.
    #[must_use]
    pub fn in_ramdisk() -> bool {
        let in_memory =
            statfs("/").is_ok_and(|root| [TMPFS_MAGIC, RAMFS_MAGIC].contains(&root.filesystem_type()));
        in_memory && fs::read_to_string("/proc/cmdline").is_ok_and(|line| boots_ramdisk(&line))
    }

    /// Whether it is the disks of the machine.
    #[must_use]
    pub fn is_ramdisk(&self) -> bool {
        matches!(self.0, Scope::Ramdisk)
    }

    /// Whether this process has the machine for itself, and may switch it off.
    #[must_use]
    pub fn whole_machine(&self) -> Option<WholeMachine> {
        self.is_ramdisk().then_some(WholeMachine(()))
    }

    /// The disks that are there now. Blocks.
    ///
    /// # Errors
    /// When a lab disk is missing, is no disk, or is named twice, and when the kernel does not tell its disks.
    pub fn disks(&self) -> Result<Vec<Disk>, DiskError> {
        match &self.0 {
            Scope::Ramdisk => discovery::of_machine(),
            Scope::Lab(paths) => discovery::of_lab(paths),
        }
    }

    /// Fails where there is no disk that may be touched.
    ///
    /// # Errors
    /// [`DiskError::NoLabDisks`].
    pub fn check_destructive(&self) -> Result<(), DiskError> {
        match &self.0 {
            Scope::Lab(disks) if disks.is_empty() => Err(DiskError::NoLabDisks),
            _ => Ok(()),
        }
    }

    /// Opens a disk for reading and writing, for nobody else until it is dropped. Blocks.
    ///
    /// # Errors
    /// When the disk was not given to this process, is in use or read-only, is no longer the one that was found, or fails.
    pub fn open(&self, disk: &Disk) -> Result<OpenDisk, DiskError> {
        self.check_given(disk)?;
        OpenDisk::open(disk.clone())
    }

    /// Opens a disk for reading. Blocks.
    ///
    /// # Errors
    /// When the disk was not given to this process, is in use, is no longer the one that was found, or fails.
    pub fn open_to_read(&self, disk: &Disk) -> Result<ReadDisk, DiskError> {
        self.check_given(disk)?;
        ReadDisk::open(disk.clone())
    }

    fn check_given(&self, disk: &Disk) -> Result<(), DiskError> {
        if self.was_given(disk) {
            return Ok(());
        }
        Err(DiskError::NotAllowed { disk: disk.name().to_owned(), given: self.given() })
    }

    fn was_given(&self, disk: &Disk) -> bool {
        match (&self.0, disk.known_by()) {
            (Scope::Ramdisk, Identity::Block { device, .. }) => {
                sysfs::folder(device).is_some_and(|folder| discovery::machine_disk(&folder).is_some())
            }
            (Scope::Ramdisk, Identity::File { .. }) => false,
            (Scope::Lab(paths), _) => {
                let name = Path::new(disk.name());
                // One that is gone meanwhile has a name all the same: that it is gone is what the caller shall hear.
                paths.iter().any(|path| path == name || fs::canonicalize(path).is_ok_and(|real| real == name))
            }
        }
    }

    fn given(&self) -> String {
        match &self.0 {
            Scope::Ramdisk => "those of the machine".to_owned(),
            Scope::Lab(paths) if paths.is_empty() => "none".to_owned(),
            Scope::Lab(paths) => {
                paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
            }
        }
    }
}

fn boots_ramdisk(command_line: &str) -> bool {
    command_line.split_whitespace().any(|word| RAMDISK_WORDS.contains(&word))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Coded as _, ErrorCode};

    #[test]
    fn the_command_line_says_that_it_is_a_ramdisk() {
        for (line, expected) in [
            ("console=ttyS0 farrier.ramdisk quiet\n", true),
            ("farrier.ramdisk=1", true),
            ("farrier.ramdisk=0", false),
            ("xfarrier.ramdisk farrier.ramdisks", false),
            ("", false),
        ] {
            assert_eq!(boots_ramdisk(line), expected, "{line:?}");
        }
    }

    #[test]
    fn a_system_on_a_disk_gives_no_disk() {
        let root = statfs("/").unwrap().filesystem_type();
        if [TMPFS_MAGIC, RAMFS_MAGIC].contains(&root) {
            return;
        }
        let access = Access::detect(Vec::new()).unwrap();
        assert!(!Access::in_ramdisk() && !access.is_ramdisk() && access.whole_machine().is_none());
        assert!(access.disks().unwrap().is_empty());
        let error = access.check_destructive().unwrap_err();
        assert_eq!(error.code(), ErrorCode::NoLabDisks);
        assert!(error.to_string().contains("--lab-disk"), "{error}");
    }

    #[test]
    fn a_disk_of_another_access_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let (one, other) = (dir.path().join("one"), dir.path().join("other"));
        for path in [&one, &other] {
            fs::write(path, [1; 512]).unwrap();
        }
        let access = Access::detect(vec![one.clone()]).unwrap();
        let foreign = Access::detect(vec![other.clone()]).unwrap().disks().unwrap().remove(0);
        let error = access.open(&foreign).unwrap_err();
        assert_eq!(error.code(), ErrorCode::DeviceNotAllowed);
        let message = error.to_string();
        assert!(
            message.contains(&one.display().to_string()) && message.contains(&other.display().to_string())
        );
    }

    #[test]
    fn even_in_a_ramdisk_only_disks_of_the_machine_are_given() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("disk");
        fs::write(&path, [1; 512]).unwrap();
        let file = Access::detect(vec![path]).unwrap().disks().unwrap().remove(0);
        let error = Access(Scope::Ramdisk).open(&file).unwrap_err();
        assert_eq!(error.code(), ErrorCode::DeviceNotAllowed);
    }
}
