//! A real whole-disk image: GPT, an EFI system partition and an ext4 root, made by ordinary tools on plain files. Neither root
//! nor a loop device is needed.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, anyhow, bail, ensure};
use farrier::partition_table::{self, Tail};
use rand::{Rng as _, SeedableRng as _, rngs::SmallRng};
use sha2::{Digest as _, Sha256};

/// Bytes before the first partition, where the GPT is, and after the last one, where its copy is.
const EDGE_MIB: u64 = 1;
const ESP_MIB: u64 = 8;
const MIB: u64 = 1 << 20;
/// The smallest image that has room for a root file system.
const MIN_MIB: u64 = 24;

// Fixed, so that the same size always makes the same image.
const DISK_GUID: &str = "6C6FAB1E-0000-4000-8000-000000000001";
const ESP_GUID: &str = "6C6FAB1E-0000-4000-8000-000000000002";
const ROOT_GUID: &str = "6C6FAB1E-0000-4000-8000-000000000003";
const VFAT_ID: &str = "6c6fab1e";
const SEED: u64 = 0x6661_7272_6965_7221;
/// 1 January 2024, for every time that a file system records.
const EPOCH: &str = "1704067200";

/// Everything in the root file system.
const ROOT_PATHS: &[&str] = &[
    "/",
    "/lost+found",
    "/etc",
    "/etc/fstab",
    "/etc/hostname",
    "/usr",
    "/usr/lib",
    "/usr/lib/os-release",
    "/var",
    "/var/noise.bin",
];

/// An image that was built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskImage {
    /// Where it is.
    pub path: PathBuf,
    /// Its SHA-256 in hex.
    pub sha256_hex: String,
    /// Its bytes.
    pub size: u64,
}

/// Builds `dir/disk.img` of `size_mib` MiB. Its parts are made in `dir/disk.img.parts` and removed again. The same size always
/// makes the same image, as far as the tools of the machine are the same.
///
/// # Errors
/// When a tool is missing or fails: names it, and says what it said.
pub fn build(dir: &Path, size_mib: u64) -> anyhow::Result<DiskImage> {
    let path = dir.join("disk.img");
    let parts = dir.join("disk.img.parts");
    fs::create_dir_all(&parts).with_context(|| format!("cannot make {}", parts.display()))?;

    let room = build_frame(&path, size_mib)?;
    let root = build_root(&parts, (room.end - room.start) / MIB)?;
    place(&root, &path, room.start)?;
    fs::remove_dir_all(&parts).with_context(|| format!("cannot remove {}", parts.display()))?;

    let sha256_hex = sha256_hex(&path)?;
    Ok(DiskImage { path, sha256_hex, size: size_mib * MIB })
}

/// Builds an image of `size_mib` MiB at `path` whose root partition is a hole, and says where that is. Parts are made in a
/// directory beside it and removed again.
///
/// # Errors
/// When a tool is missing or fails: names it, and says what it said.
pub fn build_frame(path: &Path, size_mib: u64) -> anyhow::Result<Range<u64>> {
    ensure!(
        size_mib >= MIN_MIB,
        "an image of {size_mib} MiB has no room for its partitions; it needs {MIN_MIB} MiB"
    );
    let parts = path.with_added_extension("frame");
    fs::create_dir_all(&parts).with_context(|| format!("cannot make {}", parts.display()))?;
    let root_mib = size_mib - ESP_MIB - 2 * EDGE_MIB;
    let root_at = EDGE_MIB + ESP_MIB;
    let esp = build_esp(&parts)?;
    empty_file(path, size_mib * MIB)?;
    partition(path, root_mib)?;
    place(&esp, path, EDGE_MIB * MIB)?;
    fs::remove_dir_all(&parts).with_context(|| format!("cannot remove {}", parts.display()))?;
    Ok(root_at * MIB..(root_at + root_mib) * MIB)
}

/// Bytes that begin as a disk does, with a master boot record and one partition of one sector, and of which no two blocks are the
/// same. At least 512.
#[must_use]
pub fn disk_like(bytes: usize) -> Vec<u8> {
    let mut disk: Vec<u8> =
        (0..bytes.div_ceil(8) as u64).flat_map(|number| (number * 0x9e37_79b9 + 1).to_be_bytes()).collect();
    disk.truncate(bytes);
    disk[446..510].fill(0);
    disk[450] = 0x83;
    disk[454] = 1;
    disk[458] = 1;
    disk[510..512].copy_from_slice(b"\x55\xaa");
    disk
}

/// What a disk of `capacity` bytes with sectors of 512 bytes, which was zero before, holds once the image is on it: the copy of the
/// partition table is at its end.
///
/// # Errors
/// When the image cannot be read, or its table makes no sense on such a disk.
pub fn fitted(image: &Path, capacity: u64) -> anyhow::Result<Vec<u8>> {
    let mut disk = fs::read(image).with_context(|| format!("cannot read {}", image.display()))?;
    let image_end = disk.len() as u64;
    disk.resize(usize::try_from(capacity)?, 0);
    let edge = usize::try_from(EDGE_MIB * MIB)?;
    if disk.len() < 2 * edge {
        return Ok(disk);
    }
    let start = disk.len() - edge;
    let (body, last) = disk.split_at_mut(start);
    let tail = Tail { bytes: last, start: start as u64 };
    let moved = partition_table::relocate(&mut body[..edge], tail, 512, capacity, image_end);
    let moved = moved.map_err(|problem| anyhow!("{} {problem}", image.display()))?;
    if let Some(stale) = moved.and_then(|moved| moved.stale) {
        disk[usize::try_from(stale.start)?..usize::try_from(stale.end)?].fill(0);
    }
    Ok(disk)
}

/// The SHA-256 of a file, in hex.
///
/// # Errors
/// When the file cannot be read; names it.
pub fn sha256_hex(path: &Path) -> anyhow::Result<String> {
    let digest = || {
        let mut file = File::open(path)?;
        let mut hasher = Sha256::new();
        let mut block = vec![0; 1 << 20];
        loop {
            match file.read(&mut block)? {
                0 => return Ok::<_, io::Error>(hex::encode(hasher.finalize())),
                length => hasher.update(&block[..length]),
            }
        }
    };
    digest().with_context(|| format!("cannot read {}", path.display()))
}

fn build_esp(parts: &Path) -> anyhow::Result<PathBuf> {
    let esp = parts.join("esp.img");
    empty_file(&esp, ESP_MIB * MIB)?;
    let loader = parts.join("BOOTX64.EFI");
    fs::write(&loader, b"MZ: stands for a bootloader; nothing boots from it")
        .context("cannot write the loader")?;
    // Invariant: no identifiers and times of the day of the build.
    run(Command::new("mkfs.vfat").args(["--invariant", "-i", VFAT_ID, "-n", "ESP"]).arg(&esp))?;
    run(Command::new("mmd").arg("-i").arg(&esp).args(["::/EFI", "::/EFI/BOOT"]))?;
    run(Command::new("mcopy").arg("-i").arg(&esp).arg(&loader).arg("::/EFI/BOOT/BOOTX64.EFI"))?;
    Ok(esp)
}

fn build_root(parts: &Path, mib: u64) -> anyhow::Result<PathBuf> {
    let files = parts.join("root");
    for dir in ["etc", "usr/lib", "var"] {
        fs::create_dir_all(files.join(dir)).context("cannot make the directories of the root")?;
    }
    let release = "NAME=\"Lab OS\"\nID=labos\nVERSION_ID=1\nPRETTY_NAME=\"Lab OS 1\"\n";
    fs::write(files.join("usr/lib/os-release"), release).context("cannot write os-release")?;
    fs::write(files.join("etc/hostname"), "labnode\n").context("cannot write hostname")?;
    fs::write(files.join("etc/fstab"), format!("PARTUUID={ROOT_GUID} / ext4 defaults 0 1\n"))
        .context("cannot write fstab")?;
    // Half of it cannot be compressed, so that moving the image is real work; the rest is as empty as real roots are.
    write_noise(&files.join("var/noise.bin"), mib / 2 * MIB)?;

    let root = parts.join("root.img");
    let mut mke2fs = Command::new("mke2fs");
    mke2fs.args(["-q", "-F", "-t", "ext4", "-L", "root", "-U", ROOT_GUID]);
    mke2fs.args(["-E", &format!("root_owner=0:0,hash_seed={ROOT_GUID}")]);
    mke2fs.arg("-d").arg(&files).arg(&root).arg(format!("{mib}M"));
    run(&mut mke2fs)?;
    forget_times(&root)?;
    Ok(root)
}

/// The files of the root came with the times at which they were made here.
fn forget_times(root: &Path) -> anyhow::Result<()> {
    let mut script = String::new();
    for path in ROOT_PATHS {
        for time in ["atime", "mtime", "ctime", "crtime"] {
            script += &format!("set_inode_field {path} {time} @{EPOCH}\n");
            script += &format!("set_inode_field {path} {time}_extra 0\n");
        }
    }
    run_with_input(Command::new("debugfs").args(["-w", "-f", "-"]).arg(root), &script)
}

fn write_noise(path: &Path, bytes: u64) -> anyhow::Result<()> {
    let write = || {
        let mut rng = SmallRng::seed_from_u64(SEED);
        let mut file = File::create(path)?;
        let mut block = vec![0; 1 << 20];
        for _ in 0..bytes / MIB {
            rng.fill_bytes(&mut block);
            file.write_all(&block)?;
        }
        Ok::<_, io::Error>(())
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}

fn partition(image: &Path, root_mib: u64) -> anyhow::Result<()> {
    let table = format!(
        "label: gpt\nlabel-id: {DISK_GUID}\n\
         start={EDGE_MIB}MiB, size={ESP_MIB}MiB, type=U, uuid={ESP_GUID}, name=ESP\n\
         start={}MiB, size={root_mib}MiB, type=L, uuid={ROOT_GUID}, name=root\n",
        EDGE_MIB + ESP_MIB
    );
    run_with_input(Command::new("sfdisk").arg("--quiet").arg(image), &table)
}

fn empty_file(path: &Path, bytes: u64) -> anyhow::Result<()> {
    File::create(path)
        .and_then(|file| file.set_len(bytes))
        .with_context(|| format!("cannot make {} of {bytes} bytes", path.display()))
}

fn place(part: &Path, image: &Path, offset: u64) -> anyhow::Result<()> {
    let copy = || {
        let mut from = File::open(part)?;
        let mut to = OpenOptions::new().write(true).open(image)?;
        to.seek(SeekFrom::Start(offset))?;
        io::copy(&mut from, &mut to)
    };
    copy().with_context(|| format!("cannot copy {} into {}", part.display(), image.display()))?;
    Ok(())
}

fn run(command: &mut Command) -> anyhow::Result<()> {
    run_with_input(command, "")
}

fn run_with_input(command: &mut Command, input: &str) -> anyhow::Result<()> {
    // Some of these tools are where only the PATH of root leads, and all of them run without it.
    command.env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    command.env("SOURCE_DATE_EPOCH", EPOCH).env("E2FSPROGS_FAKE_TIME", EPOCH).env("LC_ALL", "C");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let name = command.get_program().to_string_lossy().into_owned();
    let mut child = command
        .spawn()
        .with_context(|| format!("cannot start {name}; it is in dosfstools, mtools, fdisk or e2fsprogs"))?;
    // Dropped at the end of the statement, which ends the input.
    child.stdin.take().context("the child has no standard input")?.write_all(input.as_bytes())?;
    let output = child.wait_with_output().with_context(|| format!("cannot wait for {name}"))?;
    if !output.status.success() {
        bail!("{name} failed ({}): {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(command: &mut Command) -> String {
        let output = command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    #[test]
    fn is_a_disk_that_the_tools_understand() {
        let dir = tempfile::tempdir().unwrap();
        let image = build(dir.path(), 32).unwrap();
        assert_eq!(fs::metadata(&image.path).unwrap().len(), image.size);

        let table = said(Command::new("sfdisk").arg("--dump").arg(&image.path));
        assert!(
            table.contains("label: gpt") && table.contains(ESP_GUID) && table.contains(ROOT_GUID),
            "{table}"
        );
        let loader = format!("{}@@1M", image.path.display());
        let listing = said(Command::new("mdir").args(["-b", "-i", &loader, "::/EFI/BOOT"]));
        assert!(listing.contains("BOOTX64.EFI"), "{listing}");

        let root = dir.path().join("root");
        let bytes = fs::read(&image.path).unwrap();
        fs::write(&root, &bytes[9 << 20..31 << 20]).unwrap();
        said(Command::new("e2fsck").arg("-fn").arg(&root));
        let release = said(Command::new("debugfs").args(["-R", "cat /usr/lib/os-release"]).arg(&root));
        assert!(release.contains("Lab OS"), "{release}");
    }

    #[test]
    fn is_the_same_every_time() {
        let dir = tempfile::tempdir().unwrap();
        let first = build(dir.path(), 24).unwrap();
        let second = build(dir.path(), 24).unwrap();
        assert_eq!(first, second);
    }
}
