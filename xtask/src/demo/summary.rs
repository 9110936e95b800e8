//! What the demo says at its end.

use std::time::Duration;

use farrier::terminal::{bytes, table, table_text};
use farrier::wire::api::{Job, JobState};
use farrier::wire::report::Output;

use super::disks::{Content, ReadBack};
use super::jobs::Asked;
use super::stage::{Stage, agent_metrics_url};

/// Prints the table and what was found on the disks, and says whether all is as it should be.
pub(super) fn say(stage: &Stage, asked: &[Asked], jobs: &[Job], disks: &[ReadBack]) -> bool {
    println!("\n{}", jobs_table(stage, asked, jobs));
    for job in jobs.iter().filter(|job| job.state != JobState::Succeeded) {
        let error = job.error.as_ref().map_or_else(|| "no error was given".to_owned(), ToString::to_string);
        println!("job {} is {}: {error}", job.id, job.state);
    }
    println!("\nimage   {} of {}", stage.image_checksum(), bytes(stage.image.size));
    say_disks(disks);
    println!("logs    {}", stage.fleet.logs().display());
    println!("metrics {} (as exported at the end)", stage.metrics_dir().display());
    let succeeded = jobs.iter().filter(|job| job.state == JobState::Succeeded).count();
    let good = succeeded == asked.len() && disks.iter().all(|disk| disk.differs_at.is_none());
    let verdict = if good { "all is well" } else { "NOT all is well" };
    println!("\n{verdict}: {succeeded} of {} jobs have succeeded", asked.len());
    good
}

fn jobs_table(stage: &Stage, asked: &[Asked], jobs: &[Job]) -> String {
    let mut rows = table(&["NODE", "RACK", "JOB", "BY", "STATE", "DURATION", "BYTES", "RATE", "DIGEST"]);
    for (asked, job) in asked.iter().zip(jobs) {
        let spec = stage.fleet.agents[asked.place].spec();
        let took = took(job);
        let moved = moved(job);
        let rate = moved.zip(took).filter(|(_, took)| !took.is_zero()).map(|(moved, took)| rate(moved, took));
        rows.add_row([
            spec.name.clone(),
            format!("{}/{}", spec.site, spec.rack),
            asked.verb.to_string(),
            asked.by.to_owned(),
            job.state.to_string(),
            took.map_or_else(dash, |took| format!("{:.2} s", took.as_secs_f64())),
            moved.map_or_else(dash, bytes),
            rate.map_or_else(dash, |rate| format!("{}/s", bytes(rate))),
            digest(job).unwrap_or_else(dash),
        ]);
    }
    table_text(&rows)
}

fn dash() -> String {
    "-".to_owned()
}

/// From the first acceptance to the end.
fn took(job: &Job) -> Option<Duration> {
    (job.finished_at? - job.started_at?).to_std().ok()
}

/// The bytes of the image, or those that were erased.
fn moved(job: &Job) -> Option<u64> {
    match job.output.as_ref()? {
        Output::Deploy(report) => Some(report.image_bytes),
        Output::Clean(report) => Some(report.devices.iter().map(|device| device.bytes_erased).sum()),
        Output::Inventory(_) | Output::Noop {} => None,
    }
}

fn rate(bytes: u64, took: Duration) -> u64 {
    let millis = took.as_millis().max(1);
    u64::try_from(u128::from(bytes) * 1000 / millis).unwrap_or(u64::MAX)
}

/// The beginning of the digest of what came: the whole of it stands below the table.
fn digest(job: &Job) -> Option<String> {
    match job.output.as_ref()? {
        Output::Deploy(report) => Some(report.image_checksum.to_string().chars().take(19).collect()),
        _ => None,
    }
}

fn say_disks(disks: &[ReadBack]) {
    let good =
        |content| disks.iter().filter(|disk| disk.expected == content && disk.differs_at.is_none()).count();
    println!(
        "disks   {} read back: {} hold exactly the image and zeros after it, {} hold zeros alone",
        disks.len(),
        good(Content::Image),
        good(Content::Zeros)
    );
    for disk in disks {
        if let Some(offset) = disk.differs_at {
            let expected = match disk.expected {
                Content::Image => "the image and zeros after it",
                Content::Zeros => "zeros",
            };
            println!("        {} was to hold {expected} and differs at byte {offset}", disk.disk.display());
        }
    }
}

/// Prints what runs and what may be done with it.
pub(super) fn say_how_to_play(stage: &Stage) {
    let farrier = stage.farrier_path().display();
    println!("\nEverything runs until Ctrl-C.");
    println!("API      {0}/v1 (OpenAPI: {0}/v1/openapi.json)", stage.api.url());
    println!("broker   {}", stage.fleet.rabbitmq.amqp_url());
    println!("manager  {}", stage.fleet.rabbitmq.management_url());
    println!("image    {}", stage.image_url());
    println!("metrics  {}/metrics", stage.api.url());
    for url in stage.fleet.agents.iter().filter_map(agent_metrics_url) {
        println!("         {url}");
    }
    println!("\n  export FARRIER_API={}", stage.api.url());
    println!("  {farrier} node list");
    println!("  {farrier} node inventory node-1");
    println!("  {farrier} job submit clean node-1 --watch");
    println!(
        "  {farrier} job submit deploy node-1 --image-source {} --image-checksum {} --root-device serial=node-1-disk0 --watch",
        stage.image_url(),
        stage.image_checksum()
    );
    println!("  {farrier} events");
}
