//! The coordinator as a child process.

use std::ffi::OsString;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;

use anyhow::Context as _;
use nix::sys::signal::Signal;

use crate::api::Api;
use crate::wait::wait_for;
use crate::worker::Worker;

/// How long it may take to listen, and then to be ready.
const READY_WITHIN: Duration = Duration::from_secs(30);

/// What a coordinator is started with.
#[derive(Clone, Debug)]
pub struct CoordinatorSpec {
    /// The binary.
    pub program: PathBuf,
    /// The broker.
    pub broker: String,
    /// The SQLite database.
    pub database: PathBuf,
    /// Enrols every node that says hello.
    pub auto_enroll: bool,
    /// See `--lease-seconds`.
    pub lease_seconds: u32,
    /// See `--accept-seconds`.
    pub accept_seconds: u32,
    /// The token that requests must carry.
    pub token: Option<String>,
    /// More flags.
    pub arguments: Vec<OsString>,
}

/// A coordinator. Killed when dropped, and when this process dies.
#[derive(Debug)]
pub struct Coordinator {
    spec: CoordinatorSpec,
    dir: PathBuf,
    worker: Worker,
    address: Option<SocketAddr>,
}

impl Coordinator {
    /// A coordinator that does not run yet; its log goes to `<logs>/coordinator.log`, its other files to `dir`.
    ///
    /// # Errors
    /// When a directory cannot be made.
    pub fn new(spec: CoordinatorSpec, dir: &Path, logs: &Path) -> anyhow::Result<Self> {
        fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
        let worker = Worker::new("coordinator", logs)?;
        Ok(Self { spec, dir: dir.to_owned(), worker, address: None })
    }

    /// Starts it, or starts it again with the same database at the same address, and waits until its API answers. It may not
    /// have reached the broker by then: see [`Api::is_ready`].
    ///
    /// # Errors
    /// When it ends, or does not listen: with the end of its log.
    pub async fn start(&mut self) -> anyhow::Result<Api> {
        let listen_file = self.dir.join("coordinator.address");
        let _ = fs::remove_file(&listen_file);
        self.worker.start(&self.command(&listen_file))?;
        let worker = &mut self.worker;
        let mut ended = None;
        let address = wait_for("the coordinator listens", READY_WITHIN, async || {
            // One that has ended will never listen.
            if let Err(error) = worker.check() {
                ended = Some(error);
                return Ok(Some(None));
            }
            let written = fs::read_to_string(&listen_file).unwrap_or_default();
            Ok(written.trim().parse().ok().map(Some))
        })
        .await;
        if let Some(error) = ended {
            self.worker.kill();
            return Err(error);
        }
        let address = address.with_context(|| self.worker.end_of_log())?.context("an address was found")?;
        self.address = Some(address);
        Api::new(address, self.spec.token.clone())
    }

    /// Where its API listens, once it has.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        self.address
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

    /// Its database.
    #[must_use]
    pub fn database(&self) -> &Path {
        &self.spec.database
    }

    /// Sends `SIGTERM` and waits until it has ended.
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

    /// Sends it a signal.
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

    fn command(&self, listen_file: &Path) -> Command {
        let listen = self.address.map_or_else(|| "127.0.0.1:0".to_owned(), |address| address.to_string());
        let mut command = Command::new(&self.spec.program);
        command
            .arg("--database")
            .arg(&self.spec.database)
            .args(["--listen", &listen])
            .arg("--listen-file")
            .arg(listen_file)
            .args(["--lease-seconds", &self.spec.lease_seconds.to_string()])
            .args(["--accept-seconds", &self.spec.accept_seconds.to_string()])
            // Not as a flag: the arguments of a process are for all to see.
            .env("FARRIER_BROKER", &self.spec.broker);
        if self.spec.auto_enroll {
            command.arg("--auto-enroll");
        }
        match &self.spec.token {
            Some(token) => command.env("FARRIER_TOKEN", token),
            None => command.env_remove("FARRIER_TOKEN"),
        };
        command.args(&self.spec.arguments);
        command
    }
}
