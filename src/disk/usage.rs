//! Who uses a disk: mounts, swap, devices stacked on it, and loop devices that make a disk of a file.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use super::DiskError;
use super::identity::Identity;
use super::sysfs;

const MOUNTS: &str = "/proc/self/mountinfo";
const SWAPS: &str = "/proc/swaps";
const BLOCK_DEVICES: &str = "/sys/block";

/// Says by what a disk is used, or one of its partitions, if it is.
///
/// # Errors
/// When the kernel does not tell its mounts or swaps: a disk of which that is not known counts as used.
pub(super) fn user_of(identity: Identity) -> Result<Option<String>, DiskError> {
    let parts = parts_of(identity);
    let mounts = read_mounts()?;
    let swaps = read_swaps()?;
    let user = parts.iter().find_map(|part| {
        mounted(part, &mounts)
            .or_else(|| swapped(part, &swaps))
            .or_else(|| held(part))
            .or_else(|| looped(part))
            .map(|user| part.describe(&user))
    });
    Ok(user)
}

/// The disk itself, or one of its partitions.
#[derive(Debug)]
struct Part {
    identity: Identity,
    /// The name of the partition.
    partition: Option<String>,
    /// In sysfs, for a block device.
    folder: Option<PathBuf>,
}

impl Part {
    fn describe(&self, user: &str) -> String {
        self.partition
            .as_ref()
            .map_or_else(|| user.to_owned(), |name| format!("its partition {name} is {user}"))
    }

    /// Whether `path` leads to it.
    fn is_at(&self, path: &Path) -> bool {
        fs::metadata(path).is_ok_and(|found| match self.identity {
            Identity::Block { device, .. } => found.file_type().is_block_device() && found.rdev() == device,
            Identity::File { device, inode } => found.dev() == device && found.ino() == inode,
        })
    }
}

fn parts_of(identity: Identity) -> Vec<Part> {
    let Identity::Block { device, .. } = identity else {
        return vec![Part { identity, partition: None, folder: None }];
    };
    let folder = sysfs::folder(device);
    let partitions = folder.as_deref().map(sysfs::partitions).unwrap_or_default();
    let partitions = partitions.into_iter().filter_map(|(name, folder)| {
        let identity = Identity::Block { device: sysfs::device_number(&folder)?, sequence: None };
        Some(Part { identity, partition: Some(name), folder: Some(folder) })
    });
    std::iter::once(Part { identity, partition: None, folder: folder.clone() }).chain(partitions).collect()
}

fn mounted(part: &Part, mounts: &[Mount]) -> Option<String> {
    let is_source = |mount: &&Mount| {
        let by_number = matches!(part.identity, Identity::Block { device, .. } if device == mount.device);
        // A file system of several devices has a number of its own: it names one of them.
        by_number || (mount.source.is_absolute() && part.is_at(&mount.source))
    };
    mounts.iter().find(is_source).map(|mount| format!("mounted at {}", mount.point.display()))
}

fn swapped(part: &Part, swaps: &[PathBuf]) -> Option<String> {
    swaps.iter().any(|swap| part.is_at(swap)).then(|| "used as swap".to_owned())
}

/// Devices of the device mapper, of md and of bcache name those below them as those that they hold.
fn held(part: &Part) -> Option<String> {
    let holders = sysfs::children(&part.folder.as_ref()?.join("holders"));
    holders.first().map(|(holder, _)| format!("held by {holder}"))
}

fn looped(part: &Part) -> Option<String> {
    let loops =
        sysfs::children(Path::new(BLOCK_DEVICES)).into_iter().filter(|(name, _)| name.starts_with("loop"));
    let attached = |folder: &Path| sysfs::backing_file(folder).is_some_and(|file| part.is_at(&file));
    loops
        .into_iter()
        .find(|(_, folder)| attached(folder))
        .map(|(name, _)| format!("attached to the loop device {name}"))
}

/// A line of `mountinfo`, see proc_pid_mountinfo(5).
#[derive(Debug, PartialEq, Eq)]
struct Mount {
    device: u64,
    point: PathBuf,
    source: PathBuf,
}

fn read_mounts() -> Result<Vec<Mount>, DiskError> {
    Ok(read(MOUNTS)?.lines().filter_map(parse_mount).collect())
}

/// `36 35 8:1 / /mnt rw,noatime master:1 - ext3 /dev/sda1 rw`
fn parse_mount(line: &str) -> Option<Mount> {
    let (left, right) = line.split_once(" - ")?;
    let mut left = left.split(' ').skip(2);
    let (major, minor) = left.next()?.split_once(':')?;
    let point = left.nth(1)?;
    let source = right.split(' ').nth(1)?;
    Some(Mount {
        device: nix::sys::stat::makedev(major.parse().ok()?, minor.parse().ok()?),
        point: unescape(point),
        source: unescape(source),
    })
}

fn read_swaps() -> Result<Vec<PathBuf>, DiskError> {
    match read(SWAPS) {
        Ok(text) => Ok(parse_swaps(&text)),
        // A kernel that is built without swap.
        Err(DiskError::Kernel { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// One line of headings, then one of each swap that begins with its path.
fn parse_swaps(text: &str) -> Vec<PathBuf> {
    text.lines().skip(1).filter_map(|line| line.split_whitespace().next()).map(unescape).collect()
}

fn read(path: &str) -> Result<String, DiskError> {
    match fs::read(path) {
        Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        Err(source) => Err(DiskError::Kernel { path: path.into(), source }),
    }
}

/// The kernel writes white space and backslashes in paths as a backslash and three octal digits.
fn unescape(text: &str) -> PathBuf {
    let mut pieces = text.split('\\');
    let mut path = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let code = piece.get(..3).and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match code {
            Some(byte) => {
                path.push(char::from(byte));
                path.push_str(&piece[3..]);
            }
            None => {
                path.push('\\');
                path.push_str(piece);
            }
        }
    }
    PathBuf::from(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_mounts_with_and_without_optional_fields() {
        let mount =
            parse_mount(r"36 35 8:17 / /mnt/two\040words rw master:1 shared:2 - ext3 /dev/sdb1 rw,errors=ro");
        let expected = Mount {
            device: nix::sys::stat::makedev(8, 17),
            point: "/mnt/two words".into(),
            source: "/dev/sdb1".into(),
        };
        assert_eq!(mount, Some(expected));
        assert!(parse_mount("36 35 0:21 / /proc rw - proc proc rw").is_some());
        assert_eq!(parse_mount("36 35"), None);
    }

    #[test]
    fn reads_swaps() {
        let text = "Filename\tType\tSize\tUsed\tPriority\n/dev/sda2   partition\t1024\t0\t-2\n/swap\\040file file\t1\t0\t-3\n";
        assert_eq!(parse_swaps(text), [PathBuf::from("/dev/sda2"), PathBuf::from("/swap file")]);
    }

    #[test]
    fn a_backslash_that_begins_no_code_is_kept() {
        assert_eq!(unescape(r"/a\040b\134c\x"), PathBuf::from(r"/a b\c\x"));
    }
}
