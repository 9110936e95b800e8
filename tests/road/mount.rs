//! File systems that a test mounts. Needs root.

use std::fs::File;
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};

/// A mounted file system, unmounted when dropped.
pub(crate) struct Mount {
    point: PathBuf,
}

impl Mount {
    /// A file system in memory that holds `bytes` bytes.
    pub(crate) fn tmpfs(point: &Path, bytes: u64) -> Self {
        Self::new(Path::new("farrier-test"), point, "tmpfs", Some(&format!("size={bytes}")))
    }

    /// The file system on a device.
    pub(crate) fn device(device: &Path, point: &Path, kind: &str) -> Self {
        Self::new(device, point, kind, None)
    }

    fn new(source: &Path, point: &Path, kind: &str, options: Option<&str>) -> Self {
        std::fs::create_dir_all(point).unwrap();
        mount(Some(source), point, Some(kind), MsFlags::empty(), options).unwrap();
        Self { point: point.to_owned() }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.point.join(name)
    }

    /// Writes a file until there is no room for another byte.
    pub(crate) fn fill(&self) -> PathBuf {
        let path = self.path("filler");
        let mut filler = File::create(&path).unwrap();
        while filler.write_all(&[0; 4096]).is_ok() {}
        // Byte by byte in the end: a block that only fits in part leaves room for a small write.
        let error = loop {
            if let Err(error) = filler.write_all(&[0]) {
                break error;
            }
        };
        assert_eq!(error.kind(), ErrorKind::StorageFull, "{error}");
        path
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // Also where something is open in it still: then it goes once that is closed.
        let _ = umount2(&self.point, MntFlags::MNT_DETACH);
    }
}
