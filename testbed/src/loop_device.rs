//! Loop devices: block devices over files.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};

/// A loop device over a file, detached when dropped. Needs root.
#[derive(Debug)]
pub struct LoopDevice {
    path: PathBuf,
}

impl LoopDevice {
    /// Attaches the first free loop device to `file`, with logical sectors of `sector` bytes.
    ///
    /// # Errors
    /// When `losetup` fails: says what it said.
    pub fn attach(file: &Path, sector: u32) -> anyhow::Result<Self> {
        Self::attach_with(file, sector, &[])
    }

    /// Like [`LoopDevice::attach`], with options of losetup such as `--partscan` or `--read-only`.
    ///
    /// # Errors
    /// When `losetup` fails: says what it said.
    pub fn attach_with(file: &Path, sector: u32, options: &[&str]) -> anyhow::Result<Self> {
        let output = Command::new("losetup")
            .args(["--find", "--show", "--sector-size", &sector.to_string()])
            .args(options)
            .arg(file)
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .output()
            .context("cannot start losetup; it is in mount")?;
        ensure!(
            output.status.success(),
            "losetup cannot attach {} ({}): {}",
            file.display(),
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        );
        let path = String::from_utf8(output.stdout).context("losetup names no device")?;
        Ok(Self { path: PathBuf::from(path.trim()) })
    }

    /// The device, such as `/dev/loop3`.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for LoopDevice {
    fn drop(&mut self) {
        // A device that is still open is detached by the kernel when it is closed.
        let _ = Command::new("losetup")
            .arg("--detach")
            .arg(&self.path)
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .status();
    }
}
