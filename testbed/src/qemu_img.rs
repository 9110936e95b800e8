//! qcow2 images by QEMU's own tools, and what those make of images.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};

/// A qcow2 image in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Qcow2 {
    path: PathBuf,
}

impl Qcow2 {
    /// Makes an empty image of `size` bytes with `options`, as `qemu-img create -o` takes them: `compat=1.1,cluster_size=65536`.
    ///
    /// # Errors
    /// When the tool is missing or refuses: says what it said.
    pub fn create(path: &Path, options: &str, size: u64) -> anyhow::Result<Self> {
        let size = size.to_string();
        let image = Self::at(path);
        qemu_img(&[&"create", &"-q", &"-f", &"qcow2", &"-o", &options, &path, &size])?;
        Ok(image)
    }

    /// Makes an image of the raw image at `raw`. `flags` may hold `-c`, to compress, and `-W`, to write out of order.
    ///
    /// # Errors
    /// As [`Qcow2::create`].
    pub fn convert(raw: &Path, path: &Path, options: &str, flags: &[&str]) -> anyhow::Result<Self> {
        let mut arguments: Vec<&dyn AsRef<OsStr>> =
            vec![&"convert", &"-f", &"raw", &"-O", &"qcow2", &"-o", &options];
        arguments.extend(flags.iter().map(|flag| flag as &dyn AsRef<OsStr>));
        arguments.extend([&raw as &dyn AsRef<OsStr>, &path]);
        qemu_img(&arguments)?;
        Ok(Self::at(path))
    }

    /// An image that is there.
    #[must_use]
    pub fn at(path: &Path) -> Self {
        Self { path: path.to_owned() }
    }

    /// Changes it by commands of `qemu-io`, one after another: `write -P 0x5a 1M 64k`.
    ///
    /// # Errors
    /// When the tool is missing or a command fails: says what it said.
    pub fn io(&self, commands: &[String]) -> anyhow::Result<()> {
        let mut command = Command::new("qemu-io");
        command.args(["-f", "qcow2"]);
        for line in commands {
            command.args(["-c", line]);
        }
        run(command.arg(&self.path))
    }

    /// Keeps its present state as an internal snapshot.
    ///
    /// # Errors
    /// As [`Qcow2::create`].
    pub fn snapshot(&self, name: &str) -> anyhow::Result<()> {
        qemu_img(&[&"snapshot", &"-q", &"-c", &name, &self.path])
    }

    /// Gives the disk another size, in bytes. What lies behind it is lost.
    ///
    /// # Errors
    /// As [`Qcow2::create`].
    pub fn resize(&self, size: u64) -> anyhow::Result<()> {
        let size = size.to_string();
        qemu_img(&[&"resize", &"-q", &"--shrink", &"-f", &"qcow2", &self.path, &size])
    }

    /// The bytes of the file.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn bytes(&self) -> anyhow::Result<Vec<u8>> {
        fs::read(&self.path).with_context(|| format!("cannot read {}", self.path.display()))
    }

    /// The content of the disk, as `qemu-img convert -O raw` has it. Makes a file next to the image and removes it.
    ///
    /// # Errors
    /// As [`Qcow2::create`].
    pub fn content(&self) -> anyhow::Result<Vec<u8>> {
        let raw = self.path.with_extension("content.raw");
        qemu_img(&[&"convert", &"-f", &"qcow2", &"-O", &"raw", &self.path, &raw])?;
        let content = fs::read(&raw).with_context(|| format!("cannot read {}", raw.display()))?;
        fs::remove_file(&raw).with_context(|| format!("cannot remove {}", raw.display()))?;
        Ok(content)
    }
}

fn qemu_img(arguments: &[&dyn AsRef<OsStr>]) -> anyhow::Result<()> {
    run(Command::new("qemu-img").args(arguments.iter().map(|argument| argument.as_ref())))
}

/// Runs a command to its end.
fn run(command: &mut Command) -> anyhow::Result<()> {
    let output =
        command.output().with_context(|| format!("cannot run {command:?}; is qemu-utils installed?"))?;
    let said = [String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr)].concat();
    ensure!(output.status.success(), "{command:?}: {}: {said}", output.status);
    Ok(())
}
