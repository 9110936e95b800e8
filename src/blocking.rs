//! Blocking work away from the async threads: disks do not answer in bounded time.

use tokio::task::{JoinHandle, spawn_blocking};

/// Runs blocking work on a thread of its own and waits for it.
///
/// # Panics
/// When the work panics: the panic goes on in the caller.
pub async fn run<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    join(spawn_blocking(work)).await
}

/// Waits for work that was started by [`spawn_blocking`], which is never aborted.
///
/// # Panics
/// When the work panics: the panic goes on in the caller.
pub(crate) async fn join<T>(work: JoinHandle<T>) -> T {
    match work.await {
        Ok(result) => result,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}
