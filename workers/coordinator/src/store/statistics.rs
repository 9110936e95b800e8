//! Counts of what is there, for the gauges.

use super::rows::{self, JOBS, JobRow};
use super::{Store, StoreError};

/// What is there at one moment.
#[derive(Clone, Debug, Default)]
pub struct Statistics {
    /// Jobs by verb and state.
    pub jobs: Vec<(String, String, i64)>,
    /// Nodes by enrolment and by whether their agent is alive.
    pub nodes: Vec<(String, bool, i64)>,
    /// Seconds since the last word of each agent that was ever heard, sorted.
    pub heartbeat_ages: Vec<f64>,
    /// What each waiting job waits for, and for how many seconds it has.
    pub waits: Vec<(String, f64)>,
    /// Items in the outbox.
    pub outbox_depth: i64,
}

impl Store {
    /// Counts.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn statistics(&self) -> Result<Statistics, StoreError> {
        let now = rows::now();
        let jobs = sqlx::query_as("SELECT verb, state, count(*) FROM jobs GROUP BY verb, state")
            .fetch_all(&self.reader)
            .await?;
        let nodes = sqlx::query_as("SELECT enrolment, alive, count(*) FROM nodes GROUP BY enrolment, alive")
            .fetch_all(&self.reader)
            .await?;
        let seen: Vec<i64> = sqlx::query_scalar(
            "SELECT last_seen_at FROM nodes WHERE last_seen_at IS NOT NULL ORDER BY last_seen_at DESC",
        )
        .fetch_all(&self.reader)
        .await?;
        let query = format!(
            "{JOBS} WHERE jobs.state IN ('queued', 'dispatched', 'interrupted', 'cancelling', 'finishing')"
        );
        let waiting: Vec<JobRow> = sqlx::query_as(sqlx::AssertSqlSafe(query)).fetch_all(&self.reader).await?;
        let mut waits = Vec::with_capacity(waiting.len());
        for job in waiting {
            if let Some(wait) = job.wait(now)? {
                waits.push((wait.reason, seconds(now - job.state_since)));
            }
        }
        Ok(Statistics {
            jobs,
            nodes,
            heartbeat_ages: seen.into_iter().map(|at| seconds(now - at)).collect(),
            waits,
            outbox_depth: self.outbox_depth().await?,
        })
    }
}

#[expect(clippy::cast_precision_loss, reason = "an age of less than 285 years")]
fn seconds(micros: i64) -> f64 {
    micros.max(0) as f64 / 1e6
}
