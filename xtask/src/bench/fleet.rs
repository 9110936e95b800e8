//! `cargo xtask bench fleet`.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use clap::Args;
use farrier::wire::{AgentEvent, JobId, NodeId};
use farrier_testbed::agent::Agent;
use farrier_testbed::disk_image;
use farrier_testbed::fleet::{Builder, Fleet};
use farrier_testbed::http::Nginx;
use farrier_testbed::wait::blocking;
use farrier_testbed::worker::{cpu_time_of, memory_of};
use serde_json::json;

use super::observer::Observer;
use super::report::{Limit, Row, publish};
use crate::workspace::Workspace;

const MIB: u64 = 1 << 20;
const IDLE_AGENT_BELOW: u64 = 16 * MIB;
const AGENT_BINARY_BELOW: u64 = 12 * MIB;
/// The image that an agent deploys while its memory is measured.
const IMAGE_MIB: u64 = 256;
const DEPLOYED_WITHIN: Duration = Duration::from_secs(300);
/// How often an agent is started, to measure the time to its hello.
const STARTS: usize = 10;
const BINARIES: [&str; 3] = ["farrier-agent", "farrier-coordinator", "farrier"];

/// How much is measured.
#[derive(Debug, Args)]
pub(crate) struct FleetArgs {
    /// How many agents
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..))]
    agents: u16,
    /// How many no-op jobs
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..))]
    jobs: u32,
}

/// Measures, prints, writes `target/bench/fleet.json`, and says whether the limits are met.
pub(super) async fn measure(args: &FleetArgs, workspace: &Workspace) -> anyhow::Result<bool> {
    let scratch = tempfile::tempdir_in(workspace.target())?;
    let mut rows = dispatch(args, workspace, &scratch.path().join("dispatch")).await?;
    rows.extend(one_agent(workspace, &scratch.path().join("agent")).await?);
    rows.extend(sizes(workspace)?);
    let limits = [
        Limit::Bytes {
            what: "peak resident memory of an idle agent".to_owned(),
            found: Some(peak(&rows, "agent idle")?),
            below: IDLE_AGENT_BELOW,
        },
        Limit::Bytes {
            what: "stripped release binary of the agent".to_owned(),
            found: Some(agent_binary(workspace)?),
            below: AGENT_BINARY_BELOW,
        },
    ];
    publish(&workspace.target().join("bench"), "fleet", &rows, &limits)
}

/// Real intervals: what is measured is a fleet as it would run.
fn as_in_production(workspace: &Workspace) -> Builder {
    Fleet::builder()
        .bin_dir(&workspace.release_dir())
        .heartbeat_seconds(10)
        .lease_seconds(35)
        .accept_seconds(60)
}

async fn dispatch(args: &FleetArgs, workspace: &Workspace, dir: &Path) -> anyhow::Result<Vec<Row>> {
    println!("starting {} agents", args.agents);
    let builder = as_in_production(workspace).agents(args.agents.into()).lab_disks(&[]);
    let (fleet, _api) = builder.start(dir).await?;
    let mut observer = Observer::start(&fleet.rabbitmq.amqp_url()).await?;
    let idle = agents_row("agent idle", &fleet.agents)?;

    println!("{} jobs, one at a time on each node", args.jobs);
    let nodes: Vec<_> = fleet.agents.iter().map(|agent| NodeId(agent.spec().node)).collect();
    let jobs = usize::try_from(args.jobs)?;
    let waves: Vec<_> = nodes.iter().copied().cycle().take(jobs).collect();
    let paced = measured(&fleet, "dispatch, one job at a time on a node", async |times| {
        for wave in waves.chunks(nodes.len()) {
            times.extend(run_jobs(&mut observer, wave).await?);
        }
        Ok(())
    })
    .await?;

    println!("{} jobs, all at once", args.jobs);
    let burst = measured(&fleet, "dispatch, all jobs at once", async |times| {
        times.extend(run_jobs(&mut observer, &waves).await?);
        Ok(())
    })
    .await?;
    Ok(vec![paced, burst, idle, agents_row("agent after no-op jobs", &fleet.agents)?])
}

/// Runs `work`, which collects the times from submission to acceptance, and tells what the coordinator needed for it.
async fn measured(
    fleet: &Fleet,
    case: &str,
    work: impl AsyncFnOnce(&mut Vec<Duration>) -> anyhow::Result<()>,
) -> anyhow::Result<Row> {
    let coordinator = fleet.coordinator.pid().context("the coordinator does not run")?;
    let (mut times, cpu_before, began) = (Vec::new(), cpu_time_of(coordinator)?, Instant::now());
    work(&mut times).await?;
    let wall = began.elapsed();
    let cpu = cpu_time_of(coordinator)?.saturating_sub(cpu_before);
    let mut row = Row::new(case, "farrier-coordinator").with_times(times);
    row.wall_s = Some(wall.as_secs_f64());
    row.cpu_s = Some(cpu.as_secs_f64());
    row.peak_rss_bytes = Some(memory_of(coordinator)?.peak_rss_bytes);
    Ok(row)
}

/// Submits one no-op job for each of `nodes` (a node may be there more than once), waits for all results, and gives the times
/// from submission to acceptance.
async fn run_jobs(observer: &mut Observer, nodes: &[NodeId]) -> anyhow::Result<Vec<Duration>> {
    let submitted: HashMap<JobId, Instant> = observer.submit(nodes).await?.into_iter().collect();
    let mut accepted = HashMap::new();
    let mut ended = HashSet::new();
    while ended.len() < submitted.len() || accepted.len() < submitted.len() {
        match observer.next().await? {
            (came, AgentEvent::Accepted(event)) => {
                if let Some(sent) = submitted.get(&event.reference.job) {
                    accepted.entry(event.reference.job).or_insert_with(|| came.duration_since(*sent));
                }
            }
            (_, AgentEvent::Result(event)) if submitted.contains_key(&event.reference.job) => {
                ensure!(event.error.is_none(), "a no-op job has failed: {:?}", event.error);
                ended.insert(event.reference.job);
            }
            _ => {}
        }
    }
    Ok(accepted.into_values().collect())
}

/// The largest peak and processor time of all agents.
fn agents_row(case: &str, agents: &[Agent]) -> anyhow::Result<Row> {
    let mut row = Row::new(case, "farrier-agent").with("agents", agents.len());
    for agent in agents {
        let pid = agent.pid().context("an agent does not run")?;
        row.peak_rss_bytes = row.peak_rss_bytes.max(Some(memory_of(pid)?.peak_rss_bytes));
        row.cpu_s = Some(row.cpu_s.unwrap_or(0.0).max(cpu_time_of(pid)?.as_secs_f64()));
    }
    Ok(row)
}

/// Start to hello, and the memory of an agent that deploys.
async fn one_agent(workspace: &Workspace, dir: &Path) -> anyhow::Result<Vec<Row>> {
    println!("starting one agent {STARTS} times");
    let builder = as_in_production(workspace).agents(1).lab_disks(&[2 * IMAGE_MIB * MIB]);
    let (mut fleet, api) = builder.start(dir).await?;
    let mut observer = Observer::start(&fleet.rabbitmq.amqp_url()).await?;
    let hello = Row::new("agent start to hello", "farrier-agent")
        .with_times(starts(&mut fleet.agents[0], &mut observer).await?);

    println!("deploying an image of {IMAGE_MIB} MiB");
    let web = dir.join("web");
    let (image, nginx) = blocking(move || {
        fs::create_dir_all(&web)?;
        let image = disk_image::build(&web, IMAGE_MIB)?;
        Ok((image, Nginx::start(&web.join("nginx"), &web)?))
    })
    .await?;
    let agent = &fleet.agents[0];
    api.node_is_alive(&agent.node(), DEPLOYED_WITHIN).await?;
    let began = Instant::now();
    let job = api
        .submit(&json!({
            "node": agent.node(),
            "verb": "deploy",
            "spec": { "image_source": nginx.url("disk.img"), "image_checksum": image.sha256_hex },
        }))
        .await?;
    api.job_is(&job, "succeeded", DEPLOYED_WITHIN).await?;
    let mut deploying = agents_row("agent deploying", &fleet.agents)?.with("image_bytes", image.size);
    deploying.wall_s = Some(began.elapsed().as_secs_f64());
    Ok(vec![hello, deploying])
}

/// The times from starting an agent until its hello is seen on the broker.
async fn starts(agent: &mut Agent, observer: &mut Observer) -> anyhow::Result<Vec<Duration>> {
    let mut times = Vec::with_capacity(STARTS);
    let mut boots = HashSet::new();
    for _ in 0..STARTS {
        agent.kill();
        let began = Instant::now();
        agent.start()?;
        loop {
            // An earlier boot may be heard late.
            if let (came, AgentEvent::Hello(hello)) = observer.next().await?
                && boots.insert(hello.origin.boot_id)
                && came > began
            {
                times.push(came.duration_since(began));
                break;
            }
        }
    }
    Ok(times)
}

fn sizes(workspace: &Workspace) -> anyhow::Result<Vec<Row>> {
    let row = |name| Ok(Row::new("release binary", name).with("size_bytes", size_of(workspace, name)?));
    BINARIES.into_iter().map(row).collect()
}

fn agent_binary(workspace: &Workspace) -> anyhow::Result<u64> {
    size_of(workspace, BINARIES[0])
}

fn size_of(workspace: &Workspace, name: &str) -> anyhow::Result<u64> {
    let path = workspace.release_dir().join(name);
    Ok(fs::metadata(&path).with_context(|| format!("cannot look at {}", path.display()))?.len())
}

fn peak(rows: &[Row], case: &str) -> anyhow::Result<u64> {
    let row = rows.iter().find(|row| row.case == case);
    row.and_then(|row| row.peak_rss_bytes).with_context(|| format!("nothing was measured for {case:?}"))
}
