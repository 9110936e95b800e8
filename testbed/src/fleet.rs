//! A whole fleet: RabbitMQ, a coordinator, and agents over lab disks.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use uuid::Uuid;

use crate::agent::{Agent, AgentSpec};
use crate::api::Api;
use crate::coordinator::{Coordinator, CoordinatorSpec};
use crate::rabbitmq::{Options, RabbitMq};
use crate::wait::blocking;
use crate::{binaries, lab_disk, ports};

/// How long every agent may take from its start to being known.
const HELLO_WITHIN: Duration = Duration::from_secs(60);
const MIB: u64 = 1 << 20;

/// How a fleet shall be. The defaults are those of a test: two agents in one rack with two small lab disks each, enrolled at
/// their first hello, short heartbeats and leases.
#[derive(Clone, Debug)]
pub struct Builder {
    bin_dir: Option<PathBuf>,
    agents: usize,
    racks: Vec<(String, String)>,
    lab_disk_bytes: Vec<u64>,
    auto_enroll: bool,
    heartbeat_seconds: u32,
    lease_seconds: u32,
    accept_seconds: u32,
    token: Option<String>,
    database: Option<PathBuf>,
    agent_metrics: bool,
    agent_arguments: Vec<OsString>,
    coordinator_arguments: Vec<OsString>,
    rabbitmq: Options,
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            bin_dir: None,
            agents: 2,
            racks: vec![("iad1".to_owned(), "r12".to_owned())],
            lab_disk_bytes: vec![64 * MIB, 32 * MIB],
            auto_enroll: true,
            heartbeat_seconds: 1,
            lease_seconds: 5,
            accept_seconds: 20,
            token: None,
            database: None,
            agent_metrics: false,
            agent_arguments: Vec::new(),
            coordinator_arguments: Vec::new(),
            rabbitmq: Options::default(),
        }
    }
}

impl Builder {
    /// Where the binaries are; without it see [`binaries::find`].
    #[must_use]
    pub fn bin_dir(mut self, dir: &Path) -> Self {
        self.bin_dir = Some(dir.to_owned());
        self
    }

    /// How many agents.
    #[must_use]
    pub fn agents(mut self, agents: usize) -> Self {
        self.agents = agents;
        self
    }

    /// The racks, as site and rack; the agents stand in them by turns.
    #[must_use]
    pub fn racks(mut self, racks: &[(&str, &str)]) -> Self {
        self.racks = racks.iter().map(|(site, rack)| ((*site).to_owned(), (*rack).to_owned())).collect();
        self
    }

    /// The sizes of the lab disks of each agent. The second agent's are one MiB larger, and so on, so that no two are alike.
    #[must_use]
    pub fn lab_disks(mut self, bytes: &[u64]) -> Self {
        self.lab_disk_bytes = bytes.to_vec();
        self
    }

    /// Whether nodes are enrolled at their first hello.
    #[must_use]
    pub fn auto_enroll(mut self, auto_enroll: bool) -> Self {
        self.auto_enroll = auto_enroll;
        self
    }

    /// Seconds between heartbeats.
    #[must_use]
    pub fn heartbeat_seconds(mut self, seconds: u32) -> Self {
        self.heartbeat_seconds = seconds;
        self
    }

    /// Seconds without a heartbeat after which a running command is interrupted.
    #[must_use]
    pub fn lease_seconds(mut self, seconds: u32) -> Self {
        self.lease_seconds = seconds;
        self
    }

    /// Seconds within which a command must be accepted.
    #[must_use]
    pub fn accept_seconds(mut self, seconds: u32) -> Self {
        self.accept_seconds = seconds;
        self
    }

    /// The token of the API.
    #[must_use]
    pub fn token(mut self, token: &str) -> Self {
        self.token = Some(token.to_owned());
        self
    }

    /// Where the coordinator keeps its database; else beside the rest of its files.
    #[must_use]
    pub fn database(mut self, path: &Path) -> Self {
        self.database = Some(path.to_owned());
        self
    }

    /// Whether every agent exports metrics, on a port of its own.
    #[must_use]
    pub fn agent_metrics(mut self, on: bool) -> Self {
        self.agent_metrics = on;
        self
    }

    /// More flags for every agent.
    #[must_use]
    pub fn agent_arguments<T: Into<OsString>>(mut self, arguments: impl IntoIterator<Item = T>) -> Self {
        self.agent_arguments = arguments.into_iter().map(Into::into).collect();
        self
    }

    /// More flags for the coordinator.
    #[must_use]
    pub fn coordinator_arguments<T: Into<OsString>>(
        mut self,
        arguments: impl IntoIterator<Item = T>,
    ) -> Self {
        self.coordinator_arguments = arguments.into_iter().map(Into::into).collect();
        self
    }

    /// What RabbitMQ shall have beside the usual.
    #[must_use]
    pub fn rabbitmq(mut self, options: Options) -> Self {
        self.rabbitmq = options;
        self
    }

    /// Starts RabbitMQ and fills the lab disks, all below `dir`; the coordinator and the agents are there and do not run yet.
    ///
    /// # Errors
    /// When the workers are not built, RabbitMQ does not start or a file cannot be written.
    pub async fn prepare(self, dir: &Path) -> anyhow::Result<Fleet> {
        ensure!(!self.racks.is_empty(), "a fleet needs a rack");
        fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
        let dir = dir.canonicalize()?;
        let (agent, coordinator) = (self.binary("farrier-agent")?, self.binary("farrier-coordinator")?);
        let (broker_dir, options) = (dir.join("rabbitmq"), self.rabbitmq);
        let starting = blocking(move || RabbitMq::start_with(&broker_dir, options));
        let (rabbitmq, lab_disks) = tokio::try_join!(starting, self.lab_disks_in(&dir))?;
        let broker = rabbitmq.amqp_url();
        let logs = dir.join("log");
        let coordinator = Coordinator::new(self.coordinator_spec(coordinator, &broker, &dir), &dir, &logs)?;
        let agents = lab_disks
            .into_iter()
            .enumerate()
            .map(|(index, disks)| Agent::new(self.agent_spec(&agent, index, &broker, disks)?, &logs))
            .collect::<anyhow::Result<_>>()?;
        Ok(Fleet { coordinator, agents, rabbitmq, dir, auto_enroll: self.auto_enroll })
    }

    /// The same, and starts everything. Where nodes are enrolled at their first hello, it returns once all agents are alive.
    ///
    /// # Errors
    /// When a part does not start: with the end of its log.
    pub async fn start(self, dir: &Path) -> anyhow::Result<(Fleet, Api)> {
        let mut fleet = self.prepare(dir).await?;
        let api = fleet.start().await?;
        Ok((fleet, api))
    }

    fn coordinator_spec(&self, program: PathBuf, broker: &str, dir: &Path) -> CoordinatorSpec {
        CoordinatorSpec {
            program,
            broker: broker.to_owned(),
            database: self.database.clone().unwrap_or_else(|| dir.join("farrier.db")),
            auto_enroll: self.auto_enroll,
            lease_seconds: self.lease_seconds,
            accept_seconds: self.accept_seconds,
            token: self.token.clone(),
            arguments: self.coordinator_arguments.clone(),
        }
    }

    fn agent_spec(
        &self,
        program: &Path,
        index: usize,
        broker: &str,
        lab_disks: Vec<PathBuf>,
    ) -> anyhow::Result<AgentSpec> {
        let (site, rack) = self.racks[index % self.racks.len()].clone();
        Ok(AgentSpec {
            program: program.to_owned(),
            node: Uuid::now_v7(),
            name: node_name(index),
            site,
            rack,
            broker: broker.to_owned(),
            lab_disks,
            heartbeat_seconds: self.heartbeat_seconds,
            metrics_listen: self.agent_metrics.then(ports::free_address).transpose()?,
            arguments: self.agent_arguments.clone(),
        })
    }

    fn binary(&self, name: &str) -> anyhow::Result<PathBuf> {
        match &self.bin_dir {
            Some(dir) => binaries::find_in(&[dir], name),
            None => binaries::find(name),
        }
    }

    /// The lab disks of every agent, in files that are named after the node and the place of the disk.
    async fn lab_disks_in(&self, dir: &Path) -> anyhow::Result<Vec<Vec<PathBuf>>> {
        let dir = dir.join("disks");
        let (agents, sizes) = (self.agents, self.lab_disk_bytes.clone());
        blocking(move || {
            fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
            (0..agents)
                .map(|agent| {
                    let larger = u64::try_from(agent)? * MIB;
                    let disks = sizes.iter().enumerate().map(|(place, bytes)| {
                        let path = dir.join(format!("{}-disk{place}", node_name(agent)));
                        lab_disk::create(&path, bytes + larger)?;
                        Ok(path)
                    });
                    disks.collect()
                })
                .collect()
        })
        .await
    }
}

fn node_name(index: usize) -> String {
    format!("node-{}", index + 1)
}

/// A fleet. Its parts may be stopped, killed and started again one by one; all are killed when it is dropped.
#[derive(Debug)]
pub struct Fleet {
    // Dropped in this order: what depends on the broker goes before it.
    /// The agents, named `node-1`, `node-2`, ...
    pub agents: Vec<Agent>,
    /// The coordinator.
    pub coordinator: Coordinator,
    /// The broker.
    pub rabbitmq: RabbitMq,
    dir: PathBuf,
    auto_enroll: bool,
}

impl Fleet {
    /// A fleet as tests need it; change what is to be otherwise.
    #[must_use]
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// The directory of all its files.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The directory of its logs.
    #[must_use]
    pub fn logs(&self) -> PathBuf {
        self.dir.join("log")
    }

    /// Starts the coordinator, then the agents. See [`Builder::start`].
    ///
    /// # Errors
    /// When a part does not start: with the end of its log.
    pub async fn start(&mut self) -> anyhow::Result<Api> {
        let api = self.coordinator.start().await?;
        api.is_ready(HELLO_WITHIN).await?;
        for agent in &mut self.agents {
            agent.start()?;
        }
        if self.auto_enroll {
            self.all_are_alive(&api).await?;
        }
        Ok(api)
    }

    /// Waits until every agent is alive.
    ///
    /// # Errors
    /// When one is not in time: with the end of its log.
    pub async fn all_are_alive(&mut self, api: &Api) -> anyhow::Result<()> {
        for agent in &mut self.agents {
            if let Err(error) = api.node_is_alive(&agent.node(), HELLO_WITHIN).await {
                agent.check()?;
                return Err(error.context(format!("see {}", agent.log().display())));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    /// Programs that stand for the workers: they say how they were called and wait.
    fn stand_ins(dir: &Path) {
        for name in ["farrier-agent", "farrier-coordinator"] {
            let path = dir.join(name);
            fs::write(&path, "#!/bin/sh\necho \"$@\"\nexec sleep 600\n").unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
    }

    #[tokio::test]
    async fn is_prepared_as_it_was_asked_for_and_ends_with_its_handle() {
        let dir = tempfile::tempdir().unwrap();
        stand_ins(dir.path());
        let mut fleet = Fleet::builder()
            .bin_dir(dir.path())
            .agents(3)
            .racks(&[("iad1", "r12"), ("iad1", "r13")])
            .lab_disks(&[2 * MIB, MIB])
            .prepare(&dir.path().join("fleet"))
            .await
            .unwrap();
        let racks: Vec<_> = fleet.agents.iter().map(|agent| agent.spec().rack.as_str()).collect();
        assert_eq!(racks, ["r12", "r13", "r12"]);
        let size =
            |agent: usize, disk: usize| fs::metadata(fleet.agents[agent].lab_disk(disk)).unwrap().len();
        assert_eq!([size(0, 0), size(0, 1), size(2, 0)], [2 * MIB, MIB, 4 * MIB]);

        let agent = &mut fleet.agents[0];
        agent.start().unwrap();
        let called = crate::wait::wait_for("the agent says how it was called", HELLO_WITHIN, async || {
            Ok(Some(fs::read_to_string(agent.log())?).filter(|log| log.ends_with('\n')))
        });
        let called = called.await.unwrap();
        assert!(called.contains(&agent.node()) && called.contains("node-1-disk1"), "{called}");
        assert!(!called.contains("amqp://"), "the broker's password is for all to see: {called}");

        let pids = [agent.pid().unwrap(), fleet.rabbitmq.pid().unwrap()];
        drop(fleet);
        for pid in pids {
            assert!(!Path::new(&format!("/proc/{pid}")).exists(), "{pid} is left");
        }
    }

    #[tokio::test]
    async fn says_what_is_not_built() {
        let dir = tempfile::tempdir().unwrap();
        let error = Fleet::builder().bin_dir(dir.path()).prepare(dir.path()).await.unwrap_err().to_string();
        assert!(error.contains("farrier-agent is not in"), "{error}");
    }
}
