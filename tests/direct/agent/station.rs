//! One agent, its broker, and what a test in the place of the coordinator says and hears.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::time::Duration;

use chrono::{TimeDelta, Utc};
use farrier::broker::{Broker, BrokerConfig, Outgoing, Role, Subscription, topology};
use farrier::wire::{
    Afterwards, AgentEvent, AgentState, BootId, CommandId, CommandRef, CommandResult, DeploySpec, Digest,
    Event, Heartbeat, Hello, JobId, NodeId, NoopSpec, Outcome, Payload, RootDeviceHints, RunCommand, Work,
};
use farrier_testbed::disk_image::disk_like;
use farrier_testbed::fleet::Fleet;
use farrier_testbed::wait::wait_for;
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;
use tokio::time::timeout;

/// The bound on every wait: what takes seconds on a busy machine is not late yet.
pub(crate) const SOON: Duration = Duration::from_secs(120);
/// What kills the agent, as the power that goes does.
pub(crate) const GOES: &str = "kill -KILL $PPID";

pub(crate) struct Station {
    // Dropped in this order: what depends on the broker goes before it.
    pub(crate) results: Subscription,
    pub(crate) telemetry: Subscription,
    pub(crate) broker: Broker,
    pub(crate) fleet: Fleet,
    pub(crate) hello: Hello,
    dir: TempDir,
}

impl Station {
    /// With a power command that notes what it was told and then does this; with none where there is none.
    pub(crate) async fn start(power: Option<&str>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut arguments = vec!["--image-stall-seconds".to_owned(), "2".to_owned()];
        if let Some(then) = power {
            let path = dir.path().join("power");
            let script = format!("#!/bin/sh\necho \"$1\" >> {}\n{then}\n", dir.path().join("told").display());
            fs::write(&path, script).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
            arguments.extend(["--power-command".to_owned(), path.display().to_string()]);
        }
        let fleet = Fleet::builder().agents(1).agent_arguments(arguments);
        let mut fleet = fleet.prepare(&dir.path().join("fleet")).await.unwrap();
        let url = fleet.rabbitmq.amqp_url().parse().unwrap();
        let config = BrokerConfig { url, ca: None, connection_name: "test".into() };
        let broker = Broker::start(config, Role::Coordinator);
        timeout(SOON, broker.connected()).await.unwrap();
        broker.declare_node_queue(NodeId(fleet.agents[0].spec().node)).await.unwrap();
        fleet.agents[0].start().unwrap();
        let mut results = broker.subscribe(topology::RESULTS, 1);
        let telemetry = broker.subscribe(topology::TELEMETRY, 1);
        let hello = next(&mut results, "hello", |event| match event {
            AgentEvent::Hello(hello) => Some(hello),
            _ => None,
        });
        let hello = hello.await;
        Self { results, telemetry, broker, fleet, hello, dir }
    }

    fn node(&self) -> NodeId {
        self.hello.origin.node
    }

    pub(crate) fn boot(&self) -> BootId {
        self.hello.origin.boot_id
    }

    /// A command for this boot.
    pub(crate) fn command(&self, work: Work) -> RunCommand {
        RunCommand {
            reference: CommandRef { job: JobId::new(), command: CommandId::new(), attempt: 1 },
            node: self.node(),
            boot_id: self.boot(),
            expires_at: Utc::now() + TimeDelta::hours(1),
            afterwards: Afterwards::Stay,
            work,
        }
    }

    pub(crate) fn noop(&self) -> RunCommand {
        self.command(Work::Noop(NoopSpec {}))
    }

    pub(crate) async fn send<T: Payload>(&self, command: T) {
        let event = Event::new("/coordinator", "test", command);
        self.publish(Outgoing::command(&event, self.node())).await;
    }

    async fn publish(&self, message: Outgoing) {
        // The broker may just have come back.
        let published = async || Ok(Some(self.broker.publish(message.clone()).await?));
        wait_for("the command is published", SOON, published).await.unwrap();
    }

    /// Sends a command as it would stand on the wire if it were changed so.
    pub(crate) async fn send_changed(&self, command: &RunCommand, key: &str, value: &str) {
        let event = Event::new("/coordinator", "test", command.clone());
        let mut outgoing = Outgoing::command(&event, self.node());
        let mut body: serde_json::Value = serde_json::from_slice(&outgoing.body).unwrap();
        body["data"][key] = value.into();
        outgoing.body = body.to_string().into_bytes();
        self.publish(outgoing).await;
    }

    pub(crate) async fn result(&mut self, command: &RunCommand) -> CommandResult {
        let reference = command.reference;
        next(&mut self.results, "the result", |event| match event {
            AgentEvent::Result(result) if result.reference == reference => Some(*result),
            _ => None,
        })
        .await
    }

    /// Sends a command and waits until it has succeeded.
    pub(crate) async fn succeeds(&mut self, command: &RunCommand) -> CommandResult {
        self.send(command.clone()).await;
        let result = self.result(command).await;
        assert_eq!(result.outcome, Outcome::Succeeded, "{result:#?}");
        result
    }

    /// The next heartbeat of an agent in this state.
    pub(crate) async fn heartbeat(&mut self, state: AgentState) -> Heartbeat {
        next(&mut self.telemetry, "a heartbeat", |event| match event {
            AgentEvent::Heartbeat(heartbeat) if heartbeat.state == state => Some(heartbeat),
            _ => None,
        })
        .await
    }

    /// A line of the journal that has this in it.
    pub(crate) async fn line(&mut self, part: &str) -> String {
        next(&mut self.telemetry, part, |event| match event {
            AgentEvent::Log(log) if log.message.contains(part) => Some(log.message),
            _ => None,
        })
        .await
    }

    /// Waits until the log of the agent has this in it.
    pub(crate) async fn logs(&self, part: &str) {
        let log = self.fleet.agents[0].log();
        let says = async || Ok(fs::read_to_string(log)?.contains(part).then_some(()));
        wait_for(&format!("the agent logs {part:?}"), SOON, says).await.unwrap();
    }

    /// What the power command was told so far.
    pub(crate) fn told(&self) -> String {
        fs::read_to_string(self.dir.path().join("told")).unwrap_or_default()
    }

    pub(crate) fn disk(&self) -> PathBuf {
        self.fleet.agents[0].lab_disk(0).to_owned()
    }

    /// A deploy of [`image`] to the first lab disk.
    pub(crate) fn deploy(&self, url: &str) -> RunCommand {
        let serial = self.disk().file_name().unwrap().to_str().unwrap().to_owned();
        let mut spec = DeploySpec::new(url.parse().unwrap(), Digest::Sha256(Sha256::digest(image()).into()));
        spec.root_device = Some(RootDeviceHints { serial: Some(serial), ..RootDeviceHints::default() });
        self.command(Work::Deploy(Box::new(spec)))
    }

    /// That the first lab disk holds the image, whose end does not reach that of the disk.
    pub(crate) fn assert_holds_image(&self) {
        let (disk, image) = (fs::read(self.disk()).unwrap(), image());
        assert!(disk[..image.len()] == image, "the disk holds something else");
    }
}

/// The image of all deploys.
pub(crate) fn image() -> Vec<u8> {
    disk_like(8 << 20)
}

/// The first event that is `wanted`. Those before it are dropped.
pub(crate) async fn next<T>(
    queue: &mut Subscription,
    what: &str,
    wanted: impl Fn(AgentEvent) -> Option<T>,
) -> T {
    let looking = async {
        loop {
            let delivery = queue.next().await.unwrap();
            let event = AgentEvent::decode(&delivery.body).unwrap();
            // One whose ack is lost with the connection comes again, and is passed over or found again.
            let _ = delivery.ack().await;
            if let Some(found) = wanted(event) {
                return found;
            }
        }
    };
    timeout(SOON, looking).await.unwrap_or_else(|_| panic!("{what} did not come"))
}
