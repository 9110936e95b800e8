//! Waiting for a condition, with a bound. Nothing here or in a test takes a sleep for long enough.

use std::time::Duration;

use anyhow::{Context as _, anyhow};
use tokio::time::{Instant, sleep, timeout_at};

const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(25);

/// Asks `condition` until it has something, for no longer than `bound`.
///
/// A condition that fails is asked again, for what is waited for may be a server that is not up yet; what it said last becomes
/// the cause of the error.
///
/// # Errors
/// When it has nothing within `bound`: names `what`.
pub async fn wait_for<T>(
    what: &str,
    bound: Duration,
    mut condition: impl AsyncFnMut() -> anyhow::Result<Option<T>>,
) -> anyhow::Result<T> {
    let until = Instant::now() + bound;
    loop {
        let last = match timeout_at(until, condition()).await {
            Ok(Ok(Some(found))) => return Ok(found),
            Ok(Ok(None)) => None,
            Ok(Err(error)) => Some(error),
            Err(_) => Some(anyhow!("the condition did not answer")),
        };
        if Instant::now() >= until {
            let late = format!("{what}: not so within {bound:?}");
            return match last {
                Some(error) => Err(error.context(late)),
                None => Err(anyhow!(late)),
            };
        }
        sleep(LOOK_AGAIN_AFTER).await;
    }
}

/// Runs work that blocks away from the async threads.
///
/// # Errors
/// What the work says, or that it panicked.
pub async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> anyhow::Result<T> + Send + 'static,
) -> anyhow::Result<T> {
    tokio::task::spawn_blocking(work).await.context("blocking work has panicked")?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn ends_with_what_was_found() {
        let mut asked = 0;
        let found = wait_for("three", Duration::from_secs(5), async || {
            asked += 1;
            Ok((asked == 3).then_some(asked))
        });
        assert_eq!(found.await.unwrap(), 3);
    }

    #[tokio::test]
    async fn ends_at_the_bound_with_what_was_said_last() {
        let never = wait_for::<()>("the moon", Duration::from_millis(60), async || Err(anyhow!("too far")));
        assert_eq!(format!("{:#}", never.await.unwrap_err()), "the moon: not so within 60ms: too far");

        let silent =
            wait_for::<()>("an answer", Duration::from_millis(60), async || std::future::pending().await);
        assert!(format!("{:#}", silent.await.unwrap_err()).contains("did not answer"));
    }
}
