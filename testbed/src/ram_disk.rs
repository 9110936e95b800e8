//! A disk in memory: a loop device over a file that has no name.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek as _};
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};
use nix::sys::memfd::{MFdFlags, memfd_create};

use crate::lab_disk;
use crate::loop_device::LoopDevice;

const SECTOR: u32 = 512;
const BLOCK_BYTES: u64 = 1 << 20;

/// A loop device over memory. Both are gone when this is dropped and when this process dies, however it dies. Needs root.
#[derive(Debug)]
pub struct RamDisk {
    path: PathBuf,
    memory: File,
    bytes: u64,
    /// While it is open, the kernel keeps the loop device.
    _device: File,
}

impl RamDisk {
    /// Makes a disk of `bytes` bytes. It takes the memory as it is written.
    ///
    /// # Errors
    /// When the kernel or `losetup` will not.
    pub fn new(bytes: u64) -> anyhow::Result<Self> {
        let memory = File::from(memfd_create("farrier-disk", MFdFlags::MFD_CLOEXEC).context("no memfd")?);
        memory.set_len(bytes).with_context(|| format!("no memory file of {bytes} bytes"))?;
        let shown = format!("/proc/{}/fd/{}", std::process::id(), memory.as_raw_fd());
        let attached = LoopDevice::attach(Path::new(&shown), SECTOR)?;
        let path = attached.path().to_owned();
        let device = OpenOptions::new()
            .read(true)
            .open(&path)
            .with_context(|| format!("cannot open {}", path.display()))?;
        // It is detached now, which the kernel does once the last of those who have it open has closed it: this process.
        drop(attached);
        Ok(Self { path, memory, bytes, _device: device })
    }

    /// The device, such as `/dev/loop3`.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Fills it with [`lab_disk::OLD_DATA`], below the page cache of the device, which is emptied.
    ///
    /// # Errors
    /// When there is not so much memory.
    pub fn dirty(&mut self) -> anyhow::Result<()> {
        let output = Command::new("blockdev")
            .arg("--flushbufs")
            .arg(&self.path)
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .output()
            .context("cannot start blockdev; it is in util-linux")?;
        ensure!(output.status.success(), "blockdev: {}", String::from_utf8_lossy(&output.stderr).trim());
        self.memory.rewind()?;
        lab_disk::fill(&mut self.memory, self.bytes).context("there is not enough memory for a RAM disk")
    }

    /// The first byte in which the disk differs from a file of the same size. What was written to the device and not flushed is
    /// not on the disk.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn differs_from(&mut self, file: &Path) -> anyhow::Result<Option<u64>> {
        self.memory.rewind()?;
        File::open(file)
            .and_then(|mut file| first_difference(&mut self.memory, &mut file))
            .with_context(|| format!("cannot compare with {}", file.display()))
    }
}

fn first_difference(one: &mut impl Read, other: &mut impl Read) -> io::Result<Option<u64>> {
    let (mut here, mut there) = (Vec::new(), Vec::new());
    let mut at = 0;
    loop {
        here.clear();
        there.clear();
        one.take(BLOCK_BYTES).read_to_end(&mut here)?;
        other.take(BLOCK_BYTES).read_to_end(&mut there)?;
        if here != there {
            let same = here.iter().zip(&there).take_while(|(here, there)| here == there).count();
            return Ok(Some(at + same as u64));
        }
        if here.is_empty() {
            return Ok(None);
        }
        at += here.len() as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;
    use std::os::unix::fs::FileExt as _;

    #[test]
    fn the_first_difference_is_found() {
        let long = vec![7; 3 << 20];
        let mut other = long.clone();
        assert_eq!(first_difference(&mut &long[..], &mut &other[..]).unwrap(), None);
        other[(2 << 20) + 5] = 8;
        assert_eq!(first_difference(&mut &long[..], &mut &other[..]).unwrap(), Some((2 << 20) + 5));
        assert_eq!(first_difference(&mut &long[..10], &mut &long[..12]).unwrap(), Some(10));
    }

    #[test]
    fn is_a_disk_until_it_is_dropped() {
        if !nix::unistd::geteuid().is_root() {
            eprintln!("skipped: only root has loop devices");
            return;
        }
        let mut disk = RamDisk::new(4 << 20).unwrap();
        let backing =
            Path::new("/sys/block").join(disk.path().file_name().unwrap()).join("loop/backing_file");
        assert!(backing.exists());
        disk.dirty().unwrap();
        let mut reference = tempfile::NamedTempFile::new().unwrap();
        lab_disk::fill(reference.as_file_mut(), 4 << 20).unwrap();
        assert_eq!(disk.differs_from(reference.path()).unwrap(), None);

        let mut device = OpenOptions::new().write(true).open(disk.path()).unwrap();
        device.write_all(&[0xFF; 4096]).unwrap();
        device.sync_all().unwrap();
        assert_eq!(disk.differs_from(reference.path()).unwrap(), Some(0));
        reference.as_file().write_all_at(&[0xFF; 4096], 0).unwrap();
        assert_eq!(disk.differs_from(reference.path()).unwrap(), None);
        drop((disk, device));
        assert!(
            !backing.exists()
                || std::fs::read_to_string(&backing).is_ok_and(|name| !name.contains("farrier-disk"))
        );
    }
}
