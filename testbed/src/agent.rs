//! An agent as a child process, over lab disks.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;

use nix::sys::signal::Signal;
use uuid::Uuid;

use crate::worker::Worker;

/// What an agent is started with.
#[derive(Clone, Debug)]
pub struct AgentSpec {
    /// The binary.
    pub program: PathBuf,
    /// The node that it speaks for.
    pub node: Uuid,
    /// The name of the node: of its log, and for enrolling it.
    pub name: String,
    /// The site.
    pub site: String,
    /// The rack.
    pub rack: String,
    /// The broker.
    pub broker: String,
    /// The disks that it may touch.
    pub lab_disks: Vec<PathBuf>,
    /// See `--heartbeat-seconds`.
    pub heartbeat_seconds: u32,
    /// See `--metrics-listen`.
    pub metrics_listen: Option<SocketAddr>,
    /// More flags.
    pub arguments: Vec<OsString>,
}

/// An agent. Killed when dropped, and when this process dies.
#[derive(Debug)]
pub struct Agent {
    spec: AgentSpec,
    worker: Worker,
}

impl Agent {
    /// An agent that does not run yet; its log goes to `<logs>/agent-<name>.log`.
    ///
    /// # Errors
    /// When the directory cannot be made.
    pub fn new(spec: AgentSpec, logs: &Path) -> anyhow::Result<Self> {
        let worker = Worker::new(&format!("agent-{}", spec.name), logs)?;
        Ok(Self { spec, worker })
    }

    /// What it is started with. A change holds from the next start.
    pub fn spec_mut(&mut self) -> &mut AgentSpec {
        &mut self.spec
    }

    /// What it is started with.
    #[must_use]
    pub fn spec(&self) -> &AgentSpec {
        &self.spec
    }

    /// The UUID of its node, as text.
    #[must_use]
    pub fn node(&self) -> String {
        self.spec.node.to_string()
    }

    /// One of its lab disks.
    ///
    /// # Panics
    /// When it has fewer.
    #[must_use]
    pub fn lab_disk(&self, index: usize) -> &Path {
        &self.spec.lab_disks[index]
    }

    /// Starts it: a new boot.
    ///
    /// # Errors
    /// When it runs already or cannot be started.
    pub fn start(&mut self) -> anyhow::Result<()> {
        let mut command = Command::new(&self.spec.program);
        command
            .args(["--node", &self.node(), "--site", &self.spec.site, "--rack", &self.spec.rack])
            .args(["--heartbeat-seconds", &self.spec.heartbeat_seconds.to_string()])
            // Not as a flag: the arguments of a process are for all to see.
            .env("FARRIER_BROKER", &self.spec.broker)
            .env_remove("FARRIER_LAB_DISK");
        for disk in &self.spec.lab_disks {
            command.arg("--lab-disk").arg(disk);
        }
        if let Some(address) = self.spec.metrics_listen {
            command.args(["--metrics-listen", &address.to_string()]);
        }
        command.args(&self.spec.arguments);
        self.worker.start(&command)
    }

    /// Sends `SIGTERM` and waits until it has drained.
    ///
    /// # Errors
    /// When it does not run or does not end within `bound`.
    pub async fn stop(&mut self, bound: Duration) -> anyhow::Result<ExitStatus> {
        self.worker.stop(bound).await
    }

    /// Kills it with `SIGKILL`.
    pub fn kill(&mut self) {
        self.worker.kill();
    }

    /// Waits until it has ended by itself.
    ///
    /// # Errors
    /// When it does not within `bound`.
    pub async fn ended(&mut self, bound: Duration) -> anyhow::Result<ExitStatus> {
        self.worker.ended(bound).await
    }

    /// Sends it a signal: `SIGSTOP` freezes it, `SIGCONT` thaws it.
    ///
    /// # Errors
    /// When it does not run.
    pub fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        self.worker.signal(signal)
    }

    /// Fails when it has ended by itself.
    ///
    /// # Errors
    /// How it ended, with the end of its log.
    pub fn check(&mut self) -> anyhow::Result<()> {
        self.worker.check()
    }

    /// Its log.
    #[must_use]
    pub fn log(&self) -> &Path {
        self.worker.log()
    }

    /// Its process, while it runs.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.worker.pid()
    }
}
