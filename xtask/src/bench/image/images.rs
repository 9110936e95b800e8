//! The images that are served, made once for a run.

use std::fs::{File, OpenOptions};
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};
use clap::ValueEnum;
use farrier_testbed::disk_image;

use super::content;

const MIB: u64 = 1 << 20;
/// Of a sparse image one extent in so many has data.
const SPARSENESS: u64 = 10;
const EXTENT: u64 = 4 * MIB;

/// What is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Case {
    /// A raw image full of noise
    Dense,
    /// A raw image with a tenth of data
    Sparse,
    /// A qcow2 of a half full image
    Qcow2,
    /// The same, its clusters compressed by zlib
    Qcow2Zlib,
    /// The same, its clusters compressed by zstd
    Qcow2Zstd,
    /// The half full image, compressed by zstd
    Zstd,
    /// The half full image, compressed by gzip
    Gzip,
}

impl Case {
    pub(super) const ALL: [Self; 7] =
        [Self::Dense, Self::Sparse, Self::Qcow2, Self::Qcow2Zlib, Self::Qcow2Zstd, Self::Zstd, Self::Gzip];

    /// What tables call it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Dense => "dense raw",
            Self::Sparse => "sparse raw",
            Self::Qcow2 => "qcow2",
            Self::Qcow2Zlib => "qcow2, zlib",
            Self::Qcow2Zstd => "qcow2, zstd",
            Self::Zstd => "zstd",
            Self::Gzip => "gzip",
        }
    }

    pub(super) fn is_raw(self) -> bool {
        matches!(self, Self::Dense | Self::Sparse)
    }

    pub(super) fn is_qcow2(self) -> bool {
        matches!(self, Self::Qcow2 | Self::Qcow2Zlib | Self::Qcow2Zstd)
    }

    fn file(self) -> &'static str {
        match self {
            Self::Dense => "dense.img",
            Self::Sparse => "sparse.img",
            Self::Qcow2 => "half.qcow2",
            Self::Qcow2Zlib => "half-zlib.qcow2",
            Self::Qcow2Zstd => "half-zstd.qcow2",
            Self::Zstd => "half.img.zst",
            Self::Gzip => "half.img.gz",
        }
    }

    fn reference(self) -> &'static str {
        if self.is_raw() { self.file() } else { "half.img" }
    }

    /// Writes the file of an image that is not raw.
    fn encode(self, from: &Path, to: &Path) -> anyhow::Result<()> {
        let qcow2 = |options: &[&str]| {
            let mut convert = Command::new("qemu-img");
            convert.args(["convert", "-f", "raw", "-O", "qcow2"]).args(options).arg(from).arg(to);
            run(&mut convert)
        };
        match self {
            Self::Dense | Self::Sparse => Ok(()),
            Self::Qcow2 => qcow2(&[]),
            Self::Qcow2Zlib => qcow2(&["-c"]),
            Self::Qcow2Zstd => qcow2(&["-c", "-o", "compression_type=zstd"]),
            Self::Zstd => run(Command::new("zstd").args(["-q", "-3", "-T0"]).arg(from).arg("-o").arg(to)),
            Self::Gzip => {
                let to = File::create(to).with_context(|| format!("cannot make {}", to.display()))?;
                run(Command::new("pigz").arg("--stdout").arg(from).stdout(to))
            }
        }
    }
}

/// An image that was made.
#[derive(Clone, Debug)]
pub(super) struct Image {
    pub(super) case: Case,
    /// Its name below the root of the server.
    pub(super) name: &'static str,
    pub(super) path: PathBuf,
    /// The SHA-256 of the bytes as served, in hex.
    pub(super) sha256: String,
    /// Bytes as served.
    pub(super) bytes: u64,
    /// What the disk shall hold.
    pub(super) reference: PathBuf,
    /// Which parts of a raw image are not holes, for `bmaptool`.
    pub(super) bmap: Option<PathBuf>,
}

/// Makes the images of these cases in `dir`, each of `mib` MiB once it is on a disk.
pub(super) fn make(dir: &Path, cases: &[Case], mib: u64) -> anyhow::Result<Vec<Image>> {
    cases
        .iter()
        .map(|&case| {
            println!("making {}", case.file());
            let reference = dir.join(case.reference());
            if !reference.exists() {
                make_raw(&reference, case, mib)?;
            }
            let path = dir.join(case.file());
            case.encode(&reference, &path)?;
            let sha256 = disk_image::sha256_hex(&path)?;
            let bytes = std::fs::metadata(&path)?.len();
            let bmap = if case == Case::Sparse { bmap_of(&path)? } else { None };
            Ok(Image { case, name: case.file(), path, sha256, bytes, reference, bmap })
        })
        .collect()
}

fn make_raw(path: &Path, case: Case, mib: u64) -> anyhow::Result<()> {
    let root = disk_image::build_frame(path, mib)?;
    let fill = |unit: &[u8], has_data: &dyn Fn(u64) -> bool| {
        fill(path, &root, unit, has_data).with_context(|| format!("cannot write {}", path.display()))
    };
    match case {
        Case::Dense => fill(&content::noise(), &|_| true),
        Case::Sparse => fill(&content::noise(), &|extent| extent.is_multiple_of(SPARSENESS)),
        _ => fill(&content::files(), &|extent| extent.is_multiple_of(2)),
    }
}

/// Writes those extents that have data, and leaves holes for the others.
fn fill(path: &Path, root: &Range<u64>, unit: &[u8], has_data: &dyn Fn(u64) -> bool) -> io::Result<()> {
    let file = OpenOptions::new().write(true).open(path)?;
    let mut from = unit.chunks(usize::try_from(EXTENT).unwrap_or(usize::MAX)).cycle();
    let mut at = root.start;
    for extent in 0.. {
        if at >= root.end {
            break;
        }
        if has_data(extent)
            && let Some(bytes) = from.next()
        {
            let room = usize::try_from(root.end - at).unwrap_or(usize::MAX);
            file.write_all_at(&bytes[..bytes.len().min(room)], at)?;
        }
        at += EXTENT;
    }
    Ok(())
}

/// None where there is no `bmaptool`: the contender that needs it says so.
fn bmap_of(image: &Path) -> anyhow::Result<Option<PathBuf>> {
    let bmap = image.with_extension("bmap");
    match Command::new("bmaptool").arg("create").arg(image).arg("-o").arg(&bmap).output() {
        Ok(output) if output.status.success() => Ok(Some(bmap)),
        Ok(output) => anyhow::bail!("bmaptool: {}", String::from_utf8_lossy(&output.stderr).trim()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).context("cannot start bmaptool"),
    }
}

fn run(command: &mut Command) -> anyhow::Result<()> {
    let shown = format!("{command:?}");
    let output = command.output().with_context(|| format!("cannot start {shown}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{shown} has failed ({}): {}", output.status, said.trim());
    Ok(())
}
