//! Work that several wait for and that is done once.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};

use super::LocalError;

type Flight<T> = Shared<BoxFuture<'static, Result<T, Arc<LocalError>>>>;

/// Work under way, by what it is about. It goes on when those who wait for it give up, so that the next one finds it further on.
#[derive(Debug)]
pub(super) struct Flights<K, T>(Arc<Mutex<HashMap<K, Flight<T>>>>);

impl<K, T> Default for Flights<K, T> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<K, T> Flights<K, T>
where
    K: Clone + Eq + Hash + Send + 'static,
    T: Clone + Send + Sync + 'static,
{
    /// Waits for the work about `key` that is under way, or begins it.
    ///
    /// # Errors
    /// What the work says.
    pub(super) async fn join(
        &self,
        key: K,
        work: impl Future<Output = Result<T, LocalError>> + Send + 'static,
    ) -> Result<T, LocalError> {
        let flight = self.under_way().entry(key.clone()).or_insert_with(|| self.begin(key, work)).clone();
        Ok(flight.await?)
    }

    fn begin(&self, key: K, work: impl Future<Output = Result<T, LocalError>> + Send + 'static) -> Flight<T> {
        let landing = Landing { flights: Self(Arc::clone(&self.0)), key };
        let task = tokio::spawn(async move {
            // Also when the work panics.
            let _landing = landing;
            work.await.map_err(Arc::new)
        });
        async move { task.await.unwrap_or_else(|_| Err(Arc::new(LocalError::Lost))) }.boxed().shared()
    }
}

impl<K: Eq + Hash, T> Flights<K, T> {
    fn under_way(&self) -> MutexGuard<'_, HashMap<K, Flight<T>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes room for new work about the same thing when the present one has ended.
struct Landing<K: Eq + Hash, T> {
    flights: Flights<K, T>,
    key: K,
}

impl<K: Eq + Hash, T> Drop for Landing<K, T> {
    fn drop(&mut self) {
        self.flights.under_way().remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn what_several_want_is_done_once_and_then_anew() {
        let flights = Flights::<_, u32>::default();
        let (end, ended) = oneshot::channel();
        let first = flights.join("a", async move { Ok(ended.await.unwrap()) });
        let second = flights.join("a", async { panic!("it is under way") });
        let (first, second, ()) = tokio::join!(first, second, async { end.send(1).unwrap() });
        assert_eq!((first.unwrap(), second.unwrap()), (1, 1));
        assert_eq!(flights.join("a", async { Ok(2) }).await.unwrap(), 2);
    }

    #[tokio::test]
    async fn it_goes_on_when_nobody_waits_and_others_take_it_up() {
        let flights = Flights::<_, u32>::default();
        let (end, ended) = oneshot::channel();
        let mut first = Box::pin(flights.join("a", async move { Ok(ended.await.unwrap()) }));
        assert!(futures_util::poll!(&mut first).is_pending());
        drop(first);
        let second = flights.join("a", async { panic!("it is under way") });
        let (second, ()) = tokio::join!(second, async { end.send(1).unwrap() });
        assert_eq!(second.unwrap(), 1);
    }

    #[tokio::test]
    async fn work_that_panics_or_fails_is_told_to_all_and_leaves_nothing_behind() {
        let flights = Flights::<_, u32>::default();
        let lost = flights.join("a", async { panic!("on purpose") }).await;
        assert!(matches!(lost, Err(LocalError::Shared(error)) if matches!(*error, LocalError::Lost)));
        assert!(flights.join("a", async { Err(LocalError::NoCache) }).await.is_err());
        assert_eq!(flights.join("a", async { Ok(3) }).await.unwrap(), 3);
    }
}
