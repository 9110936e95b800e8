//! `cargo xtask demo`: a fleet at work on lab disks, from nothing to deployed nodes that are read back.

mod disks;
mod jobs;
mod stage;
mod summary;
mod watch;

use std::pin::pin;
use std::time::{Duration, Instant};

use anyhow::bail;
use clap::Args;
use farrier_testbed::packages;
use tokio::signal::unix::{SignalKind, signal};

use crate::workspace::{PRODUCTS, Workspace};
use stage::Stage;

/// How long blocking work that nobody waits for any more may hold up the end.
const END_WITHIN: Duration = Duration::from_secs(2);

/// What is shown.
#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// Leave everything running until Ctrl-C, to play with
    #[arg(long)]
    keep: bool,
    /// How many agents; they stand in two racks by turns
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=64))]
    agents: u8,
    /// How large the disk image is, in MiB; a node has one disk that is a quarter larger and one of half the size
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u64).range(24..=8192))]
    image_mib: u64,
}

/// Builds, then shows. Says whether every job has succeeded and every disk holds what it should.
pub(crate) fn run(args: &DemoArgs, workspace: &Workspace) -> anyhow::Result<bool> {
    packages::ensure(&[packages::FLEET])?;
    workspace.build_release(PRODUCTS)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let good = runtime.block_on(run_until_interrupted(args, workspace));
    // What was interrupted may still block; whatever it has started dies with this process.
    runtime.shutdown_timeout(END_WITHIN);
    good
}

async fn run_until_interrupted(args: &DemoArgs, workspace: &Workspace) -> anyhow::Result<bool> {
    let mut interrupted = pin!(interrupted());
    let (stage, good) = tokio::select! {
        shown = show(args, workspace) => shown?,
        end = &mut interrupted => {
            end?;
            bail!("interrupted; everything that was started has been ended");
        }
    };
    if args.keep {
        summary::say_how_to_play(&stage);
        interrupted.await?;
    }
    Ok(good)
}

async fn show(args: &DemoArgs, workspace: &Workspace) -> anyhow::Result<(Stage, bool)> {
    let began = Instant::now();
    let mut stage = Stage::set(args, workspace).await?;
    stage.enroll().await?;
    said(began, &format!("{} agents said hello and are enrolled", args.agents));

    let mut events = watch::Events::follow(&stage)?;
    let jobs = jobs::enqueue(&stage).await?;
    said(began, &format!("{} jobs are queued: inspect, clean and deploy for each node", jobs.len()));
    let ended = watch::until_all_have_ended(&stage, &jobs, &mut events).await?;
    drop(events);
    said(began, "all jobs have ended");

    let read_back = disks::read_back(&stage).await?;
    said(began, "every lab disk was read back");
    stage.save_metrics().await?;
    let good = summary::say(&stage, &jobs, &ended, &read_back);
    Ok((stage, good))
}

/// One line of what has been done, with the seconds that it took from the beginning.
fn said(began: Instant, what: &str) {
    println!("{:6.1} s  {what}", began.elapsed().as_secs_f64());
}

/// Waits for Ctrl-C, or for whatever else is meant to end a program.
async fn interrupted() -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    tokio::select! {
        pressed = tokio::signal::ctrl_c() => pressed?,
        _ = terminate.recv() => {}
        _ = hangup.recv() => {}
    }
    Ok(())
}
