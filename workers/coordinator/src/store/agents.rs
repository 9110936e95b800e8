//! What agents say, and what follows from it. Messages come twice, late and in any order: each is held against the attempt and
//! the boot that the store knows, and what does not fit is ignored.

use std::collections::VecDeque;
use std::time::Duration;

use farrier::telemetry::names;
use farrier::wire::api::{Enrolment, JobState, StreamEvent};
use farrier::wire::report::{Output, STEP_NAMES, StepOutcome};
use farrier::wire::{
    Accepted, AgentEvent, AgentState, BootId, CommandRef, CommandResult, ErrorCode, ErrorReport, Heartbeat,
    Hello, ImageUrlWanted, Log, NodeId, Origin, Outcome, Progress, Running, Verb,
};

use super::errands::Restart;
use super::outbox::Item;
use super::rows::{AttemptRow, JOBS, JobRow, NodeRow, from_json, json, micros, word};
use super::transition::With;
use super::{Store, StoreError, Tx};
use crate::states::Trigger;

/// How many earlier boots of a node are remembered. Its messages are older than the lease by the time that so many have passed.
const PAST_BOOTS: usize = 16;

/// How agents are treated.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// Whether the node of an unknown agent is enrolled at its first word.
    pub auto_enroll: bool,
    /// How long a command lives after the last heartbeat that named it.
    pub lease: Duration,
}

/// By which of its words an agent was heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Says {
    Hello,
    Heartbeat,
}

impl Store {
    /// Takes in what agents said, all of it or nothing.
    ///
    /// # Errors
    /// The store cannot be written.
    pub async fn hear(&self, events: &[AgentEvent], rules: &Rules) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        for event in events {
            tx.hear(event, rules).await?;
        }
        tx.commit().await
    }
}

impl Tx {
    async fn hear(&mut self, event: &AgentEvent, rules: &Rules) -> Result<(), StoreError> {
        match event {
            AgentEvent::Hello(hello) => self.hello(hello, rules).await,
            AgentEvent::Heartbeat(heartbeat) => self.heartbeat(heartbeat, rules).await,
            AgentEvent::Accepted(accepted) => self.accepted(accepted, rules).await,
            AgentEvent::Progress(progress) => self.progress(progress, rules).await,
            AgentEvent::Result(result) => self.result(result).await,
            AgentEvent::ImageUrlWanted(wanted) => self.image_url_wanted(wanted).await,
            AgentEvent::Log(log) => {
                self.log(log);
                Ok(())
            }
        }
    }

    async fn hello(&mut self, hello: &Hello, rules: &Rules) -> Result<(), StoreError> {
        if !self.seen(&hello.origin, Says::Hello, rules).await? {
            return Ok(());
        }
        let node = hello.origin.node.to_string();
        sqlx::query(
            "UPDATE nodes SET agent_version = ?2, hostname = ?3, agent_state = ?4, can_power = ?5 WHERE id = ?1",
        )
        .bind(&node)
        .bind(&hello.version)
        .bind(&hello.hostname)
        .bind(state_word(hello.state))
        .bind(hello.can_power)
        .execute(&mut *self.inner)
        .await?;
        if let Some(row) = self.node(&node).await?
            && row.enrolment()? == Enrolment::Enrolled
        {
            // A broker that lost its data has lost the queue; declaring it again changes nothing otherwise.
            self.send(&Item::DeclareQueue(hello.origin.node)).await?;
        }
        if let Some(running) = hello.running {
            self.renew(&hello.origin, running, rules).await?;
        }
        Ok(())
    }

    async fn heartbeat(&mut self, heartbeat: &Heartbeat, rules: &Rules) -> Result<(), StoreError> {
        if !self.seen(&heartbeat.origin, Says::Heartbeat, rules).await? {
            return Ok(());
        }
        let running = heartbeat.running.as_ref();
        if let Some(running) = running
            && self.has_reported(running.reference).await?
        {
            // It was sent before the result, which came by another queue and was faster.
            return Ok(());
        }
        sqlx::query("UPDATE nodes SET agent_version = ?2, agent_state = ?3, running = ?4 WHERE id = ?1")
            .bind(heartbeat.origin.node.to_string())
            .bind(&heartbeat.version)
            .bind(state_word(heartbeat.state))
            .bind(running.map(json::<Running>))
            .execute(&mut *self.inner)
            .await?;
        match running {
            Some(running) => self.renew(&heartbeat.origin, running.reference, rules).await,
            None => Ok(()),
        }
    }

    /// Whether the agent has said how a command ended.
    async fn has_reported(&mut self, reference: CommandRef) -> Result<bool, StoreError> {
        let query = "SELECT 1 FROM attempts WHERE command_id = ? AND finished_at IS NOT NULL AND state <> 'interrupted'";
        let found: Option<i64> = sqlx::query_scalar(query)
            .bind(reference.command.to_string())
            .fetch_optional(&mut *self.inner)
            .await?;
        Ok(found.is_some())
    }

    /// Notes that the agent of a node was heard: an unknown one is discovered, and another boot ends what the last one did.
    /// `false` when the word has no weight: it is of an earlier boot, and late; or a heartbeat of another boot while the present
    /// one is still believed to be there. Heartbeats come by another queue than results, and must not overtake the last result
    /// of the boot before; the hello behind that result will say the same.
    async fn seen(&mut self, origin: &Origin, says: Says, rules: &Rules) -> Result<bool, StoreError> {
        let node = origin.node.to_string();
        let Some(row) = self.node(&node).await? else {
            return self.discover(origin, rules).await.map(|()| true);
        };
        let mut past: VecDeque<String> = from_json(&row.past_boots)?;
        let boot = origin.boot_id.to_string();
        if past.contains(&boot) {
            return Ok(false);
        }
        if let Some(last) = row.boot_id.as_ref().filter(|last| **last != boot) {
            if says == Says::Heartbeat && row.alive {
                return Ok(false);
            }
            past.push_back(last.clone());
            past.drain(..past.len().saturating_sub(PAST_BOOTS));
            self.other_boot(&row, origin.boot_id).await?;
        }
        if !row.alive {
            self.tell_node(origin.node, "agent_up");
        }
        sqlx::query(
            "UPDATE nodes SET boot_id = ?2, past_boots = ?3, last_seen_at = ?4, alive = TRUE, \
             alive_since = CASE WHEN alive THEN alive_since ELSE ?4 END WHERE id = ?1",
        )
        .bind(&node)
        .bind(boot)
        .bind(json(&past))
        .bind(self.now)
        .execute(&mut *self.inner)
        .await?;
        self.after.schedule = true;
        Ok(true)
    }

    async fn discover(&mut self, origin: &Origin, rules: &Rules) -> Result<(), StoreError> {
        let enrolment = if rules.auto_enroll { "enrolled" } else { "discovered" };
        sqlx::query(
            "INSERT INTO nodes (id, site, rack, enrolment, driver_info, properties, boot_id, agent_state, last_seen_at, alive, \
             alive_since, created_at, updated_at) VALUES (?1, ?2, ?3, ?4, '{}', '{}', ?5, 'unknown', ?6, TRUE, ?6, ?6, ?6)",
        )
        .bind(origin.node.to_string())
        .bind(&origin.site)
        .bind(&origin.rack)
        .bind(enrolment)
        .bind(origin.boot_id.to_string())
        .bind(self.now)
        .execute(&mut *self.inner)
        .await?;
        if rules.auto_enroll {
            self.send(&Item::DeclareQueue(origin.node)).await?;
        }
        self.tell_node(origin.node, enrolment);
        Ok(())
    }

    /// The agent is another one than before: what the last one carried out has ended with it.
    async fn other_boot(&mut self, node: &NodeRow, boot: BootId) -> Result<(), StoreError> {
        for job in self.active_jobs(&node.id).await? {
            let Some(attempt) = self.attempt(&job).await?.filter(|attempt| attempt.boot().ok() != Some(boot))
            else {
                continue;
            };
            let message = format!(
                "the agent that carried out attempt {} (boot {}) is gone; the node has come back as boot {boot}",
                job.attempt,
                attempt.boot()?
            );
            self.lose(&job, ErrorReport::new(ErrorCode::Interrupted, message)).await?;
        }
        Ok(())
    }

    async fn active_jobs(&mut self, node: &str) -> Result<Vec<JobRow>, StoreError> {
        let query = format!(
            "{JOBS} WHERE jobs.node_id = ? AND jobs.state IN ('dispatched', 'running', 'interrupted', 'cancelling')"
        );
        Ok(sqlx::query_as(sqlx::AssertSqlSafe(query)).bind(node).fetch_all(&mut *self.inner).await?)
    }

    /// Gives the newest attempt of a job up: nobody will report its end any more.
    pub(super) async fn lose(&mut self, job: &JobRow, error: ErrorReport) -> Result<(), StoreError> {
        self.end_attempt(job, "interrupted", Some(&error), None).await?;
        self.attempt_over(job, error, None).await?;
        Ok(())
    }

    /// The job and attempt that a message is about, if they are the present ones and it is their boot that speaks.
    async fn current(
        &mut self,
        origin: &Origin,
        reference: CommandRef,
    ) -> Result<Option<(JobRow, AttemptRow)>, StoreError> {
        let Some(job) = self.job(&reference.job.to_string()).await? else { return Ok(None) };
        let Some(attempt) = self.attempt(&job).await? else { return Ok(None) };
        let fits = job.node()? == origin.node
            && job.attempt == reference.attempt
            && attempt.command()? == reference.command
            && attempt.boot()? == origin.boot_id;
        Ok(fits.then_some((job, attempt)))
    }

    /// The agent says that it is carrying out a command: the command lives on. One that it should not be carrying out any more
    /// is cancelled.
    async fn renew(&mut self, origin: &Origin, running: CommandRef, rules: &Rules) -> Result<(), StoreError> {
        match self.current(origin, running).await? {
            // It was given up, and never got to know: it may be the cancel that was lost, or the agent that was away.
            Some((job, attempt)) if attempt.finished_at.is_some() => {
                self.send_cancel(&job, running, "the coordinator has given this attempt up").await
            }
            Some((job, attempt)) => {
                match job.state()? {
                    // The `accepted` is late: what it says is known now.
                    JobState::Dispatched => self.accept(&job, &attempt).await?,
                    JobState::Interrupted => {
                        self.trigger(&job, Trigger::Resume, With::default()).await?;
                    }
                    _ => {}
                }
                self.extend_lease(&job, rules).await
            }
            None => {
                let Some(job) = self.job(&running.job.to_string()).await? else { return Ok(()) };
                if job.node()? == origin.node && running.attempt < job.attempt {
                    self.send_cancel(&job, running, "a newer attempt has taken its place").await?;
                }
                Ok(())
            }
        }
    }

    async fn extend_lease(&mut self, job: &JobRow, rules: &Rules) -> Result<(), StoreError> {
        sqlx::query("UPDATE jobs SET lease_until = ? WHERE number = ?")
            .bind(self.now.saturating_add(micros(rules.lease)))
            .bind(job.number)
            .execute(&mut *self.inner)
            .await?;
        Ok(())
    }

    async fn accepted(&mut self, accepted: &Accepted, rules: &Rules) -> Result<(), StoreError> {
        let Some((job, attempt)) = self.current(&accepted.origin, accepted.reference).await? else {
            return Ok(());
        };
        if attempt.finished_at.is_some() {
            return Ok(());
        }
        self.accept(&job, &attempt).await?;
        self.extend_lease(&job, rules).await
    }

    async fn accept(&mut self, job: &JobRow, attempt: &AttemptRow) -> Result<(), StoreError> {
        if attempt.accepted_at.is_none() {
            sqlx::query(
                "UPDATE attempts SET accepted_at = ?3, state = 'running' WHERE job_id = ?1 AND number = ?2 AND finished_at IS NULL",
            )
            .bind(job.id()?.to_string())
            .bind(job.attempt)
            .bind(self.now)
            .execute(&mut *self.inner)
            .await?;
        }
        self.trigger(job, Trigger::Accept, With::default()).await?;
        Ok(())
    }

    async fn progress(&mut self, progress: &Progress, rules: &Rules) -> Result<(), StoreError> {
        let Some((job, attempt)) = self.current(&progress.origin, progress.reference).await? else {
            return Ok(());
        };
        let sequence = i64::try_from(progress.sequence).unwrap_or(i64::MAX);
        if sequence <= attempt.last_sequence
            || !matches!(job.state()?, JobState::Running | JobState::Cancelling)
        {
            return Ok(());
        }
        sqlx::query("UPDATE attempts SET last_sequence = ?3 WHERE job_id = ?1 AND number = ?2")
            .bind(job.id()?.to_string())
            .bind(job.attempt)
            .bind(sequence)
            .execute(&mut *self.inner)
            .await?;
        sqlx::query("UPDATE jobs SET progress = ? WHERE number = ?")
            .bind(json(&progress.progress))
            .bind(job.number)
            .execute(&mut *self.inner)
            .await?;
        self.extend_lease(&job, rules).await?;
        self.after.events.push(StreamEvent::Progress {
            job: job.id()?,
            node: job.node()?,
            verb: job.verb()?,
            progress: progress.progress.clone(),
        });
        Ok(())
    }

    /// Notes that a running command waits for another URL of its image.
    async fn image_url_wanted(&mut self, wanted: &ImageUrlWanted) -> Result<(), StoreError> {
        let Some((job, _)) = self.current(&wanted.origin, wanted.reference).await? else { return Ok(()) };
        if job.state()? != JobState::Running {
            return Ok(());
        }
        sqlx::query("UPDATE jobs SET url_refused = ? WHERE number = ?")
            .bind(wanted.status)
            .bind(job.number)
            .execute(&mut *self.inner)
            .await?;
        self.after.schedule = true;
        Ok(())
    }

    async fn result(&mut self, result: &CommandResult) -> Result<(), StoreError> {
        let Some((job, attempt)) = self.current(&result.origin, result.reference).await? else {
            tracing::info!(job = %result.reference.job, attempt = result.reference.attempt, "a stale result was ignored");
            return Ok(());
        };
        if result.outcome != Outcome::Rejected {
            self.free(result.origin.node).await?;
        }
        // It is repeated, or comes after the attempt was given up.
        if attempt.finished_at.is_some() {
            return Ok(());
        }
        let verb = job.verb()?;
        self.end_attempt(&job, outcome_word(result.outcome), result.error.as_ref(), Some(result)).await?;
        record(verb, result, attempt.accepted_at.map(|at| self.now - at));
        let error = result.error.clone().unwrap_or_else(|| {
            ErrorReport::new(
                ErrorCode::Internal,
                format!("the agent gave no reason for the outcome {:?}", result.outcome),
            )
        });
        match result.outcome {
            Outcome::Succeeded => {
                self.keep_inventory(result.origin.node, result.output.as_ref()).await?;
                let restart: Option<Restart> = job.restart.as_deref().map(word).transpose()?;
                let trigger = if restart.is_some() { Trigger::Finish } else { Trigger::Succeed };
                let with = With {
                    output: result.output.clone(),
                    phase: restart.map(Restart::first_phase),
                    ..With::default()
                };
                self.trigger(&job, trigger, with).await?;
            }
            // Nobody here wanted that: the agent was told to end.
            Outcome::Cancelled if job.state()? != JobState::Cancelling => {
                let message = format!("the agent stopped it while it was shutting down: {}", error.message);
                let error = ErrorReport::new(ErrorCode::Interrupted, message);
                self.attempt_over(&job, error, result.output.clone()).await?;
            }
            _ => {
                self.attempt_over(&job, error, result.output.clone()).await?;
            }
        }
        Ok(())
    }

    /// Notes that the agent of a node has ended what it was doing, and may be sent the next command.
    async fn free(&mut self, node: NodeId) -> Result<(), StoreError> {
        sqlx::query(
            "UPDATE nodes SET running = NULL, agent_state = CASE agent_state WHEN 'busy' THEN 'idle' ELSE agent_state END \
             WHERE id = ?",
        )
        .bind(node.to_string())
        .execute(&mut *self.inner)
        .await?;
        self.after.schedule = true;
        Ok(())
    }

    async fn keep_inventory(&mut self, node: NodeId, output: Option<&Output>) -> Result<(), StoreError> {
        let Some(Output::Inventory(inventory)) = output else { return Ok(()) };
        sqlx::query("UPDATE nodes SET inventory = ?2, inspected_at = ?3 WHERE id = ?1")
            .bind(node.to_string())
            .bind(json(inventory))
            .bind(self.now)
            .execute(&mut *self.inner)
            .await?;
        Ok(())
    }

    pub(super) async fn end_attempt(
        &mut self,
        job: &JobRow,
        state: &str,
        error: Option<&ErrorReport>,
        result: Option<&CommandResult>,
    ) -> Result<(), StoreError> {
        sqlx::query(
            "UPDATE attempts SET state = ?3, finished_at = ?4, error = ?5, steps = coalesce(?6, steps) \
             WHERE job_id = ?1 AND number = ?2 AND finished_at IS NULL",
        )
        .bind(job.id()?.to_string())
        .bind(job.attempt)
        .bind(state)
        .bind(self.now)
        .bind(error.map(json))
        .bind(result.map(|result| json(&result.steps)))
        .execute(&mut *self.inner)
        .await?;
        Ok(())
    }

    fn log(&mut self, log: &Log) {
        self.after.events.push(StreamEvent::Log {
            node: log.origin.node,
            level: log.level.clone(),
            message: log.message.clone(),
        });
    }
}

/// How long the attempt and its steps took.
fn record(verb: Verb, result: &CommandResult, micros: Option<i64>) {
    let verb = verb.as_str();
    if let Some(micros) = micros.and_then(|micros| u64::try_from(micros).ok()) {
        metrics::histogram!(names::ATTEMPT_SECONDS, "verb" => verb, "outcome" => outcome_word(result.outcome))
            .record(Duration::from_micros(micros));
    }
    for step in &result.steps {
        // Names of steps come from agents: only those that exist become labels.
        let Some(name) = STEP_NAMES.iter().find(|known| **known == step.name) else { continue };
        let outcome = match step.outcome {
            StepOutcome::Succeeded => "succeeded",
            StepOutcome::Cancelled => "cancelled",
            _ => "failed",
        };
        metrics::histogram!(names::STEP_SECONDS, "verb" => verb, "step" => *name, "outcome" => outcome)
            .record(step.seconds);
        metrics::counter!(names::STEP_BYTES, "verb" => verb, "step" => *name).increment(step.bytes);
    }
}

fn outcome_word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Succeeded => "succeeded",
        Outcome::Failed => "failed",
        Outcome::Cancelled => "cancelled",
        Outcome::Rejected => "rejected",
        Outcome::Unknown => "unknown",
    }
}

fn state_word(state: AgentState) -> &'static str {
    match state {
        AgentState::Idle => "idle",
        AgentState::Busy => "busy",
        AgentState::Draining => "draining",
        AgentState::Unknown => "unknown",
    }
}
