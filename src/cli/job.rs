//! `farrier job`.

use clap::{Args, Subcommand};
use farrier::terminal::progress_text;
use farrier::wire::api::{Attempt, Job, JobCancel, JobState, JobSubmitted};
use farrier::wire::{ImageSource, JobId, JobRequest, RetryPolicy, Verb, Work};
use reqwest::Method;

use super::client::{Client, ClientError};
use super::error::Failure;
use super::exit::Exit;
use super::output::{Output, ago, duration, or_dash, table, table_text, time};
use super::page::{Paging, list, with_rest};
use super::report::{output_text, steps_text};
use super::spec::{SpecArgs, verb_parser};
use super::watch::watch;

#[derive(Debug, Subcommand)]
pub(crate) enum JobCommand {
    /// Ask for a verb to be carried out on one node, or on each of several
    #[command(after_help = Exit::help())]
    Submit(Box<SubmitArgs>),
    /// List jobs, newest first
    List(ListArgs),
    /// Show a job with its attempts and their steps
    Show(JobRef),
    /// Follow jobs until all have ended; the exit code says whether all have succeeded
    #[command(after_help = Exit::help())]
    Watch(JobRefs),
    /// Stop jobs
    Cancel(CancelArgs),
}

#[derive(Debug, Args)]
pub(crate) struct SubmitArgs {
    /// What to do
    #[arg(value_parser = verb_parser())]
    verb: Verb,
    /// The nodes, by UUID or name; each gets a job of its own
    #[arg(required = true, value_name = "NODE")]
    nodes: Vec<String>,
    /// A job submitted again with the same key is the same job; for one node
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
    /// How many attempts there may be, the first one included; by default 3
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100))]
    max_attempts: Option<u32>,
    /// Give the job up after this long, such as 90m or 2h; by default 6h
    #[arg(long, value_name = "TIME", value_parser = timeout_seconds)]
    timeout: Option<u32>,
    /// Follow the jobs until all have ended
    #[arg(long)]
    watch: bool,
    #[command(flatten)]
    spec: SpecArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// Only those of a node, by its UUID or its name
    #[arg(long)]
    node: Option<String>,
    /// Only those with a verb
    #[arg(long, value_parser = verb_parser())]
    verb: Option<Verb>,
    /// Only those in a state
    #[arg(long, value_parser = state_parser())]
    state: Option<String>,
    #[command(flatten)]
    paging: Paging,
}

#[derive(Debug, Args)]
pub(crate) struct JobRef {
    /// The job
    id: JobId,
}

#[derive(Debug, Args)]
pub(crate) struct JobRefs {
    /// The jobs
    #[arg(required = true, value_name = "ID")]
    ids: Vec<JobId>,
}

#[derive(Debug, Args)]
pub(crate) struct CancelArgs {
    #[command(flatten)]
    jobs: JobRefs,
    /// Why, for people
    #[arg(long)]
    reason: Option<String>,
}

fn state_parser() -> clap::builder::PossibleValuesParser {
    clap::builder::PossibleValuesParser::new(JobState::ALL.iter().map(|state| state.as_str()))
}

fn timeout_seconds(text: &str) -> Result<u32, String> {
    let timeout = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    match u32::try_from(timeout.as_secs()) {
        Ok(seconds) if seconds >= 1 => Ok(seconds),
        _ => Err("expected at least 1s and at most 136 years".to_owned()),
    }
}

pub(crate) async fn run(command: JobCommand, client: &Client, output: &mut Output) -> Result<Exit, Failure> {
    match command {
        JobCommand::Submit(args) => return submit(&args, client, output).await,
        JobCommand::Watch(JobRefs { ids }) => return watch(client, &ids, output).await,
        JobCommand::List(args) => {
            let page = list::<Job>(client, "jobs", &args.query(), &args.paging).await?;
            output.show(&page, |page| with_rest(jobs_text(&page.items), page.next.as_deref()))?;
        }
        JobCommand::Show(JobRef { id }) => {
            let job: Job = client.get(&["jobs", &id.to_string()], &[]).await?;
            output.show(&job, job_text)?;
        }
        JobCommand::Cancel(args) => {
            let body = JobCancel { reason: args.reason };
            for id in &args.jobs.ids {
                let path = ["jobs", &id.to_string(), "cancel"];
                let job: Job = client.send(Method::POST, &path, &body).await?;
                output.show(&job, |job| format!("job {} is {}", job.id, job.state))?;
            }
        }
    }
    Ok(Exit::Success)
}

/// Submits a job for every node. A node that is refused does not keep the others from theirs.
async fn submit(args: &SubmitArgs, client: &Client, output: &mut Output) -> Result<Exit, Failure> {
    if let (Some(key), 2..) = (&args.idempotency_key, args.nodes.len()) {
        return Err(Failure::flag("--idempotency-key", &**key, "it names one job, so give one node"));
    }
    let work = args.spec.work(args.verb).await?;
    let mut submitted = Vec::new();
    let mut exit = Exit::Success;
    for node in &args.nodes {
        let request = args.request(node, work.clone());
        match client.send::<JobSubmitted>(Method::POST, &["jobs"], &request).await {
            Ok(answer) => {
                submitted.push(answer.job.id);
                if !(args.watch && output.is_json()) {
                    output.show(&answer, submitted_text)?;
                }
            }
            Err(error @ ClientError::Refused(_)) if args.nodes.len() > 1 && !error.may_pass() => {
                exit = exit.max(error.exit());
                output.failure(&error.into());
            }
            Err(error) => return Err(error.into()),
        }
    }
    if args.watch && !submitted.is_empty() {
        exit = exit.max(watch(client, &submitted, output).await?);
    }
    Ok(exit)
}

impl SubmitArgs {
    fn request(&self, node: &str, work: Work<ImageSource>) -> JobRequest {
        JobRequest {
            job: None,
            node: node.to_owned(),
            work,
            idempotency_key: self.idempotency_key.clone(),
            retry: self
                .max_attempts
                .map(|max_attempts| RetryPolicy { max_attempts, ..RetryPolicy::default() }),
            timeout_seconds: self.timeout,
        }
    }
}

impl ListArgs {
    fn query(&self) -> Vec<(&'static str, String)> {
        [
            ("node", self.node.clone()),
            ("verb", self.verb.map(|verb| verb.to_string())),
            ("state", self.state.clone()),
        ]
        .into_iter()
        .filter_map(|(key, value)| Some((key, value?)))
        .collect()
    }
}

/// The node as people call it.
pub(crate) fn node_label(job: &Job) -> String {
    job.node_name.clone().unwrap_or_else(|| job.node.to_string())
}

fn submitted_text(answer: &JobSubmitted) -> String {
    let JobSubmitted { job, created } = answer;
    let known = if *created { "" } else { " (submitted before)" };
    format!("job {} {} on {}: {}{known}", job.id, job.work.verb(), node_label(job), job.state)
}

/// What keeps a job, or what became of it.
pub(crate) fn state_detail(job: &Job) -> String {
    match (&job.wait, &job.error) {
        (Some(wait), _) => format!("waits for {}, until {}", wait.reason, time(wait.until)),
        (None, Some(error)) => error.to_string(),
        (None, None) => "-".to_owned(),
    }
}

pub(crate) fn jobs_text(jobs: &[Job]) -> String {
    let mut rows = table(&["JOB", "NODE", "VERB", "STATE", "ATTEMPT", "SUBMITTED", "TOOK", "DETAIL"]);
    for job in jobs {
        rows.add_row([
            job.id.to_string(),
            node_label(job),
            job.work.verb().to_string(),
            job.state.to_string(),
            format!("{}/{}", job.attempt, job.retry.max_attempts),
            ago(job.created_at),
            or_dash(job.finished_at.map(|at| duration(at - job.created_at))),
            state_detail(job),
        ]);
    }
    table_text(&rows)
}

fn job_text(job: &Job) -> String {
    let mut rows = table(&["FIELD", "VALUE"]);
    let mut row = |field: &str, value: String| {
        rows.add_row([field.to_owned(), value]);
    };
    row("id", job.id.to_string());
    row("node", format!("{} ({})", or_dash(job.node_name.as_ref()), job.node));
    row("verb", job.work.verb().to_string());
    row("state", job.state.to_string());
    if let Some(wait) = &job.wait {
        let (since, until) = (time(wait.since), time(wait.until));
        row("waits", format!("for {} since {since}, until {until}", wait.reason));
    }
    row("attempt", format!("{} of {}", job.attempt, job.retry.max_attempts));
    if let Some(progress) = &job.progress {
        row("progress", progress_text(progress));
    }
    if let Some(error) = &job.error {
        row("error", error.to_string());
    }
    row("submitted by", job.submitted_by.clone());
    if let Some(key) = &job.idempotency_key {
        row("idempotency key", key.clone());
    }
    row("submitted", time(job.created_at));
    row("started", or_dash(job.started_at.map(time)));
    row("finished", or_dash(job.finished_at.map(time)));
    row("deadline", time(job.deadline));
    let mut text = table_text(&rows);
    for attempt in &job.attempts {
        text.push_str("\n\n");
        text.push_str(&attempt_text(attempt));
    }
    if let Some(output) = &job.output {
        text.push_str("\n\n");
        text.push_str(&output_text(output));
    }
    text
}

fn attempt_text(attempt: &Attempt) -> String {
    let mut text =
        format!("attempt {}: {}, sent {}", attempt.number, attempt.state, time(attempt.dispatched_at));
    if let Some(error) = &attempt.error {
        text.push_str(&format!("\n{error}"));
    }
    if !attempt.steps.is_empty() {
        text.push('\n');
        text.push_str(&steps_text(&attempt.steps));
    }
    text
}
