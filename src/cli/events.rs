//! `farrier events`: what happens, as it happens.

use std::time::Duration;

use backon::{ExponentialBuilder, Retryable as _};
use chrono::Utc;
use clap::Args;
use farrier::terminal::progress_text;
use farrier::wire::JobId;
use farrier::wire::api::StreamEvent;
use futures_util::StreamExt as _;

use super::client::{Client, ClientError, EventStream};
use super::error::Failure;
use super::exit::Exit;
use super::output::{Output, time};

#[derive(Debug, Args)]
pub(crate) struct EventsCommand {
    /// Only those of a job
    #[arg(long, value_name = "ID")]
    job: Option<JobId>,
    /// Only those of a node, by its UUID or its name
    #[arg(long)]
    node: Option<String>,
}

const FIRST_DELAY: Duration = Duration::from_millis(200);

/// How often a lost stream is asked for again before it is given up: for about two minutes.
fn patience() -> ExponentialBuilder {
    ExponentialBuilder::default()
        .with_min_delay(FIRST_DELAY)
        .with_max_delay(Duration::from_secs(10))
        .with_max_times(16)
        .with_jitter()
}

/// Follows until it is interrupted, over restarts of the coordinator.
pub(crate) async fn run(
    command: EventsCommand,
    client: &Client,
    output: &mut Output,
) -> Result<Exit, Failure> {
    let query: Vec<_> = [("job", command.job.map(|job| job.to_string())), ("node", command.node)]
        .into_iter()
        .filter_map(|(key, value)| Some((key, value?)))
        .collect();
    // A coordinator that is not there at the start is an error at once: most likely it is the wrong address.
    let mut stream = client.events(&query).await?;
    loop {
        let mut lost = "the coordinator has closed the stream".to_owned();
        while let Some(event) = stream.next().await {
            match event {
                Ok(event) => output.show(&event, event_text)?,
                Err(error) => {
                    lost = error.to_string();
                    break;
                }
            }
        }
        output.note(&format!("{lost}; trying again"));
        stream = again(client, &query).await?;
    }
}

/// Asks for the stream again until it is there.
async fn again(client: &Client, query: &[(&str, String)]) -> Result<EventStream, ClientError> {
    let ask = || client.events(query);
    // The first delay comes before the first try, so that a server that closes every stream at once is not asked all the time.
    tokio::time::sleep(FIRST_DELAY).await;
    ask.retry(patience()).when(ClientError::may_pass).await
}

fn event_text(event: &StreamEvent) -> String {
    let what = match event {
        StreamEvent::Job(change) => {
            let error = change.error.as_ref().map(|error| format!(": {error}")).unwrap_or_default();
            format!("node {} {} job {} {}{error}", change.node, change.verb, change.job, change.state)
        }
        StreamEvent::Progress { job, node, verb, progress } => {
            format!("node {node} {verb} job {job} {}", progress_text(progress))
        }
        StreamEvent::Node { node, what } => format!("node {node} {what}"),
        StreamEvent::Log { node, level, message } => format!("node {node} {level}: {message}"),
        StreamEvent::Missed { count } => format!("{count} events were missed: this reader is too slow"),
    };
    format!("{} {what}", time(Utc::now()))
}
