//! The paths below which files may be served, and how a file below them is opened, so that nothing else can be named.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Component, Path, PathBuf};

use farrier::config::ConfigError;
use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, open, openat2};
use nix::sys::stat::Mode;

use super::LocalError;
use super::identity::Identity;

const SETTING: &str = "conductor.file_url_allowed_paths";
/// What is never served, whatever is allowed: there are secrets in these, and files that are none.
const NEVER: &[&str] = &["/boot", "/dev", "/etc", "/proc", "/run", "/sys"];

/// The directories below which files may be served. Each is resolved once: one that is put in its place later is not.
#[derive(Debug, Default)]
pub struct AllowedPaths(Vec<Root>);

impl AllowedPaths {
    /// Opens the directories. Blocks.
    ///
    /// # Errors
    /// One is no directory, cannot be opened, or lies in or above what is never served.
    pub fn open(paths: &[PathBuf]) -> Result<Self, ConfigError> {
        paths.iter().map(|path| Root::allowed(path)).collect::<Result<_, _>>().map(Self)
    }

    /// Opens a regular file below one of them. Blocks.
    ///
    /// # Errors
    /// [`LocalError::NotAllowed`], [`LocalError::NotFound`], [`LocalError::Unreadable`].
    pub(super) fn open_file(&self, path: &Path) -> Result<(File, Identity), LocalError> {
        let refused = |reason: String| LocalError::NotAllowed { path: path.to_owned(), reason };
        if !path.is_absolute() || path.components().any(|part| part == Component::ParentDir) {
            return Err(refused("expected an absolute path without `..`".to_owned()));
        }
        // The innermost one: another one above it may lie on another file system.
        let below = self.0.iter().filter_map(|root| Some((root, root.relative(path)?)));
        match below.min_by_key(|(_, relative)| relative.components().count()) {
            Some((root, relative)) => root.open_file(path, relative),
            None if self.0.is_empty() => Err(refused(
                "no path is allowed; list directories in `file_url_allowed_paths` in the table [conductor] of the coordinator's configuration"
                    .to_owned(),
            )),
            None => Err(refused(format!(
                "it is not below {}; move it there, or add its directory to `file_url_allowed_paths`",
                self.0.iter().map(|root| root.given.display().to_string()).collect::<Vec<_>>().join(" or ")
            ))),
        }
    }
}

/// A directory with files that may be served.
#[derive(Debug)]
pub(super) struct Root {
    /// As it is written in the configuration.
    given: PathBuf,
    /// The same without links.
    resolved: PathBuf,
    directory: OwnedFd,
}

impl Root {
    fn allowed(path: &Path) -> Result<Self, ConfigError> {
        let wrong = |what: &str| ConfigError::setting(SETTING, format!("{} {what}", path.display()));
        let root = Self::open(path).map_err(|error| wrong(&format!("cannot be used: {error}")))?;
        for never in NEVER {
            // Some of them are links themselves.
            let resolved = fs::canonicalize(never).unwrap_or_else(|_| PathBuf::from(never));
            let touches = |path: &Path| {
                let in_or_above = |never: &Path| path.starts_with(never) || never.starts_with(path);
                in_or_above(Path::new(never)) || in_or_above(&resolved)
            };
            if touches(&root.given) || touches(&root.resolved) {
                return Err(wrong(&format!(
                    "lies in or above {never}, from which nothing is served; give a directory of images"
                )));
            }
        }
        Ok(root)
    }

    /// Opens a directory. Blocks.
    ///
    /// # Errors
    /// It is none, or cannot be opened.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        if !path.is_absolute() {
            return Err(io::Error::other("expected an absolute path"));
        }
        let resolved = fs::canonicalize(path)?;
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let directory = open(&resolved, flags, Mode::empty())?;
        Ok(Self { given: path.to_owned(), resolved, directory })
    }

    /// The rest of a path below this directory.
    fn relative<'a>(&self, path: &'a Path) -> Option<&'a Path> {
        path.strip_prefix(&self.given).or_else(|_| path.strip_prefix(&self.resolved)).ok()
    }

    /// Opens a regular file below this directory, whose `path` is for errors. Blocks.
    ///
    /// # Errors
    /// As [`AllowedPaths::open_file`].
    pub(super) fn open_file(&self, path: &Path, relative: &Path) -> Result<(File, Identity), LocalError> {
        let refused =
            |reason: &str| LocalError::NotAllowed { path: path.to_owned(), reason: reason.to_owned() };
        let how = OpenHow::new()
            // Only names it: to open a device may do something, and a pipe may never answer.
            .flags(OFlag::O_PATH | OFlag::O_CLOEXEC)
            .resolve(
                ResolveFlag::RESOLVE_BENEATH
                    | ResolveFlag::RESOLVE_NO_SYMLINKS
                    | ResolveFlag::RESOLVE_NO_MAGICLINKS,
            );
        if relative.as_os_str().is_empty() {
            return Err(refused("it is a directory; expected a regular file"));
        }
        let named = openat2(&self.directory, relative, how).map_err(|errno| match errno {
            Errno::ELOOP => refused("there is a symbolic link in its path; name what that leads to"),
            Errno::EXDEV => refused("its path leads out of the allowed directory"),
            Errno::ENOENT | Errno::ENOTDIR => LocalError::NotFound { path: path.to_owned() },
            other => LocalError::Unreadable { path: path.to_owned(), source: other.into() },
        })?;
        let unreadable = |source| LocalError::Unreadable { path: path.to_owned(), source };
        let named = File::from(named);
        if !named.metadata().map_err(unreadable)?.is_file() {
            return Err(refused("it is no regular file"));
        }
        let file = OpenOptions::new()
            .read(true)
            .custom_flags((OFlag::O_NONBLOCK | OFlag::O_NOCTTY).bits())
            .open(format!("/proc/self/fd/{}", named.as_raw_fd()))
            .map_err(unreadable)?;
        let identity = Identity::of(&file.metadata().map_err(unreadable)?);
        Ok((file, identity))
    }
}
