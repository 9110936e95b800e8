//! Following the jobs: a line for each node, fed from the event stream of the coordinator.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use farrier::terminal::Board;
use farrier::wire::NodeId;
use farrier::wire::api::{Job, JobState, StreamEvent};
use reqwest::{Method, StatusCode};
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout};
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::jobs::Asked;
use super::stage::Stage;

/// How often the jobs themselves are looked at: the stream is for the eye, they are the truth.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How long all jobs together may take.
const ALL_WITHIN: Duration = Duration::from_secs(600);
/// How long a published job may take to be known to the coordinator.
const KNOWN_WITHIN: Duration = Duration::from_secs(30);

/// The event stream, as `farrier events` prints it.
#[derive(Debug)]
pub(super) struct Events {
    // Killed when dropped.
    _child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Events {
    /// Begins to follow.
    pub(super) fn follow(stage: &Stage) -> anyhow::Result<Self> {
        let mut child = stage.events_command().spawn().context("cannot start `farrier events`")?;
        let stdout = child.stdout.take().context("`farrier events` has no standard output")?;
        Ok(Self { _child: child, lines: BufReader::new(stdout).lines() })
    }

    /// The next event; never, once the stream has ended: the jobs are looked at all the same.
    async fn next(&mut self) -> StreamEvent {
        while let Ok(Some(line)) = self.lines.next_line().await {
            if let Ok(event) = serde_json::from_str(&line) {
                return event;
            }
        }
        std::future::pending().await
    }
}

/// Shows how far the jobs are until all have ended, and gives them in the order in which they were asked for.
pub(super) async fn until_all_have_ended(
    stage: &Stage,
    asked: &[Asked],
    events: &mut Events,
) -> anyhow::Result<Vec<Job>> {
    let labels: HashMap<NodeId, String> = stage
        .fleet
        .agents
        .iter()
        .map(|agent| (NodeId(agent.spec().node), format!("{} {}", agent.spec().rack, agent.spec().name)))
        .collect();
    let mut board = Board::new(false, labels.values().map(String::as_str));
    let began = Instant::now();
    let mut looks = interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            event = events.next() => show(&mut board, &labels, &event),
            _ = looks.tick() => {
                let jobs = look(stage, asked, began).await?;
                if jobs.len() == asked.len() && jobs.iter().all(|job| job.state.is_final()) {
                    board.clear();
                    return Ok(jobs);
                }
                ensure!(
                    began.elapsed() < ALL_WITHIN,
                    "the jobs have not ended after {ALL_WITHIN:?}; the logs are in {}",
                    stage.fleet.logs().display()
                );
            }
        }
    }
}

/// Those of the jobs that the coordinator knows.
async fn look(stage: &Stage, asked: &[Asked], began: Instant) -> anyhow::Result<Vec<Job>> {
    let mut jobs = Vec::with_capacity(asked.len());
    for Asked { id, verb, .. } in asked {
        let answer = stage.api.request(Method::GET, &format!("v1/jobs/{id}"), None).await?;
        if answer.status == StatusCode::NOT_FOUND {
            ensure!(
                began.elapsed() < KNOWN_WITHIN,
                "the {verb} job {id} was published and never came to the coordinator: see `farrier dead list`"
            );
            continue;
        }
        jobs.push(serde_json::from_value(answer.success()?).context("the coordinator did not show a job")?);
    }
    Ok(jobs)
}

fn show(board: &mut Board, labels: &HashMap<NodeId, String>, event: &StreamEvent) {
    match event {
        StreamEvent::Progress { node, progress, .. } => {
            if let Some(label) = labels.get(node) {
                board.progress(label, progress);
            }
        }
        StreamEvent::Job(change) => {
            if let Some(label) = labels.get(&change.node)
                && change.state != JobState::Queued
            {
                let error = change.error.as_ref().map(|error| format!(": {error}")).unwrap_or_default();
                board.state(label, &format!("{} {}{error}", change.verb, change.state));
            }
        }
        StreamEvent::Node { .. } | StreamEvent::Log { .. } | StreamEvent::Missed { .. } => {}
    }
}
