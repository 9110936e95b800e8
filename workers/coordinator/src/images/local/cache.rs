//! The images of other servers that are kept here: as many bytes as are allowed, the one that was used longest ago given up first, and never one
//! that is being served.

mod kept;

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use farrier::blocking;
use farrier::telemetry::names;
use metrics::counter;
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::sys::statvfs::statvfs;
use tempfile::NamedTempFile;
use tokio::sync::Semaphore;

pub(super) use self::kept::Hold;
use self::kept::{Kept, Reservation, SharedKept, Step};
use super::allowed::Root;
use super::identity::Identity;
use super::{CacheConfig, LocalError};
use crate::store::Store;
use crate::store::published::PublishedFile;

/// Held locked by the coordinator that has the directory.
const LOCK: &str = "lock";
/// What the names of images begin with that have not come whole.
const PARTIAL: &str = "partial-";

/// A directory of images, each named by the hex digits of its SHA-256.
#[derive(Debug)]
pub(super) struct Cache {
    directory: PathBuf,
    root: Arc<Root>,
    bytes: u64,
    kept: SharedKept,
    /// Held by whoever makes room or puts an image in its place, so that two do not give up more than they need, nor put one over another.
    turn: tokio::sync::Mutex<()>,
    /// One for each image that is being fetched.
    pub(super) downloads: Semaphore,
    _lock: Flock<File>,
}

impl Cache {
    /// Takes the directory, and looks at what is there: images that the store knows are kept, partial ones are removed.
    ///
    /// # Errors
    /// The directory cannot be used, or another coordinator has it.
    pub(super) async fn open(config: CacheConfig, store: &Store) -> Result<Self, LocalError> {
        let directory = config.directory;
        let unusable = |source| LocalError::Cache { path: directory.clone(), source };
        let (path, known) = (directory.clone(), store.published_in(&directory).await?);
        let (root, lock, found) = blocking::run(move || take(&path, known)).await.map_err(unusable)?;
        let lock = lock.ok_or_else(|| LocalError::CacheInUse { path: directory.clone() })?;
        let mut kept = Kept::default();
        for (sha256, length) in found {
            kept.put(sha256, length);
        }
        kept.show();
        Ok(Self {
            directory,
            root: Arc::new(root),
            bytes: config.bytes,
            kept: SharedKept::new(kept),
            turn: tokio::sync::Mutex::default(),
            downloads: Semaphore::new(config.downloads),
            _lock: lock,
        })
    }

    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Where the image of a content lies.
    pub(super) fn path(&self, sha256: &str) -> PathBuf {
        self.directory.join(sha256)
    }

    /// Holds an image, if it is here: it is not given up before the hold ends.
    pub(super) fn hold(&self, sha256: &str) -> Option<Hold> {
        self.kept.hold(sha256)
    }

    /// Opens an image, which is held meanwhile.
    ///
    /// # Errors
    /// It cannot be opened.
    pub(super) async fn open_file(&self, sha256: &str) -> Result<(File, Identity), LocalError> {
        let (root, path, name) = (Arc::clone(&self.root), self.path(sha256), sha256.to_owned());
        blocking::run(move || root.open_file(&path, Path::new(&name))).await
    }

    /// Makes a file for an image that is to come, and room for it: for all that is there where its length is not known.
    ///
    /// # Errors
    /// [`LocalError::CacheFull`].
    pub(super) async fn reserve(&self, store: &Store, length: Option<u64>) -> Result<Room, LocalError> {
        let full = |reason: &str| LocalError::CacheFull {
            path: self.directory.clone(),
            bytes: length,
            reason: reason.to_owned(),
        };
        if length.is_some_and(|length| length > self.bytes) {
            return Err(full(&format!(
                "it may hold {}; raise `image_cache_size` in the table [deploy]",
                self.bytes
            )));
        }
        let _turn = self.turn.lock().await;
        let reserved = loop {
            let free = self.free_bytes().await?;
            let step = self.kept.lock().step(self.bytes, free, length);
            match step {
                Step::Reserved(bytes) => break bytes,
                Step::GiveUp(sha256) => self.give_up(store, &sha256).await?,
                Step::Full => {
                    return Err(full(
                        "the images in it are being served, or its file system is full; try again later",
                    ));
                }
            }
        };
        let reservation = self.kept.reservation(reserved);
        let directory = self.directory.clone();
        let file =
            blocking::run(move || tempfile::Builder::new().prefix(PARTIAL).tempfile_in(directory)).await;
        let file = file.map_err(|source| LocalError::Cache { path: self.directory.clone(), source })?;
        Ok(Room { file, reservation })
    }

    /// Puts an image that has come whole in its place, and holds it. One that is there already stays.
    ///
    /// # Errors
    /// It cannot be put there.
    pub(super) async fn keep(&self, room: Room, sha256: &str, length: u64) -> Result<Hold, LocalError> {
        let _turn = self.turn.lock().await;
        if let Some(hold) = self.hold(sha256) {
            return Ok(hold);
        }
        let (directory, path) = (self.directory.clone(), self.path(sha256));
        let Room { file, reservation } = room;
        let placed = blocking::run(move || {
            file.persist(path).map_err(|error| error.error)?;
            // The name is on the medium too before anybody relies on it.
            File::open(directory)?.sync_all()
        });
        placed.await.map_err(|source| LocalError::Cache { path: self.path(sha256), source })?;
        {
            let mut kept = self.kept.lock();
            kept.put(sha256.to_owned(), length);
            kept.show();
        }
        drop(reservation);
        self.hold(sha256).ok_or(LocalError::Lost)
    }

    /// Removes an image that is not what it was.
    ///
    /// # Errors
    /// It cannot be removed.
    pub(super) async fn discard(&self, store: &Store, sha256: &str) -> Result<(), LocalError> {
        let _turn = self.turn.lock().await;
        self.kept.lock().remove(sha256);
        self.give_up(store, sha256).await
    }

    async fn give_up(&self, store: &Store, sha256: &str) -> Result<(), LocalError> {
        let path = self.path(sha256);
        let removed = blocking::run(move || fs::remove_file(path)).await;
        match removed {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                return Err(LocalError::Cache { path: self.path(sha256), source });
            }
            _ => {}
        }
        counter!(names::IMAGE_CACHE, "outcome" => "evicted").increment(1);
        self.kept.lock().show();
        tracing::info!(sha256, "an image was removed from the cache");
        Ok(store.forget_fetched(&self.directory, sha256).await?)
    }

    async fn free_bytes(&self) -> Result<u64, LocalError> {
        let directory = self.directory.clone();
        let file_system = blocking::run(move || statvfs(&directory)).await;
        let file_system = file_system
            .map_err(|errno| LocalError::Cache { path: self.directory.clone(), source: errno.into() })?;
        Ok(file_system.blocks_available().saturating_mul(file_system.fragment_size()))
    }
}

/// The directory, locked, and the images in it: nothing for the lock when another process has it.
type Taken = (Root, Option<Flock<File>>, Vec<(String, u64)>);

fn take(directory: &Path, known: Vec<PublishedFile>) -> io::Result<Taken> {
    fs::create_dir_all(directory)?;
    let root = Root::open(directory)?;
    let file =
        OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(directory.join(LOCK))?;
    let lock = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => lock,
        Err((_, Errno::EWOULDBLOCK)) => return Ok((root, None, Vec::new())),
        Err((_, errno)) => return Err(errno.into()),
    };
    let mut images = Vec::new();
    for file in known {
        let whole =
            fs::symlink_metadata(&file.path).is_ok_and(|now| Identity::of(&now).to_string() == file.identity);
        if let Some(name) = file.path.file_name().filter(|name| whole && *name == file.sha256.as_str()) {
            let length = fs::symlink_metadata(directory.join(name))?.len();
            images.push((file.sha256, length));
        }
    }
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let is_image = name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit());
        let is_known = images.iter().any(|(sha256, _)| *sha256 == name);
        // Nothing is removed that was not put there by a coordinator.
        if name.starts_with(PARTIAL) || (is_image && !is_known) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok((root, Some(lock), images))
}

/// Room for an image, with a file for it that is removed when this is dropped.
#[derive(Debug)]
pub(super) struct Room {
    file: NamedTempFile,
    reservation: Reservation,
}

impl Room {
    /// For how many bytes there is room.
    pub(super) fn bytes(&self) -> u64 {
        self.reservation.bytes()
    }

    /// The file.
    ///
    /// # Errors
    /// There are no more file descriptors.
    pub(super) fn file(&self) -> io::Result<File> {
        self.file.as_file().try_clone()
    }
}
