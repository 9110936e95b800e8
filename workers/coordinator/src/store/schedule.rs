//! What time alone brings about: commands that are sent, leases that end, waits that are over.

use std::time::Duration;

use farrier::broker::Outgoing;
use farrier::wire::api::{JobState, NodeProperties};
use farrier::wire::{
    Afterwards, CommandId, CommandRef, ErrorCode, ErrorReport, Event, ImageSource, RunCommand, Work,
};

use super::errands::Restart;
use super::outbox::Item;
use super::rows::{JOBS, JobRow, from_json, id, micros, time};
use super::transition::{SOURCE, With};
use super::{Store, StoreError, Tx};
use crate::states::Trigger;

/// The bounds on what a job waits for.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// How long a command lives after the last heartbeat that named it, and an agent after its last word.
    pub lease: Duration,
    /// How long a command may wait to be accepted.
    pub accept: Duration,
}

/// How long an interrupted job waits for its agent to come back.
const INTERRUPTED: Duration = Duration::from_secs(600);
/// How many leases a job that is being cancelled waits for its agent's word.
const CANCELLING_LEASES: u32 = 2;
/// How many commands are sent in one transaction.
const BATCH: u32 = 200;

/// The condition on a job and its node that nothing but the agent keeps it from being sent; `?1` is now.
///
/// Jobs of a node are carried out in the order in which they were submitted: one that waits for its next attempt holds back those
/// behind it. Else a clean that is tried again would erase what the deploy behind it had written meanwhile.
pub(super) const FIRST_IN_LINE: &str = "jobs.state = 'queued' AND jobs.not_before <= ?1 AND jobs.deadline > ?1 \
     AND nodes.enrolment = 'enrolled' AND NOT EXISTS (SELECT 1 FROM jobs AS other WHERE other.node_id = nodes.id \
     AND other.state IN ('dispatched', 'running', 'interrupted', 'cancelling', 'finishing')) \
     AND NOT EXISTS (SELECT 1 FROM jobs AS earlier WHERE earlier.node_id = nodes.id AND earlier.state = 'queued' \
     AND earlier.number < jobs.number)";
/// The condition on its node that its agent takes commands.
pub(super) const AGENT_READY: &str =
    "nodes.alive AND nodes.boot_id IS NOT NULL AND nodes.agent_state NOT IN ('busy', 'draining')";

impl Store {
    /// Sends every command that can be sent now, and says how many. Those of deploys are made elsewhere: they need URLs.
    ///
    /// # Errors
    /// The store cannot be written.
    pub async fn dispatch(&self, bounds: &Bounds) -> Result<usize, StoreError> {
        let mut tx = self.begin().await?;
        let query = format!(
            "SELECT jobs.id, nodes.boot_id, nodes.properties FROM jobs JOIN nodes ON nodes.id = jobs.node_id \
             WHERE {FIRST_IN_LINE} AND {AGENT_READY} AND jobs.verb <> 'deploy' LIMIT ?2"
        );
        let ready: Vec<(String, String, String)> = sqlx::query_as(sqlx::AssertSqlSafe(query))
            .bind(tx.now)
            .bind(BATCH)
            .fetch_all(&mut *tx.inner)
            .await?;
        for (job, boot, properties) in &ready {
            tx.dispatch(job, boot, from_json(properties)?, bounds).await?;
        }
        tx.commit().await?;
        Ok(ready.len())
    }

    /// Ends every wait whose time is over.
    ///
    /// # Errors
    /// The store cannot be written.
    pub async fn expire(&self, bounds: &Bounds) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        tx.agents_gone(bounds).await?;
        tx.leases_lost(bounds).await?;
        tx.deadlines_passed(bounds).await?;
        tx.waits_over(bounds).await?;
        tx.commit().await
    }

    /// Ends what is past its deadline, and nothing else: for a coordinator that hears nobody.
    ///
    /// # Errors
    /// The store cannot be written.
    pub async fn expire_deadlines(&self, bounds: &Bounds) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        tx.deadlines_passed(bounds).await?;
        tx.commit().await
    }

    /// Gives every running command a new lease, every agent the time of one to speak, and every agent that an interrupted job
    /// waits for its whole time again: for a coordinator that was away, and could not hear them.
    ///
    /// # Errors
    /// The store cannot be written.
    pub async fn renew_all(&self, bounds: &Bounds) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        let until = tx.now.saturating_add(micros(bounds.lease));
        sqlx::query("UPDATE jobs SET lease_until = max(coalesce(lease_until, 0), ?) WHERE state = 'running'")
            .bind(until)
            .execute(&mut *tx.inner)
            .await?;
        sqlx::query("UPDATE jobs SET wait_until = min(?, deadline) WHERE state = 'interrupted'")
            .bind(tx.now.saturating_add(micros(INTERRUPTED)))
            .execute(&mut *tx.inner)
            .await?;
        sqlx::query("UPDATE nodes SET last_seen_at = ?1, alive_since = ?1 WHERE alive")
            .bind(tx.now)
            .execute(&mut *tx.inner)
            .await?;
        tx.commit().await
    }
}

impl Tx {
    async fn dispatch(
        &mut self,
        job: &str,
        boot: &str,
        properties: NodeProperties,
        bounds: &Bounds,
    ) -> Result<(), StoreError> {
        let Some(row) = self.job(job).await? else { return Ok(()) };
        match without_image(with_properties(row.work(&self.vault)?, properties)) {
            Some(work) => self.send_run(&row, boot, work, None, bounds).await,
            None => Ok(()),
        }
    }

    /// Writes the command of a new attempt to the outbox.
    pub(super) async fn send_run(
        &mut self,
        job: &JobRow,
        boot: &str,
        work: Work,
        restart: Option<Restart>,
        bounds: &Bounds,
    ) -> Result<(), StoreError> {
        let expires_at = self.now.saturating_add(micros(bounds.accept));
        let reference =
            CommandRef { job: job.id()?, command: CommandId::new(), attempt: job.attempt.saturating_add(1) };
        let command = RunCommand {
            reference,
            node: job.node()?,
            boot_id: id(boot)?,
            expires_at: time(expires_at),
            work,
            afterwards: restart.map_or(Afterwards::Stay, Restart::afterwards),
        };
        sqlx::query("UPDATE jobs SET attempt = ?2, lease_until = NULL, restart = ?3 WHERE number = ?1")
            .bind(job.number)
            .bind(reference.attempt)
            .bind(restart.map(Restart::as_str))
            .execute(&mut *self.inner)
            .await?;
        sqlx::query(
            "INSERT INTO attempts (job_id, number, command_id, boot_id, state, dispatched_at) VALUES (?, ?, ?, ?, 'dispatched', ?)",
        )
        .bind(reference.job.to_string())
        .bind(reference.attempt)
        .bind(reference.command.to_string())
        .bind(boot)
        .bind(self.now)
        .execute(&mut *self.inner)
        .await?;
        // The agent has its own clock; the broker drops what nobody took by its own, a little later.
        let event = Event::new(SOURCE, reference.job.to_string(), command);
        let message =
            Outgoing::command(&event, event.data.node).about(reference.command).expiring(bounds.accept * 2);
        self.send(&Item::Publish(Box::new(message))).await?;
        self.trigger(job, Trigger::Dispatch, With { wait_until: Some(expires_at), ..With::default() })
            .await?;
        Ok(())
    }

    /// Agents that were not heard for a lease are taken for gone.
    async fn agents_gone(&mut self, bounds: &Bounds) -> Result<(), StoreError> {
        let gone: Vec<String> = sqlx::query_scalar(
            "UPDATE nodes SET alive = FALSE WHERE alive AND last_seen_at < ? RETURNING id",
        )
        .bind(self.now.saturating_sub(micros(bounds.lease)))
        .fetch_all(&mut *self.inner)
        .await?;
        for node in gone {
            self.tell_node(id(&node)?, "agent_down");
        }
        Ok(())
    }

    async fn leases_lost(&mut self, bounds: &Bounds) -> Result<(), StoreError> {
        for job in self.jobs_where("jobs.state = 'running' AND jobs.lease_until < ?").await? {
            let seconds = bounds.lease.as_secs();
            let message = format!("no heartbeat has named attempt {} for {seconds} s", job.attempt);
            let with = With {
                error: Some(ErrorReport::new(ErrorCode::Interrupted, message)),
                wait_until: Some(self.now.saturating_add(micros(INTERRUPTED)).min(job.deadline)),
                ..With::default()
            };
            self.trigger(&job, Trigger::LeaseLost, with).await?;
        }
        Ok(())
    }

    async fn deadlines_passed(&mut self, bounds: &Bounds) -> Result<(), StoreError> {
        let open = "jobs.state IN ('queued', 'dispatched', 'running', 'interrupted') AND jobs.deadline < ?";
        for job in self.jobs_where(open).await? {
            let message = format!("the job was to end before {}", time(job.deadline));
            let error = ErrorReport::new(ErrorCode::DeadlineExceeded, message);
            if job.state()? == JobState::Queued {
                self.trigger(&job, Trigger::Fail, With { error: Some(error), ..With::default() }).await?;
            } else {
                self.stop(&job, Trigger::DeadlinePassed, error).await?;
            }
        }
        // Whoever wanted a job to stop did not know the lease: the bound on that wait is set here.
        sqlx::query(
            "UPDATE jobs SET wait_until = state_since + ? WHERE state = 'cancelling' AND wait_until IS NULL",
        )
        .bind(micros(bounds.lease * CANCELLING_LEASES))
        .execute(&mut *self.inner)
        .await?;
        Ok(())
    }

    async fn waits_over(&mut self, bounds: &Bounds) -> Result<(), StoreError> {
        for job in
            self.jobs_where("jobs.state IN ('dispatched', 'cancelling') AND jobs.wait_until < ?").await?
        {
            let error = match job.state()? {
                JobState::Dispatched => {
                    let seconds = bounds.accept.as_secs();
                    ErrorReport::new(
                        ErrorCode::Expired,
                        format!("the agent did not accept attempt {} within {seconds} s", job.attempt),
                    )
                }
                _ => ErrorReport::new(
                    ErrorCode::Interrupted,
                    "cancelled; the agent did not say that it has stopped",
                ),
            };
            // The command may still be on its way.
            if let Some(attempt) = self.attempt(&job).await? {
                let reference =
                    CommandRef { job: job.id()?, command: attempt.command()?, attempt: job.attempt };
                self.send_cancel(&job, reference, &error.message).await?;
            }
            self.lose(&job, error).await?;
        }
        // An agent that is there, is the same boot, and has not named the command for a lease has lost it. That time begins anew
        // when it comes back from a silence: its result may be right behind its first word. One that is away has until the bound.
        let lost = "jobs.state = 'interrupted' AND (jobs.wait_until < ?1 \
                    OR (nodes.alive AND max(jobs.state_since, nodes.alive_since) < ?1 - ?2))";
        let query = format!("{JOBS} WHERE {lost}");
        let jobs: Vec<JobRow> = sqlx::query_as(sqlx::AssertSqlSafe(query))
            .bind(self.now)
            .bind(micros(bounds.lease))
            .fetch_all(&mut *self.inner)
            .await?;
        for job in jobs {
            let message = format!("attempt {} was given up: its agent did not come back to it", job.attempt);
            self.lose(&job, ErrorReport::new(ErrorCode::Interrupted, message)).await?;
        }
        Ok(())
    }

    /// Jobs that a condition on the present time holds for.
    async fn jobs_where(&mut self, condition: &'static str) -> Result<Vec<JobRow>, StoreError> {
        let query = format!("{JOBS} WHERE {condition}");
        Ok(sqlx::query_as(sqlx::AssertSqlSafe(query)).bind(self.now).fetch_all(&mut *self.inner).await?)
    }
}

/// What the operator said about the machine goes into the command: an agent decides by nothing that it remembers.
pub(super) fn with_properties(work: Work<ImageSource>, properties: NodeProperties) -> Work<ImageSource> {
    match work {
        Work::Deploy(mut spec) => {
            spec.root_device = spec.root_device.or(properties.root_device);
            spec.skip_block_devices.extend(properties.skip_block_devices);
            Work::Deploy(spec)
        }
        Work::Clean(mut spec) => {
            spec.skip_block_devices.extend(properties.skip_block_devices);
            Work::Clean(spec)
        }
        work @ (Work::Inspect(_) | Work::Noop(_)) => work,
    }
}

/// Work that needs no URL.
fn without_image(work: Work<ImageSource>) -> Option<Work> {
    match work {
        Work::Inspect(spec) => Some(Work::Inspect(spec)),
        Work::Clean(spec) => Some(Work::Clean(spec)),
        Work::Noop(spec) => Some(Work::Noop(spec)),
        Work::Deploy(_) => None,
    }
}
