//! What the demo plays on: the broker, the fleet, the image and the server that it comes from.

use std::fs;
use std::fs::File;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, anyhow, ensure};
use farrier_testbed::agent::Agent;
use farrier_testbed::api::Api;
use farrier_testbed::binaries;
use farrier_testbed::disk_image::{self, DiskImage};
use farrier_testbed::fleet::Fleet;
use farrier_testbed::http::Nginx;
use farrier_testbed::wait::blocking;
use nix::fcntl::{Flock, FlockArg};
use serde_json::Value;
use tokio::process::Command;
use tokio::time::timeout;

use super::DemoArgs;
use crate::workspace::Workspace;

const MIB: u64 = 1 << 20;
const RACKS: [(&str, &str); 2] = [("iad1", "r12"), ("iad1", "r13")];
/// How long one call of the `farrier` command may take.
const COMMAND_WITHIN: Duration = Duration::from_secs(30);

/// Everything that runs. All of it ends when this is dropped, and when this process dies.
#[derive(Debug)]
pub(super) struct Stage {
    // Dropped in this order: the lock is the last to go.
    pub(super) fleet: Fleet,
    pub(super) api: Api,
    pub(super) nginx: Nginx,
    pub(super) image: DiskImage,
    dir: PathBuf,
    farrier: PathBuf,
    _lock: Flock<File>,
}

impl Stage {
    /// Sets it, from nothing. What an earlier run has left is removed first.
    pub(super) async fn set(args: &DemoArgs, workspace: &Workspace) -> anyhow::Result<Self> {
        let dir = workspace.target().join("demo");
        let lock = lock(&workspace.target().join("demo.lock"))?;
        remove(&dir)?;
        println!("setting the stage in {}", dir.display());

        let served = blocking({
            let (web, mib) = (dir.join("web"), args.image_mib);
            move || serve_image(&web, mib)
        });
        let fleet = Fleet::builder()
            .bin_dir(&workspace.release_dir())
            .agents(args.agents.into())
            .racks(&RACKS)
            .lab_disks(&[args.image_mib * MIB * 5 / 4, args.image_mib * MIB / 2])
            .auto_enroll(false)
            .agent_metrics(true)
            .heartbeat_seconds(2)
            .prepare(&dir);
        let ((image, nginx), mut fleet) = tokio::try_join!(served, fleet)?;
        let api = fleet.start().await?;
        let farrier = binaries::find_in(&[&workspace.release_dir()], "farrier")?;
        Ok(Self { fleet, api, nginx, image, dir, farrier, _lock: lock })
    }

    /// Enrols every node by the `farrier` command, and waits until their agents are alive.
    pub(super) async fn enroll(&mut self) -> anyhow::Result<()> {
        for agent in &self.fleet.agents {
            let spec = agent.spec();
            let place = ["--name", &spec.name, "--site", &spec.site, "--rack", &spec.rack];
            self.farrier(&[&["node", "enroll", &agent.node()][..], &place].concat()).await?;
        }
        self.fleet.all_are_alive(&self.api).await
    }

    /// The documents that a call of the `farrier` command prints with `--json`.
    pub(super) async fn farrier(&self, arguments: &[&str]) -> anyhow::Result<Vec<Value>> {
        let shown = || format!("farrier {}", arguments.join(" "));
        let mut command = Command::new(&self.farrier);
        command.args(self.globals()).args(arguments).stdin(Stdio::null()).kill_on_drop(true);
        let output = timeout(COMMAND_WITHIN, command.output())
            .await
            .with_context(|| format!("`{}` has not ended after {COMMAND_WITHIN:?}", shown()))?
            .with_context(|| format!("cannot start {}", self.farrier.display()))?;
        ensure!(
            output.status.success(),
            "`{}` has failed ({}): {}",
            shown(),
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        );
        serde_json::Deserializer::from_slice(&output.stdout)
            .into_iter()
            .collect::<Result<_, _>>()
            .with_context(|| format!("`{}` did not print JSON", shown()))
    }

    /// The command that follows what happens, one JSON document a line. It dies with this process.
    pub(super) fn events_command(&self) -> Command {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]).arg(&self.farrier).args(self.globals()).arg("events");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
        command
    }

    fn globals(&self) -> [&str; 3] {
        ["--api", self.api.url(), "--json"]
    }

    /// The path of the `farrier` command.
    pub(super) fn farrier_path(&self) -> &Path {
        &self.farrier
    }

    /// The URL of the image.
    pub(super) fn image_url(&self) -> String {
        self.nginx.url("disk.img")
    }

    /// The digest of the image, as a job gives it.
    pub(super) fn image_checksum(&self) -> String {
        format!("sha256:{}", self.image.sha256_hex)
    }

    /// The directory of the metrics that [`Stage::save_metrics`] writes.
    pub(super) fn metrics_dir(&self) -> PathBuf {
        self.dir.join("metrics")
    }

    /// Writes what every worker exports at the end to a file: the workers may be gone when somebody wants to look.
    pub(super) async fn save_metrics(&self) -> anyhow::Result<()> {
        let dir = self.metrics_dir();
        let mut urls = vec![("coordinator".to_owned(), format!("{}/metrics", self.api.url()))];
        urls.extend(
            self.fleet.agents.iter().filter_map(|agent| {
                Some((format!("agent-{}", agent.spec().name), agent_metrics_url(agent)?))
            }),
        );
        tokio::fs::create_dir_all(&dir).await?;
        for (name, url) in urls {
            let text = self.api.text_at(&url).await?;
            tokio::fs::write(dir.join(format!("{name}.prom")), text).await?;
        }
        Ok(())
    }
}

/// Where an agent exports its metrics.
pub(super) fn agent_metrics_url(agent: &Agent) -> Option<String> {
    agent.spec().metrics_listen.map(|address| format!("http://{address}/metrics"))
}

/// How the disk that a node is deployed to is found: by its serial number, never by the order of the disks.
pub(super) fn root_serial(agent: &Agent) -> anyhow::Result<String> {
    let name = agent.lab_disk(0).file_name().context("a lab disk is a file")?;
    Ok(name.to_string_lossy().into_owned())
}

fn serve_image(web: &Path, mib: u64) -> anyhow::Result<(DiskImage, Nginx)> {
    let root = web.join("root");
    fs::create_dir_all(&root).with_context(|| format!("cannot make {}", root.display()))?;
    let image = disk_image::build(&root, mib)?;
    let nginx = Nginx::start(web, &root)?;
    Ok((image, nginx))
}

/// Two demos at a time would remove each other's files.
fn lock(path: &Path) -> anyhow::Result<Flock<File>> {
    let file = File::create(path).with_context(|| format!("cannot make {}", path.display()))?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock)
        .map_err(|_| anyhow!("another demo runs: end it first ({} is locked)", path.display()))
}

fn remove(dir: &Path) -> anyhow::Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", dir.display()))
        }
        _ => Ok(()),
    }
}
