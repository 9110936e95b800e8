//! What a cache holds and for whom: pure counting, shared by all who use it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use farrier::telemetry::names;
use metrics::gauge;

/// What is in the directory.
#[derive(Debug, Default)]
pub(super) struct Kept {
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
pub(super) enum Step {
    /// There is room for so many bytes, and it is spoken for.
    Reserved(u64),
    /// This image is counted no more, and its file is to be removed.
    GiveUp(String),
    /// There is no room.
    Full,
}

/// What a cache holds, for those who use it at the same time.
#[derive(Clone, Debug)]
pub(super) struct SharedKept(Arc<Mutex<Kept>>);

impl SharedKept {
    pub(super) fn new(kept: Kept) -> Self {
        Self(Arc::new(Mutex::new(kept)))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Holds an image, if it is there.
    pub(super) fn hold(&self, sha256: &str) -> Option<Hold> {
        let mut kept = self.lock();
        let now = kept.tick();
        let image = kept.images.get_mut(sha256)?;
        image.used = now;
        let in_use = Arc::clone(&image.in_use);
        Some(Hold { kept: self.clone(), sha256: sha256.to_owned(), _in_use: in_use })
    }

    /// What was reserved, until this is dropped.
    pub(super) fn reservation(&self, bytes: u64) -> Reservation {
        Reservation { kept: self.clone(), bytes }
    }
}

impl Kept {
    fn tick(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }

    /// Counts an image in.
    pub(super) fn put(&mut self, sha256: String, length: u64) {
        let used = self.tick();
        self.images.insert(sha256, KeptImage { length, used, in_use: Arc::default() });
    }

    /// Counts an image out.
    pub(super) fn remove(&mut self, sha256: &str) {
        self.images.remove(sha256);
    }

    /// Bytes of all images.
    fn bytes(&self) -> u64 {
        self.images.values().map(|image| image.length).sum()
    }

    /// Reserves room if there is enough, in the cache and on its file system; else takes out what was used longest ago, if that can help.
    pub(super) fn step(&mut self, bytes: u64, free: u64, length: Option<u64>) -> Step {
        let idle = self.images.iter().filter(|(_, image)| Arc::strong_count(&image.in_use) == 1);
        let idle_bytes: u64 = idle.clone().map(|(_, image)| image.length).sum();
        let oldest = idle.min_by_key(|(_, image)| image.used).map(|(sha256, _)| sha256.clone());
        let left = bytes.saturating_sub(self.bytes() + self.reserved).min(free.saturating_sub(self.reserved));
        match (length, oldest) {
            (Some(length), _) if length <= left => self.reserve(length),
            (Some(length), _) if length > left.saturating_add(idle_bytes) => Step::Full,
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

    /// Shows how much there is.
    #[expect(clippy::cast_precision_loss, reason = "bytes of a cache, for people")]
    pub(super) fn show(&self) {
        gauge!(names::IMAGE_CACHE_BYTES).set(self.bytes() as f64);
    }
}

/// An image that is being used. It may be given up when all of these are dropped.
#[derive(Debug)]
pub(in crate::images::local) struct Hold {
    kept: SharedKept,
    sha256: String,
    _in_use: Arc<()>,
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut kept = self.kept.lock();
        let now = kept.tick();
        if let Some(image) = kept.images.get_mut(&self.sha256) {
            image.used = now;
        }
    }
}

/// Room that is spoken for.
#[derive(Debug)]
pub(super) struct Reservation {
    kept: SharedKept,
    bytes: u64,
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.kept.lock().reserved -= self.bytes;
    }
}

impl Reservation {
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
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
        assert!(
            matches!(kept.step(100, u64::MAX, Some(71)), Step::Full),
            "nothing goes for what does not fit"
        );
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
