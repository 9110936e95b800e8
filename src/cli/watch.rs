//! Following jobs to their end: by the event stream, and by asking again and again while there is none.

use std::collections::HashSet;
use std::time::Duration;

use farrier::terminal::Board;
use farrier::wire::JobId;
use farrier::wire::api::{Job, JobState, StreamEvent};
use futures_util::StreamExt as _;
use tokio::time::{Instant, MissedTickBehavior};

use super::client::{Client, ClientError, EventStream};
use super::error::Failure;
use super::exit::Exit;
use super::job::{jobs_text, node_label, state_detail};
use super::output::{Output, duration};

/// Between two questions while there is no stream.
const ASK_EVERY: Duration = Duration::from_secs(1);
/// Between two questions while there is a stream: it may have lost something.
const ASK_ANYWAY_EVERY: Duration = Duration::from_secs(10);
/// How long the coordinator may be away: longer than it takes to start again.
const PATIENCE: Duration = Duration::from_secs(120);

/// Follows jobs until all have ended. `Success` when all have succeeded.
pub(crate) async fn watch(client: &Client, ids: &[JobId], output: &mut Output) -> Result<Exit, Failure> {
    let mut watch = Watch::begin(client, ids, output).await?;
    watch.until_all_have_ended().await?;
    watch.report()
}

struct Watch<'a> {
    client: &'a Client,
    output: &'a mut Output,
    board: Board,
    rows: Vec<Row>,
    /// When the coordinator last answered.
    heard_at: Instant,
    /// Whether it has been said that it does not.
    away: bool,
}

struct Row {
    label: String,
    job: Job,
    /// State, attempt and step as they were last printed for programs.
    printed: Option<(JobState, u32, Option<String>)>,
}

impl<'a> Watch<'a> {
    /// Reads the jobs for the first time: here a coordinator that is away is an error at once.
    async fn begin(client: &'a Client, ids: &[JobId], output: &'a mut Output) -> Result<Self, Failure> {
        let mut rows: Vec<Row> = Vec::new();
        for id in ids {
            let job = read(client, *id).await?;
            rows.push(Row { label: format!("{} {}", node_label(&job), job.work.verb()), job, printed: None });
        }
        if rows.iter().map(|row| &row.label).collect::<HashSet<_>>().len() < rows.len() {
            for row in &mut rows {
                row.label = format!("{} {}", row.label, row.job.id);
            }
        }
        let board = Board::new(output.is_json(), rows.iter().map(|row| row.label.as_str()));
        let mut watch = Self { client, output, board, rows, heard_at: Instant::now(), away: false };
        for index in 0..watch.rows.len() {
            watch.show(index)?;
        }
        Ok(watch)
    }

    async fn until_all_have_ended(&mut self) -> Result<(), Failure> {
        while !self.all_ended() {
            match self.client.events(&self.query()).await {
                Ok(stream) => {
                    // The stream tells nothing of what was before it.
                    self.ask_all().await?;
                    self.follow(stream).await?;
                }
                Err(error) => self.bear(error)?,
            }
            if !self.all_ended() {
                tokio::time::sleep(ASK_EVERY).await;
                self.ask_all().await?;
            }
        }
        Ok(())
    }

    /// Follows a stream until it ends, or all jobs have.
    async fn follow(&mut self, mut stream: EventStream) -> Result<(), Failure> {
        let mut ask_anyway = tokio::time::interval(ASK_ANYWAY_EVERY);
        ask_anyway.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ask_anyway.reset();
        while !self.all_ended() {
            tokio::select! {
                event = stream.next() => match event {
                    Some(Ok(event)) => self.take(event).await?,
                    Some(Err(_)) | None => {
                        self.board.note("the event stream was lost: asking instead");
                        return Ok(());
                    }
                },
                _ = ask_anyway.tick() => self.ask_all().await?,
            }
        }
        Ok(())
    }

    async fn take(&mut self, event: StreamEvent) -> Result<(), Failure> {
        match event {
            StreamEvent::Job(change) => match self.find(change.job) {
                Some(index) => self.ask(index).await,
                None => Ok(()),
            },
            StreamEvent::Progress { job, progress, .. } => match self.find(job) {
                Some(index) => {
                    self.rows[index].job.progress = Some(progress);
                    self.show(index)
                }
                None => Ok(()),
            },
            StreamEvent::Missed { .. } => self.ask_all().await,
            StreamEvent::Node { .. } | StreamEvent::Log { .. } => Ok(()),
        }
    }

    async fn ask_all(&mut self) -> Result<(), Failure> {
        for index in 0..self.rows.len() {
            self.ask(index).await?;
            if self.away {
                break;
            }
        }
        Ok(())
    }

    async fn ask(&mut self, index: usize) -> Result<(), Failure> {
        if self.rows[index].job.state.is_final() {
            return Ok(());
        }
        match read(self.client, self.rows[index].job.id).await {
            Ok(job) => {
                self.heard_at = Instant::now();
                self.away = false;
                self.rows[index].job = job;
                self.show(index)
            }
            Err(error) => self.bear(error),
        }
    }

    /// A coordinator may be away for a while.
    fn bear(&mut self, error: ClientError) -> Result<(), Failure> {
        if !error.may_pass() || self.heard_at.elapsed() > PATIENCE {
            return Err(error.into());
        }
        if !self.away {
            self.board.note(&format!("{error}; trying again"));
        }
        self.away = true;
        Ok(())
    }

    fn show(&mut self, index: usize) -> Result<(), Failure> {
        let Row { label, job, printed } = &mut self.rows[index];
        match (&job.progress, job.state) {
            (Some(progress), JobState::Running) => self.board.progress(label, progress),
            _ => self.board.state(label, &state_text(job)),
        }
        let now = (job.state, job.attempt, job.progress.as_ref().map(|progress| progress.step.clone()));
        if self.output.is_json() && printed.as_ref() != Some(&now) {
            *printed = Some(now);
            self.output.show(job, |_| String::new())?;
        }
        Ok(())
    }

    /// The end for people; programs have seen every job's last state already.
    fn report(self) -> Result<Exit, Failure> {
        self.board.clear();
        let jobs: Vec<_> = self.rows.into_iter().map(|row| row.job).collect();
        if !self.output.is_json() {
            self.output.show(&jobs, |jobs| jobs_text(jobs))?;
        }
        let succeeded = jobs.iter().all(|job| job.state == JobState::Succeeded);
        Ok(if succeeded { Exit::Success } else { Exit::Failed })
    }

    fn find(&self, id: JobId) -> Option<usize> {
        self.rows.iter().position(|row| row.job.id == id)
    }

    fn all_ended(&self) -> bool {
        self.rows.iter().all(|row| row.job.state.is_final())
    }

    /// The stream can be narrowed to one job, not to several.
    fn query(&self) -> Vec<(&'static str, String)> {
        match self.rows.as_slice() {
            [row] => vec![("job", row.job.id.to_string())],
            _ => Vec::new(),
        }
    }
}

async fn read(client: &Client, id: JobId) -> Result<Job, ClientError> {
    client.get(&["jobs", &id.to_string()], &[]).await
}

fn state_text(job: &Job) -> String {
    match (job.state, job.finished_at) {
        (JobState::Succeeded, Some(at)) => format!("succeeded in {}", duration(at - job.created_at)),
        (state, _) => match state_detail(job).as_str() {
            "-" => state.to_string(),
            detail => format!("{state}: {detail}"),
        },
    }
}
