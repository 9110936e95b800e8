//! Jobs, as the API and the queue ask for them.

use std::time::Duration;

use farrier::wire::api::{Enrolment, Job, JobState, Page};
use farrier::wire::{CommandRef, DEFAULT_TIMEOUT_SECONDS, ErrorCode, ErrorReport, JobId, JobRequest, Verb};
use sqlx::{QueryBuilder, Sqlite};

use super::nodes::{bad_after, page};
use super::rows::{AttemptRow, JOBS, JobRow, job_place, json, micros};
use super::transition::With;
use super::{Store, StoreError, Tx};
use crate::states::Trigger;

/// Which jobs to list.
#[derive(Clone, Debug, Default)]
pub struct JobFilter {
    /// Of this node, by UUID or name.
    pub node: Option<String>,
    /// Of this verb.
    pub verb: Option<Verb>,
    /// In this state.
    pub state: Option<JobState>,
    /// How many at most.
    pub limit: u32,
    /// The `next` of the page before.
    pub after: Option<String>,
}

/// Jobs of a store.
#[derive(Clone, Copy, Debug)]
pub struct Jobs<'a> {
    pub(super) store: &'a Store,
}

impl Jobs<'_> {
    /// Takes a job in, and says whether it is a new one: a job that comes again with the same identifier or idempotency key is
    /// the same job.
    ///
    /// # Errors
    /// There is no such node, it is not enrolled, or the identifier or key is that of another job.
    pub async fn submit(&self, request: JobRequest, submitted_by: &str) -> Result<(Job, bool), StoreError> {
        let mut tx = self.store.begin().await?;
        let job_id = request.job.unwrap_or_default();
        if let Some(job) = tx.same_job(&request).await? {
            // Nothing was written.
            drop(tx);
            return Ok((self.get(job).await?, false));
        }
        let node = tx.require_node(&request.node).await?;
        if node.enrolment()? != Enrolment::Enrolled {
            return Err(StoreError::NotEnrolled { node: request.node });
        }
        let timeout = Duration::from_secs(request.timeout_seconds.unwrap_or(DEFAULT_TIMEOUT_SECONDS).into());
        let deadline = tx.now.saturating_add(micros(timeout));
        let job = job_id.to_string();
        let has_secrets = may_hold_secrets(request.work.verb());
        let whole = |column, text| {
            if has_secrets { tx.vault.seal_if_keyed(job_place(column, &job), text) } else { text }
        };
        sqlx::query(
            "INSERT INTO jobs (id, node_id, verb, request, work, shown, state, state_since, not_before, retry, idempotency_key, \
             submitted_by, created_at, deadline) VALUES (?1, ?2, ?3, ?4, ?5, ?6, 'queued', ?7, ?7, ?8, ?9, ?10, ?7, ?11)",
        )
        .bind(&job)
        .bind(&node.id)
        .bind(request.work.verb().as_str())
        .bind(whole("request", json(&request)))
        .bind(whole("work", json(&request.work)))
        .bind(json(&request.work.redacted()))
        .bind(tx.now)
        .bind(json(&request.retry.unwrap_or_default()))
        .bind(request.idempotency_key)
        .bind(submitted_by)
        .bind(deadline)
        .execute(&mut *tx.inner)
        .await?;
        let row = tx.require_job(job_id).await?;
        tx.tell_job(&row, JobState::Queued, 0, None).await?;
        tx.after.schedule = true;
        tx.commit().await?;
        Ok((self.get(job_id).await?, true))
    }

    /// Lists jobs, newest first, without their attempts.
    ///
    /// # Errors
    /// There is no such node, `after` is not the `next` of a page, or the store cannot be read.
    pub async fn list(&self, filter: JobFilter) -> Result<Page<Job>, StoreError> {
        let mut query = QueryBuilder::<Sqlite>::new(JOBS);
        query.push(" WHERE TRUE");
        if let Some(node) = filter.node {
            let node = self.store.nodes().get(&node).await?;
            query.push(" AND jobs.node_id = ").push_bind(node.id.to_string());
        }
        if let Some(verb) = filter.verb {
            query.push(" AND jobs.verb = ").push_bind(verb.as_str());
        }
        if let Some(state) = filter.state {
            query.push(" AND jobs.state = ").push_bind(state.as_str());
        }
        if let Some(after) = filter.after {
            query.push(" AND jobs.number < ").push_bind(after.parse::<i64>().map_err(|_| bad_after())?);
        }
        query.push(" ORDER BY jobs.number DESC LIMIT ").push_bind(i64::from(filter.limit) + 1);
        let rows: Vec<JobRow> = query.build_query_as().fetch_all(&self.store.reader).await?;
        page(rows, filter.limit, |row| row.number.to_string(), |row| row.into_job(Vec::new()))
    }

    /// One job with its attempts.
    ///
    /// # Errors
    /// There is none.
    pub async fn get(&self, job: JobId) -> Result<Job, StoreError> {
        let query = format!("{JOBS} WHERE jobs.id = ?");
        let row: Option<JobRow> = sqlx::query_as(sqlx::AssertSqlSafe(query))
            .bind(job.to_string())
            .fetch_optional(&self.store.reader)
            .await?;
        let row = row.ok_or_else(|| StoreError::UnknownJob { job: job.to_string() })?;
        let attempts: Vec<AttemptRow> =
            sqlx::query_as("SELECT * FROM attempts WHERE job_id = ? ORDER BY number")
                .bind(job.to_string())
                .fetch_all(&self.store.reader)
                .await?;
        row.into_job(attempts.into_iter().map(AttemptRow::into_attempt).collect::<Result<_, _>>()?)
    }

    /// Cancels a job: at once when it is queued, else its agent is told to stop.
    ///
    /// # Errors
    /// There is none, or it has ended.
    pub async fn cancel(&self, job: JobId, reason: Option<String>) -> Result<Job, StoreError> {
        let mut tx = self.store.begin().await?;
        let row = tx.require_job(job).await?;
        let state = row.state()?;
        if state.is_final() {
            return Err(StoreError::Conflict {
                reason: format!("job {job} has ended already: it is {state}"),
            });
        }
        let message = reason
            .map_or_else(|| "cancelled on request".to_owned(), |why| format!("cancelled on request: {why}"));
        if state != JobState::Cancelling {
            let error = ErrorReport::new(ErrorCode::Cancelled, message);
            tx.stop(&row, Trigger::CancelRequested, error).await?;
        }
        tx.commit().await?;
        self.get(job).await
    }
}

/// Whether the spec of a verb has fields for secrets. Others are never sealed, and need no key.
fn may_hold_secrets(verb: Verb) -> bool {
    verb == Verb::Deploy
}

impl Tx {
    pub(super) async fn require_job(&mut self, job: JobId) -> Result<JobRow, StoreError> {
        self.job(&job.to_string()).await?.ok_or_else(|| StoreError::UnknownJob { job: job.to_string() })
    }

    /// The newest attempt of a job.
    pub(super) async fn attempt(&mut self, job: &JobRow) -> Result<Option<AttemptRow>, StoreError> {
        Ok(sqlx::query_as("SELECT * FROM attempts WHERE job_id = ? AND number = ?")
            .bind(job.id()?.to_string())
            .bind(job.attempt)
            .fetch_optional(&mut *self.inner)
            .await?)
    }

    /// Has a job stopped: its agent is told to, where one may be carrying it out.
    pub(super) async fn stop(
        &mut self,
        job: &JobRow,
        trigger: Trigger,
        error: ErrorReport,
    ) -> Result<(), StoreError> {
        let reason = error.message.clone();
        let moved = self.trigger(job, trigger, With { error: Some(error), ..With::default() }).await?;
        if moved
            && let Some(attempt) = self.attempt(job).await?
            && attempt.finished_at.is_none()
        {
            let reference = CommandRef { job: job.id()?, command: attempt.command()?, attempt: job.attempt };
            self.send_cancel(job, reference, &reason).await?;
        }
        self.after.schedule = true;
        Ok(())
    }

    /// The job that a request submits again.
    async fn same_job(&mut self, request: &JobRequest) -> Result<Option<JobId>, StoreError> {
        let query = format!("{JOBS} WHERE jobs.id = ?1 OR jobs.idempotency_key = ?2");
        let found: Vec<JobRow> = sqlx::query_as(sqlx::AssertSqlSafe(query))
            .bind(request.job.map(|job| job.to_string()))
            .bind(&request.idempotency_key)
            .fetch_all(&mut *self.inner)
            .await?;
        let Some(row) = found.first() else { return Ok(None) };
        if found.len() == 1 && *row.request(&self.vault)? == json(request) {
            return Ok(Some(row.id()?));
        }
        Err(StoreError::Conflict {
            reason: format!(
                "job {} has the same identifier or idempotency key and asks for something else; use another one",
                row.id()?
            ),
        })
    }
}
