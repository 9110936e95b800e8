//! What is done for jobs outside of the store: images are looked for, machines powered on and restarted. Everything here is read
//! and written in short transactions; whoever does an errand may die at any moment, and another one begins it again.

use std::collections::HashSet;
use std::time::Duration;

use chrono::{DateTime, Utc};
use farrier::broker::Outgoing;
use farrier::wire::{
    CommandRef, ErrorReport, Event, FreshImageUrls, ImageSource, ImageUrlCommand, JobId, NodeId, Work,
};
use serde_json::{Map, Value};

pub use super::phase::{Phase, Restart};

use super::outbox::Item;
use super::rows::{JOBS, JobRow, NODES, NodeRow, from_json, id, micros, word};
use super::schedule::{AGENT_READY, FIRST_IN_LINE, with_properties};
use super::transition::{SOURCE, With};
use super::{Bounds, Store, StoreError, Tx, driver_secrets};
use crate::states::Trigger;

/// Something to do for a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Errand {
    /// The job.
    pub job: JobId,
    /// Its node.
    pub node: NodeId,
    /// What to do.
    pub kind: ErrandKind,
}

/// What is done outside of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrandKind {
    /// The node of a queued job has no agent: its machine may be off.
    PowerOn,
    /// The command of a queued deploy needs URLs.
    Prepare,
    /// The URL of an image was refused to a running command, which waits for another one.
    Refresh,
    /// What was deployed is to be started.
    Restart,
}

/// What an errand must know of its job and node. Printed without what may hold secrets.
#[derive(Clone)]
pub struct Circumstances {
    /// The node.
    pub node: NodeId,
    /// Where it stands.
    pub site: String,
    /// Where it stands.
    pub rack: String,
    /// What is known about reaching and treating it.
    pub driver_info: Map<String, Value>,
    /// Whether its agent was heard lately.
    pub alive: bool,
    /// The boot of its agent.
    pub boot_id: Option<String>,
    /// Whether its agent can power the machine off and restart it.
    pub can_power: bool,
    /// When somebody last changed what is known about the node.
    pub node_updated_at: DateTime<Utc>,
    /// What the job asks for, with what the operator said about the machine.
    pub work: Work<ImageSource>,
    /// What the job is at.
    pub phase: Option<Phase>,
    /// How the machine is restarted.
    pub restart: Option<Restart>,
    /// The boot that the newest attempt was sent to.
    pub attempt_boot: Option<String>,
    /// When the URL that the newest attempt has runs out, where it does.
    pub url_expires_at: Option<DateTime<Utc>>,
}

impl std::fmt::Debug for Circumstances {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Circumstances")
            .field("node", &self.node)
            .field("phase", &self.phase)
            .field("work", &self.work)
            .finish_non_exhaustive()
    }
}

/// A command that was prepared.
#[derive(Clone, Debug)]
pub struct Prepared {
    /// What the agent shall do.
    pub work: Work,
    /// How its machine is restarted after it.
    pub restart: Option<Restart>,
    /// When the URL of its image runs out, where it does.
    pub url_expires_at: Option<DateTime<Utc>>,
}

impl Store {
    /// Everything that is to be done now.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn errands(&self) -> Result<HashSet<Errand>, StoreError> {
        let mut errands = HashSet::new();
        for (kind, condition) in [
            (ErrandKind::Prepare, format!("{FIRST_IN_LINE} AND {AGENT_READY} AND jobs.verb = 'deploy'")),
            (ErrandKind::PowerOn, format!("{FIRST_IN_LINE} AND NOT nodes.alive")),
            (ErrandKind::Refresh, "jobs.state = 'running' AND jobs.url_refused IS NOT NULL".to_owned()),
            (ErrandKind::Restart, "jobs.state = 'finishing'".to_owned()),
        ] {
            let query = format!(
                "SELECT jobs.id, nodes.id FROM jobs JOIN nodes ON nodes.id = jobs.node_id WHERE {condition}"
            );
            let rows: Vec<(String, String)> = sqlx::query_as(sqlx::AssertSqlSafe(query))
                .bind(super::rows::now())
                .fetch_all(&self.reader)
                .await?;
            for (job, node) in rows {
                errands.insert(Errand { job: id(&job)?, node: id(&node)?, kind });
            }
        }
        Ok(errands)
    }

    /// What an errand must know; `None` when the job is gone or no longer needs it.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn circumstances(&self, errand: Errand) -> Result<Option<Circumstances>, StoreError> {
        let Some(job) = self.job_row(errand.job).await? else { return Ok(None) };
        if !job.awaits(errand.kind)? {
            return Ok(None);
        }
        let query = format!("{NODES} WHERE nodes.id = ?");
        let node: Option<NodeRow> = sqlx::query_as(sqlx::AssertSqlSafe(query))
            .bind(errand.node.to_string())
            .fetch_optional(&self.reader)
            .await?;
        let Some(node) = node else { return Ok(None) };
        let attempt_boot = sqlx::query_scalar("SELECT boot_id FROM attempts WHERE job_id = ? AND number = ?")
            .bind(errand.job.to_string())
            .bind(job.attempt)
            .fetch_optional(&self.reader)
            .await?;
        Ok(Some(Circumstances {
            node: errand.node,
            driver_info: driver_secrets::open(&self.vault, &node.id, node.driver_info()?)?,
            alive: node.alive,
            can_power: node.can_power,
            node_updated_at: super::rows::time(node.updated_at),
            work: with_properties(job.work(&self.vault)?, from_json(&node.properties)?),
            phase: job.phase.as_deref().map(word).transpose()?,
            restart: job.restart.as_deref().map(word).transpose()?,
            url_expires_at: job.url_expires_at.map(super::rows::time),
            site: node.site,
            rack: node.rack,
            boot_id: node.boot_id,
            attempt_boot,
        }))
    }

    /// Whether a job still needs an errand.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn awaits(&self, errand: Errand) -> Result<bool, StoreError> {
        self.job_row(errand.job).await?.map_or(Ok(false), |job| job.awaits(errand.kind))
    }

    /// Notes what a job is at, and until when at the latest. Nothing happens when it no longer needs the errand.
    ///
    /// # Errors
    /// The store cannot be written.
    pub async fn enter_phase(
        &self,
        errand: Errand,
        phase: Option<Phase>,
        within: Option<Duration>,
    ) -> Result<bool, StoreError> {
        let mut tx = self.begin().await?;
        let Some(job) = tx.awaiting(errand).await? else { return Ok(false) };
        sqlx::query("UPDATE jobs SET phase = ?2, phase_since = ?3, wait_until = ?4 WHERE number = ?1")
            .bind(job.number)
            .bind(phase.map(Phase::as_str))
            .bind(phase.map(|_| tx.now))
            .bind(within.map(|within| tx.now.saturating_add(micros(within))))
            .execute(&mut *tx.inner)
            .await?;
        tx.commit().await?;
        Ok(true)
    }

    /// Sends the command of a job that was prepared, unless it can no longer be sent, or the node is not as it was when that began:
    /// preparing takes time, and a disk may have been put on the skip list meanwhile.
    ///
    /// # Errors
    /// The store cannot be written.
    pub async fn dispatch_prepared(
        &self,
        errand: Errand,
        seen: &Circumstances,
        prepared: Prepared,
        bounds: &Bounds,
    ) -> Result<bool, StoreError> {
        let mut tx = self.begin().await?;
        let query = format!(
            "SELECT nodes.boot_id FROM jobs JOIN nodes ON nodes.id = jobs.node_id \
             WHERE {FIRST_IN_LINE} AND {AGENT_READY} AND jobs.id = ?2 AND nodes.updated_at = ?3 AND nodes.boot_id = ?4 \
             AND nodes.can_power = ?5"
        );
        let boot: Option<String> = sqlx::query_scalar(sqlx::AssertSqlSafe(query))
            .bind(tx.now)
            .bind(errand.job.to_string())
            .bind(seen.node_updated_at.timestamp_micros())
            .bind(&seen.boot_id)
            .bind(seen.can_power)
            .fetch_optional(&mut *tx.inner)
            .await?;
        let (Some(boot), Some(job)) = (boot, tx.awaiting(errand).await?) else { return Ok(false) };
        tx.send_run(&job, &boot, prepared.work, prepared.restart, bounds).await?;
        tx.note_url_end(&job, prepared.url_expires_at).await?;
        tx.commit().await?;
        Ok(true)
    }

    /// Notes that the command of a job could not be made, or its machine not powered on: it is tried again where its policy and the
    /// error allow that.
    ///
    /// # Errors
    /// The store cannot be written.
    pub async fn preparation_failed(&self, errand: Errand, error: ErrorReport) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        let Some(mut job) = tx.awaiting(errand).await? else { return Ok(()) };
        sqlx::query("UPDATE jobs SET failed_preparations = failed_preparations + 1 WHERE number = ?")
            .bind(job.number)
            .execute(&mut *tx.inner)
            .await?;
        job.failed_preparations = job.failed_preparations.saturating_add(1);
        tx.attempt_over(&job, error, None).await?;
        tx.commit().await
    }

    /// Sends the agent of a running job other URLs of its image, and notes when they run out; or why there are none.
    ///
    /// # Errors
    /// The store cannot be written.
    pub async fn send_urls(
        &self,
        errand: Errand,
        answer: FreshImageUrls,
        url_expires_at: Option<DateTime<Utc>>,
    ) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        let Some(job) = tx.awaiting(errand).await? else { return Ok(()) };
        sqlx::query("UPDATE jobs SET url_refused = NULL WHERE number = ?")
            .bind(job.number)
            .execute(&mut *tx.inner)
            .await?;
        tx.note_url_end(&job, url_expires_at).await?;
        if let Some(attempt) = tx.attempt(&job).await? {
            let reference = CommandRef { job: errand.job, command: attempt.command()?, attempt: job.attempt };
            let command = ImageUrlCommand { reference, node: errand.node, answer };
            let event = Event::new(SOURCE, errand.job.to_string(), command);
            let message = Outgoing::command(&event, errand.node).about(reference.command);
            tx.send(&Item::Publish(Box::new(message))).await?;
        }
        tx.commit().await
    }

    /// Notes that the machine was restarted, or why it could not be: the job has ended.
    ///
    /// # Errors
    /// The store cannot be written.
    pub async fn restarted(&self, errand: Errand, result: Result<(), ErrorReport>) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        let Some(job) = tx.awaiting(errand).await? else { return Ok(()) };
        match result {
            Ok(()) => {
                tx.agent_left(&job).await?;
                tx.trigger(&job, Trigger::Succeed, With::default()).await?
            }
            Err(error) => {
                tx.trigger(&job, Trigger::Fail, With { error: Some(error), ..With::default() }).await?
            }
        };
        tx.commit().await
    }

    async fn job_row(&self, job: JobId) -> Result<Option<JobRow>, StoreError> {
        let query = format!("{JOBS} WHERE jobs.id = ?");
        Ok(sqlx::query_as(sqlx::AssertSqlSafe(query))
            .bind(job.to_string())
            .fetch_optional(&self.reader)
            .await?)
    }
}

impl Tx {
    async fn note_url_end(&mut self, job: &JobRow, at: Option<DateTime<Utc>>) -> Result<(), StoreError> {
        sqlx::query("UPDATE jobs SET url_expires_at = ? WHERE number = ?")
            .bind(at.map(|at| at.timestamp_micros()))
            .bind(job.number)
            .execute(&mut *self.inner)
            .await?;
        Ok(())
    }

    /// The agent that has carried out the newest attempt of a job went with the restart of its machine. No command is sent to it for
    /// the rest of its lease.
    async fn agent_left(&mut self, job: &JobRow) -> Result<(), StoreError> {
        let Some(attempt) = self.attempt(job).await? else { return Ok(()) };
        let left = sqlx::query("UPDATE nodes SET alive = FALSE WHERE id = ? AND boot_id = ? AND alive")
            .bind(job.node()?.to_string())
            .bind(attempt.boot()?.to_string())
            .execute(&mut *self.inner)
            .await?;
        if left.rows_affected() > 0 {
            self.tell_node(job.node()?, "agent_down");
        }
        Ok(())
    }

    async fn awaiting(&mut self, errand: Errand) -> Result<Option<JobRow>, StoreError> {
        match self.job(&errand.job.to_string()).await? {
            Some(job) if job.awaits(errand.kind)? => Ok(Some(job)),
            _ => Ok(None),
        }
    }
}
