//! Which file it is, and which version of it.

use std::fmt;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;

use chrono::{DateTime, TimeDelta, Utc};

/// How coarse the times of files are: they come from a clock that ticks a hundred times a second or more often. Two changes within one tick
/// cannot be told apart by them.
const TICK: TimeDelta = TimeDelta::milliseconds(20);

/// What changes whenever a file or its content does, as far as the kernel tells. The time of the last change of the inode
/// cannot be set by whoever writes the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Identity {
    device: u64,
    inode: u64,
    length: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Identity {
    pub(super) fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            length: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    /// Bytes of the file.
    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// When the content was modified, as whoever wrote it says.
    pub(super) fn modified(&self) -> DateTime<Utc> {
        time(self.modified)
    }

    /// How long to wait until another change of the file would show.
    pub(super) fn unsettled_for(&self, now: DateTime<Utc>) -> std::time::Duration {
        let left = time(self.changed) + TICK - now;
        // A clock that was set back must not make anybody wait for ever.
        left.min(TICK).to_std().unwrap_or_default()
    }
}

fn time((seconds, nanoseconds): (i64, i64)) -> DateTime<Utc> {
    let nanoseconds = u32::try_from(nanoseconds).unwrap_or_default();
    DateTime::from_timestamp(seconds, nanoseconds).unwrap_or(DateTime::UNIX_EPOCH)
}

/// As the store has it: never read, only compared.
impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { device, inode, length, modified, changed } = self;
        write!(f, "{device}:{inode}:{length}:{}.{:09}:", modified.0, modified.1)?;
        write!(f, "{}.{:09}", changed.0, changed.1)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::Duration;

    use super::*;

    #[test]
    fn every_change_makes_another_one() {
        let dir = tempfile::tempdir().unwrap();
        let (path, other) = (dir.path().join("a"), dir.path().join("b"));
        let of = |path| Identity::of(&fs::metadata(path).unwrap());
        fs::write(&path, "1").unwrap();
        let before = of(&path);
        assert_eq!(before, of(&path));
        assert_eq!(before.length(), 1);
        fs::rename(&path, &other).unwrap();
        fs::write(&path, "1").unwrap();
        assert_ne!(before, of(&path), "another file of the same content");
        fs::write(&other, "12").unwrap();
        assert_ne!(before, of(&other), "another length");
        assert_ne!(before.to_string(), of(&other).to_string());
    }

    #[test]
    fn a_fresh_file_settles_and_an_old_one_has() {
        let identity = |changed| Identity { device: 1, inode: 1, length: 1, modified: (0, 0), changed };
        let now = DateTime::from_timestamp(1000, 0).unwrap();
        assert_eq!(identity((999, 0)).unsettled_for(now), Duration::ZERO);
        assert_eq!(identity((999, 990_000_000)).unsettled_for(now), Duration::from_millis(10));
        assert_eq!(identity((5000, 0)).unsettled_for(now), Duration::from_millis(20), "from the future");
    }
}
