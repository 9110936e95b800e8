//! The images of other servers that are kept here: as many bytes as are allowed, the one that was used longest ago given up first, and never one
//! that is being served.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use farrier::blocking;
use farrier::telemetry::names;
use metrics::{counter, gauge};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::sys::statvfs::statvfs;
use tempfile::NamedTempFile;
use tokio::sync::Semaphore;

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
    kept: Arc<Mutex<Kept>>,
    /// Held by whoever makes room or puts an image in its place, so that two do not give up more than they need, nor put one over another.
    turn: tokio::sync::Mutex<()>,
    /// One for each image that is being fetched.
    pub(super) downloads: Semaphore,
    _lock: Flock<File>,
}

/// What is in the directory.
#[derive(Debug, Default)]
struct Kept {
    images: HashMap<String, KeptImage>,
    /// Bytes that are spoken for by images that are being fetched.
    reserved: u64,
    /// Counts uses, to tell which came last.
    clock: u64,
}

#[derive(Debug)]
struct KeptImage {
    length: u64,
    used: u64,
    /// Others have it too while the image is being used.
    in_use: Arc<()>,
}

/// What is to be done next to make room.
enum Step {
    Reserved(u64),
    GiveUp(String),
    Full,
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
            kept: Arc::new(Mutex::new(kept)),
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
        let mut kept = self.kept();
        let now = kept.tick();
        let image = kept.images.get_mut(sha256)?;
        image.used = now;
        let in_use = Arc::clone(&image.in_use);
        Some(Hold { kept: Arc::clone(&self.kept), sha256: sha256.to_owned(), _in_use: in_use })
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
            let step = self.kept().step(self.bytes, free, length);
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
        let reservation = Reservation { kept: Arc::clone(&self.kept), bytes: reserved };
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
            let mut kept = self.kept();
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
        self.kept().images.remove(sha256);
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
        self.kept().show();
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

    fn kept(&self) -> MutexGuard<'_, Kept> {
        lock(&self.kept)
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

impl Kept {
    fn tick(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }

    fn put(&mut self, sha256: String, length: u64) {
        let used = self.tick();
        self.images.insert(sha256, KeptImage { length, used, in_use: Arc::default() });
    }

    fn used(&self) -> u64 {
        self.images.values().map(|image| image.length).sum()
    }

    /// Reserves room if there is enough, in the cache and on its file system; else takes out what was used longest ago.
    fn step(&mut self, bytes: u64, free: u64, length: Option<u64>) -> Step {
        let idle = self.images.iter().filter(|(_, image)| Arc::strong_count(&image.in_use) == 1);
        let oldest = idle.min_by_key(|(_, image)| image.used).map(|(sha256, _)| sha256.clone());
        let left = bytes.saturating_sub(self.used() + self.reserved).min(free.saturating_sub(self.reserved));
        match (length, oldest) {
            (Some(length), _) if length <= left => self.reserve(length),
            (_, Some(sha256)) => {
                self.images.remove(&sha256);
                Step::GiveUp(sha256)
            }
            (None, None) if left > 0 => self.reserve(left),
            _ => Step::Full,
        }
    }

    fn reserve(&mut self, bytes: u64) -> Step {
        self.reserved += bytes;
        Step::Reserved(bytes)
    }

    #[expect(clippy::cast_precision_loss, reason = "bytes of a cache, for people")]
    fn show(&self) {
        gauge!(names::IMAGE_CACHE_BYTES).set(self.used() as f64);
    }
}

fn lock(kept: &Mutex<Kept>) -> MutexGuard<'_, Kept> {
    kept.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An image that is being used. It may be given up when all of these are dropped.
#[derive(Debug)]
pub(super) struct Hold {
    kept: Arc<Mutex<Kept>>,
    sha256: String,
    _in_use: Arc<()>,
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut kept = lock(&self.kept);
        let now = kept.tick();
        if let Some(image) = kept.images.get_mut(&self.sha256) {
            image.used = now;
        }
    }
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
        self.reservation.bytes
    }

    /// The file.
    ///
    /// # Errors
    /// There are no more file descriptors.
    pub(super) fn file(&self) -> io::Result<File> {
        self.file.as_file().try_clone()
    }
}

#[derive(Debug)]
struct Reservation {
    kept: Arc<Mutex<Kept>>,
    bytes: u64,
}

impl Drop for Reservation {
    fn drop(&mut self) {
        lock(&self.kept).reserved -= self.bytes;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(images: &[(&str, u64)]) -> Kept {
        let mut kept = Kept::default();
        for (sha256, length) in images {
            kept.put((*sha256).to_owned(), *length);
        }
        kept
    }

    #[test]
    fn what_was_used_longest_ago_goes_first_and_what_is_used_stays() {
        let mut kept = kept(&[("a", 40), ("b", 30), ("c", 30)]);
        kept.images.get_mut("a").unwrap().used = 100;
        let _used = Arc::clone(&kept.images["b"].in_use);
        let mut next = || kept.step(100, u64::MAX, Some(60));
        assert!(matches!(next(), Step::GiveUp(sha256) if sha256 == "c"));
        assert!(matches!(next(), Step::GiveUp(sha256) if sha256 == "a"));
        assert!(matches!(next(), Step::Reserved(60)));
        assert!(matches!(next(), Step::Full), "what is reserved counts");
    }

    #[test]
    fn the_file_system_bounds_it_too() {
        let mut kept = kept(&[("a", 40)]);
        assert!(matches!(kept.step(100, 50, Some(50)), Step::Reserved(50)));
        assert!(matches!(kept.step(100, 50, Some(10)), Step::GiveUp(_)), "nothing of it is written yet");
    }

    #[test]
    fn an_image_of_unknown_length_gets_all_that_is_not_used() {
        let mut kept = kept(&[("a", 40), ("b", 30)]);
        let _used = Arc::clone(&kept.images["a"].in_use);
        assert!(matches!(kept.step(100, u64::MAX, None), Step::GiveUp(sha256) if sha256 == "b"));
        assert!(matches!(kept.step(100, u64::MAX, None), Step::Reserved(60)));
        assert!(matches!(kept.step(100, u64::MAX, None), Step::Full));
    }
}
