//! A disk that is open, to read or also to write.

use std::fs::{File, Metadata, OpenOptions, TryLockError};
use std::io;
use std::ops::Deref;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};

use nix::libc;

use super::identity::Identity;
use super::{Disk, DiskError, discovery, sysfs, usage};
use crate::ioctl;

/// A disk that is open for reading and writing, and for nobody else that asks. It can be read like any [`ReadDisk`]. Everything
/// here blocks.
#[derive(Debug)]
pub struct OpenDisk(ReadDisk);

/// A disk that is open for reading. Everything here blocks.
#[derive(Debug)]
pub struct ReadDisk {
    disk: Disk,
    file: File,
    sector: u32,
}

impl Deref for OpenDisk {
    type Target = ReadDisk;

    fn deref(&self) -> &ReadDisk {
        &self.0
    }
}

impl OpenDisk {
    /// Only [`Access`](super::Access) may call this, once it knows that the disk was given to this process.
    pub(super) fn open(disk: Disk) -> Result<Self, DiskError> {
        if disk.facts().read_only {
            return Err(read_only(&disk, "the kernel or its permissions say so"));
        }
        // Said first, since the kernel refuses a device in use without saying by what.
        check_unused(&disk)?;
        let file = match disk.known_by() {
            Identity::Block { .. } => open_block_device(&disk)?,
            Identity::File { .. } => open_file(&disk)?,
        };
        Ok(Self(ReadDisk::of(disk, file)?))
    }

    /// The disk, to read and write.
    #[must_use]
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Returns once all that was written is on the medium, and nothing of it in the page cache.
    ///
    /// # Errors
    /// [`DiskError::Io`].
    pub fn flush(&self) -> Result<(), DiskError> {
        self.file.sync_all().map_err(|source| self.fault("flush", source))?;
        if self.is_block_device() {
            ioctl::flush_cache(&self.file).map_err(|source| self.fault("flush", source))?;
        }
        Ok(())
    }

    /// Makes the kernel read the partition table, and says whether it did: files and devices without partitions have none to read.
    ///
    /// # Errors
    /// [`DiskError::InUse`] when a partition is in use, [`DiskError::Io`] otherwise.
    pub fn reread_partition_table(&self) -> Result<bool, DiskError> {
        if !self.is_block_device() {
            return Ok(false);
        }
        match ioctl::reread_partitions(&self.file) {
            Ok(()) => Ok(true),
            // A loop device that was attached without partitions.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => Ok(false),
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy => Err(in_use(
                &self.disk,
                "the kernel cannot read its partition table anew while a partition is open",
            )),
            Err(source) => Err(self.fault("read the partition table anew of", source)),
        }
    }
}

impl ReadDisk {
    /// Only [`Access`](super::Access) may call this, once it knows that the disk was given to this process.
    pub(super) fn open(disk: Disk) -> Result<Self, DiskError> {
        check_unused(&disk)?;
        let file = open_path(&disk, OpenOptions::new().read(true), 0)?;
        Self::of(disk, file)
    }

    /// Checks that what was opened is the disk that was found.
    fn of(disk: Disk, file: File) -> Result<Self, DiskError> {
        let mut open = Self { disk, file, sector: discovery::FILE_SECTOR };
        open.recheck()?;
        if open.is_block_device() {
            open.sector =
                ioctl::logical_sector(&open.file).map_err(|source| open.fault("examine", source))?;
        }
        Ok(open)
    }

    /// The disk as it was found.
    #[must_use]
    pub fn disk(&self) -> &Disk {
        &self.disk
    }

    /// Its size in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.disk.size()
    }

    /// Bytes in a logical sector.
    #[must_use]
    pub fn logical_sector(&self) -> u32 {
        self.sector
    }

    /// Up to `length` bytes from `offset`, fewer only where the disk ends.
    pub(super) fn read(&self, offset: u64, length: usize) -> Result<Vec<u8>, DiskError> {
        let left = usize::try_from(self.size().saturating_sub(offset)).unwrap_or(usize::MAX);
        let mut bytes = vec![0; length.min(left)];
        self.file
            .read_exact_at(&mut bytes, offset)
            .map_err(|source| self.fault_at("read", offset, source))?;
        Ok(bytes)
    }

    /// Checks again that it is the disk that was chosen, and that nobody else uses it. Call it right before each destructive act.
    ///
    /// # Errors
    /// [`DiskError::Changed`], [`DiskError::InUse`], and when the kernel does not say.
    pub fn recheck(&self) -> Result<(), DiskError> {
        let metadata = self.file.metadata().map_err(|source| self.fault("examine", source))?;
        match self.disk.known_by() {
            Identity::File { device, inode } => self.check_file(&metadata, device, inode)?,
            Identity::Block { device, sequence } => self.check_block_device(&metadata, device, sequence)?,
        }
        check_unused(&self.disk)
    }

    /// What errors call it.
    pub(super) fn name(&self) -> &str {
        self.disk.name()
    }

    pub(super) fn is_block_device(&self) -> bool {
        matches!(self.disk.known_by(), Identity::Block { .. })
    }

    /// A failure that is not about one place.
    pub(super) fn fault(&self, action: &'static str, source: io::Error) -> DiskError {
        fault(&self.disk, action, source)
    }

    /// A failure at a byte.
    pub(super) fn fault_at(&self, action: &'static str, offset: u64, source: io::Error) -> DiskError {
        DiskError::Io { disk: self.disk.name().to_owned(), action, offset: Some(offset), source }
    }

    fn check_file(&self, found: &Metadata, device: u64, inode: u64) -> Result<(), DiskError> {
        self.expect("file system", &device, &found.dev())?;
        self.expect("inode", &inode, &found.ino())?;
        self.expect("size in bytes", &self.size(), &found.len())
    }

    fn check_block_device(
        &self,
        found: &Metadata,
        device: u64,
        sequence: Option<u64>,
    ) -> Result<(), DiskError> {
        self.expect("device number", &device_name(device), &device_name(found.rdev()))?;
        let size = ioctl::size(&self.file).map_err(|source| self.fault("examine", source))?;
        if let Some(sequence) = sequence {
            let found = ioctl::disk_sequence(&self.file).map_err(|source| self.fault("examine", source))?;
            self.expect("disk sequence number", &sequence, &found)?;
        }
        self.expect("size in bytes", &self.size(), &size)?;
        let Some(folder) = sysfs::folder(device) else {
            return self.expect("device", &"attached", &"gone");
        };
        let (facts, now) = (self.disk.facts(), sysfs::facts(&folder, self.disk.name().as_ref()));
        self.expect("serial number", &or_none(&facts.serial), &or_none(&now.serial))?;
        self.expect("World Wide Name", &or_none(&facts.wwn_with_extension), &or_none(&now.wwn_with_extension))
    }

    fn expect<T: PartialEq + ToString>(
        &self,
        what: &'static str,
        expected: &T,
        found: &T,
    ) -> Result<(), DiskError> {
        if expected == found {
            return Ok(());
        }
        Err(DiskError::Changed {
            disk: self.disk.name().to_owned(),
            what,
            expected: expected.to_string(),
            found: found.to_string(),
        })
    }
}

/// With `O_EXCL` the kernel refuses a block device that is mounted, used as swap, or held by another device or process, and refuses
/// it to them as long as it is open.
fn open_block_device(disk: &Disk) -> Result<File, DiskError> {
    let file = open_path(disk, OpenOptions::new().read(true).write(true), libc::O_EXCL)?;
    match ioctl::is_read_only(&file) {
        Ok(false) => Ok(file),
        Ok(true) => Err(read_only(disk, "the kernel says so")),
        // A file has come to stand where the device was: that is found when its identity is checked.
        Err(error) if error.raw_os_error() == Some(libc::ENOTTY) => Ok(file),
        Err(source) => Err(fault(disk, "examine", source)),
    }
}

/// Files are kept from other agents on this system by a lock.
fn open_file(disk: &Disk) -> Result<File, DiskError> {
    let file = open_path(disk, OpenOptions::new().read(true).write(true), 0)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(in_use(disk, "another process has locked it")),
        Err(TryLockError::Error(source)) => Err(fault(disk, "lock", source)),
    }
}

fn open_path(disk: &Disk, how: &mut OpenOptions, flags: i32) -> Result<File, DiskError> {
    // The name is a real path: a link there is not the disk that was found.
    let opened = how.custom_flags(flags | libc::O_NOFOLLOW).open(disk.name());
    opened.map_err(|source| match source.raw_os_error() {
        Some(libc::EBUSY | libc::ETXTBSY) => in_use(disk, "another process or device holds it"),
        Some(libc::EROFS | libc::EACCES | libc::EPERM) => read_only(disk, &source.to_string()),
        Some(libc::ELOOP) => DiskError::Changed {
            disk: disk.name().to_owned(),
            what: "path",
            expected: "the disk itself".to_owned(),
            found: "a link".to_owned(),
        },
        _ => fault(disk, "open", source),
    })
}

fn check_unused(disk: &Disk) -> Result<(), DiskError> {
    match usage::user_of(disk.known_by())? {
        Some(user) => Err(in_use(disk, &user)),
        None => Ok(()),
    }
}

fn in_use(disk: &Disk, by: &str) -> DiskError {
    DiskError::InUse { disk: disk.name().to_owned(), by: by.to_owned() }
}

fn read_only(disk: &Disk, why: &str) -> DiskError {
    DiskError::ReadOnly { disk: disk.name().to_owned(), why: why.to_owned() }
}

fn fault(disk: &Disk, action: &'static str, source: io::Error) -> DiskError {
    DiskError::Io { disk: disk.name().to_owned(), action, offset: None, source }
}

fn or_none(text: &Option<String>) -> &str {
    text.as_deref().unwrap_or("none")
}

fn device_name(device: u64) -> String {
    format!("{}:{}", nix::sys::stat::major(device), nix::sys::stat::minor(device))
}
