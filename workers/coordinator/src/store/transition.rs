//! The one way by which a job changes its state.

use farrier::broker::Outgoing;
use farrier::telemetry::names;
use farrier::wire::api::{JobState, StreamEvent};
use farrier::wire::report::Output;
use farrier::wire::{CancelCommand, CommandRef, ErrorCode, ErrorReport, Event, JobChanged, Verb};

use super::errands::Phase;
use super::outbox::Item;
use super::rows::{JOBS, JobRow, json};
use super::{StoreError, Tx};
use crate::states::{Trigger, next};

/// Who the coordinator is, in CloudEvents.
pub(super) const SOURCE: &str = "/coordinator";

/// The longest wait between two attempts, in seconds.
const LONGEST_BACKOFF_SECONDS: u64 = 3600;

/// What else changes with the state.
#[derive(Debug, Default)]
pub(super) struct With {
    /// What went wrong.
    pub(super) error: Option<ErrorReport>,
    /// What came out.
    pub(super) output: Option<Output>,
    /// When the new state ends by itself.
    pub(super) wait_until: Option<i64>,
    /// When the next attempt may begin.
    pub(super) not_before: Option<i64>,
    /// What the job is at in the new state.
    pub(super) phase: Option<Phase>,
}

/// A job that reached a state, for the metrics.
#[derive(Clone, Copy, Debug)]
pub(super) struct Count {
    verb: Verb,
    state: JobState,
    waited_micros: Option<i64>,
}

impl Count {
    pub(super) fn record(self) {
        metrics::counter!(names::JOBS_TOTAL, "verb" => self.verb.as_str(), "state" => self.state.as_str())
            .increment(1);
        if let Some(waited) = self.waited_micros {
            let waited = std::time::Duration::from_micros(u64::try_from(waited).unwrap_or(0));
            metrics::histogram!(names::DISPATCH_SECONDS, "verb" => self.verb.as_str()).record(waited);
        }
    }
}

impl Tx {
    pub(super) async fn job(&mut self, job: &str) -> Result<Option<JobRow>, StoreError> {
        let query = format!("{JOBS} WHERE jobs.id = ?");
        Ok(sqlx::query_as(sqlx::AssertSqlSafe(query)).bind(job).fetch_optional(&mut *self.inner).await?)
    }

    /// Moves a job on, with the message that follows from it; `false` when the trigger cannot happen in the state of the job,
    /// and then nothing is changed.
    pub(super) async fn trigger(
        &mut self,
        job: &JobRow,
        trigger: Trigger,
        with: With,
    ) -> Result<bool, StoreError> {
        let Some(state) = next(job.state()?, trigger) else { return Ok(false) };
        // What has succeeded has begun, even if the word that it had came late or never.
        let first_start = matches!(state, JobState::Running | JobState::Finishing | JobState::Succeeded)
            && job.started_at.is_none();
        let error = match (&with.error, state) {
            (Some(error), _) => Some(error.clone()),
            (None, JobState::Succeeded | JobState::Finishing) => None,
            (None, _) => job.error()?,
        };
        sqlx::query(
            "UPDATE jobs SET state = ?2, state_since = ?3, wait_until = ?4, not_before = coalesce(?5, not_before), \
             error = ?6, output = coalesce(?7, output), started_at = CASE WHEN ?8 THEN ?3 ELSE started_at END, \
             finished_at = CASE WHEN ?9 THEN ?3 ELSE NULL END, phase = ?10, phase_since = CASE WHEN ?10 IS NULL THEN NULL ELSE ?3 END, \
             url_refused = NULL, \
             progress = CASE WHEN ?2 IN ('running', 'interrupted', 'cancelling') THEN progress ELSE NULL END \
             WHERE number = ?1",
        )
        .bind(job.number)
        .bind(state.as_str())
        .bind(self.now)
        .bind(with.wait_until)
        .bind(with.not_before)
        .bind(error.as_ref().map(json))
        .bind(with.output.as_ref().map(json))
        .bind(first_start)
        .bind(state.is_final())
        .bind(with.phase.map(Phase::as_str))
        .execute(&mut *self.inner)
        .await?;
        let waited_micros = first_start.then_some(self.now - job.created_at);
        self.after.counts.push(Count { verb: job.verb()?, state, waited_micros });
        self.after.schedule |= matches!(state, JobState::Queued | JobState::Finishing) || state.is_final();
        self.tell_job(job, state, job.attempt + u32::from(trigger == Trigger::Dispatch), error).await?;
        Ok(true)
    }

    /// Tells automation, through the outbox, and who watches that a job is in a state now.
    pub(super) async fn tell_job(
        &mut self,
        job: &JobRow,
        state: JobState,
        attempt: u32,
        error: Option<ErrorReport>,
    ) -> Result<(), StoreError> {
        let id = job.id()?;
        let changed = JobChanged { job: id, node: job.node()?, verb: job.verb()?, state, attempt, error };
        let event = Event::new(SOURCE, id.to_string(), changed);
        let message = Outgoing::job_changed(&event, &job.node_site, &job.node_rack);
        self.send(&Item::Publish(Box::new(message))).await?;
        self.after.events.push(StreamEvent::Job(event.data));
        Ok(())
    }

    /// Gives an attempt up that failed or was lost: the job is tried again where its policy and the error allow that.
    pub(super) async fn attempt_over(
        &mut self,
        job: &JobRow,
        error: ErrorReport,
        output: Option<Output>,
    ) -> Result<bool, StoreError> {
        let retry = job.retry()?;
        let tries = job.attempt.saturating_add(job.failed_preparations);
        let backoff = self.now.saturating_add(backoff_micros(retry.backoff_seconds, tries));
        let trigger = match job.state()? {
            JobState::Cancelling => match job.error()? {
                // It was the deadline that wanted it to stop, and the deadline is why it failed.
                Some(why) if why.code == ErrorCode::DeadlineExceeded => {
                    return self.trigger(job, Trigger::Fail, With { output, ..With::default() }).await;
                }
                _ if has_stopped(error.code) => Trigger::Stopped,
                _ => Trigger::Fail,
            },
            _ if error.code.retryable() && tries < retry.max_attempts && backoff < job.deadline => {
                Trigger::Retry
            }
            _ => Trigger::Fail,
        };
        let not_before = (trigger == Trigger::Retry).then_some(backoff);
        self.trigger(job, trigger, With { error: Some(error), output, not_before, ..With::default() }).await
    }

    /// Has the agent told to stop a command.
    pub(super) async fn send_cancel(
        &mut self,
        job: &JobRow,
        reference: CommandRef,
        reason: &str,
    ) -> Result<(), StoreError> {
        let node = job.node()?;
        let cancel = CancelCommand { reference, node, reason: reason.to_owned() };
        let event = Event::new(SOURCE, reference.job.to_string(), cancel);
        let message = Outgoing::command(&event, node).about(reference.command);
        self.send(&Item::Publish(Box::new(message))).await
    }
}

/// Whether an attempt that ended with this code was stopped or never begun, and did not fail by itself.
fn has_stopped(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::Cancelled
            | ErrorCode::Interrupted
            | ErrorCode::Expired
            | ErrorCode::StaleBoot
            | ErrorCode::StaleAttempt
            | ErrorCode::Busy
            | ErrorCode::Draining
    )
}

fn backoff_micros(seconds: u32, attempt: u32) -> i64 {
    let doubled = u64::from(seconds).saturating_mul(2_u64.saturating_pow(attempt.saturating_sub(1)));
    i64::try_from(doubled.min(LONGEST_BACKOFF_SECONDS) * 1_000_000).unwrap_or(i64::MAX / 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_backoff_doubles_up_to_an_hour() {
        let seconds = |attempt| backoff_micros(5, attempt) / 1_000_000;
        assert_eq!([seconds(1), seconds(2), seconds(3), seconds(60)], [5, 10, 20, 3600]);
    }
}
