//! A store on a temporary file, and agents that are no more than what they say.

use std::path::{Path, PathBuf};
use std::time::Duration;

use chrono::Utc;
use farrier::broker::Outgoing;
use farrier::wire::api::{Job, JobState, Node, NodeCreate, NodeProperties};
use farrier::wire::report::{Output, StepOutcome, StepReport};
use farrier::wire::{
    Accepted, AgentEvent, AgentState, BootId, Command, CommandRef, CommandResult, ErrorCode, ErrorReport,
    Heartbeat, Hello, ImageSource, JobId, JobRequest, NodeId, Origin, Outcome, Progress, RunCommand, Running,
    StepProgress, Verb, Work,
};
use farrier_coordinator::feed::Feed;
use farrier_coordinator::store::errands::{Errand, ErrandKind, Prepared, Restart};
use farrier_coordinator::store::outbox::Item;
use farrier_coordinator::store::{Bounds, Rules, Store};
use farrier_coordinator::vault::Vault;
use farrier_coordinator::vault::keys::SecretKey;
use serde_json::{Value, json};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, Connection as _, SqliteConnection};

/// As configured by default. No test takes as long: time passes by [`Lab::passes`].
pub(crate) const BOUNDS: Bounds = Bounds { lease: Duration::from_secs(35), accept: Duration::from_secs(60) };

pub(crate) struct Lab {
    pub(crate) store: Store,
    pub(crate) feed: Feed,
    pub(crate) rules: Rules,
    database: PathBuf,
    _directory: Option<tempfile::TempDir>,
}

impl Lab {
    pub(crate) async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let lab = Self::at(&directory.path().join("farrier.db")).await;
        Self { _directory: Some(directory), ..lab }
    }

    pub(crate) async fn at(database: &Path) -> Self {
        Self::with_keys(database, &[]).await
    }

    /// With keys that consist of one byte each, over and over.
    pub(crate) async fn with_keys(database: &Path, keys: &[u8]) -> Self {
        let feed = Feed::new();
        let vault = Vault::new(keys.iter().map(|byte| SecretKey::new(&[*byte; 32])).collect());
        let store = Store::open(database, feed.clone(), vault).await.unwrap();
        let rules = Rules { auto_enroll: false, lease: BOUNDS.lease };
        Self { store, feed, rules, database: database.to_owned(), _directory: None }
    }

    /// Lets time pass: everything in the store has happened, and will happen, so many seconds earlier.
    pub(crate) async fn passes(&self, seconds: i64) {
        let options = SqliteConnectOptions::new().filename(&self.database);
        let mut database = SqliteConnection::connect_with(&options).await.unwrap();
        let earlier = |columns: &[&str]| {
            let columns = columns.iter().map(|column| format!("{column} = {column} - {seconds} * 1000000"));
            columns.collect::<Vec<_>>().join(", ")
        };
        let jobs = earlier(&[
            "state_since",
            "phase_since",
            "wait_until",
            "not_before",
            "lease_until",
            "created_at",
            "deadline",
        ]);
        let nodes = earlier(&["last_seen_at", "alive_since"]);
        for statement in [format!("UPDATE jobs SET {jobs}"), format!("UPDATE nodes SET {nodes}")] {
            sqlx::query(AssertSqlSafe(statement)).execute(&mut database).await.unwrap();
        }
        database.close().await.unwrap();
    }

    /// Lets time pass, and what follows from that alone happen.
    pub(crate) async fn after(&self, seconds: i64) {
        self.passes(seconds).await;
        self.store.expire(&BOUNDS).await.unwrap();
    }

    /// Lets time pass while an agent says the same all along, as it does every ten seconds.
    pub(crate) async fn after_hearing(&self, seconds: i64, word: &AgentEvent) {
        for _ in 0..seconds / 10 {
            self.after(10).await;
            self.hear(word).await;
        }
        self.store.expire(&BOUNDS).await.unwrap();
    }

    pub(crate) async fn enrol(&self, name: &str) -> NodeId {
        let id = NodeId::new();
        self.enrol_with(id, name, NodeProperties::default()).await;
        id
    }

    pub(crate) async fn enrol_with(&self, id: NodeId, name: &str, properties: NodeProperties) -> Node {
        let (site, rack) = (Some("iad1".to_owned()), Some("r12".to_owned()));
        let node = NodeCreate {
            id,
            name: Some(name.to_owned()),
            site,
            rack,
            driver_info: Default::default(),
            properties,
        };
        self.store.nodes().enrol(node).await.unwrap()
    }

    /// An enrolled node with an idle agent.
    pub(crate) async fn agent(&self, name: &str) -> Agent {
        let agent = Agent::of(self.enrol(name).await);
        self.hear(&agent.hello(None)).await;
        agent
    }

    pub(crate) async fn hear(&self, event: &AgentEvent) {
        self.hear_all(std::slice::from_ref(event)).await;
    }

    pub(crate) async fn hear_all(&self, events: &[AgentEvent]) {
        self.store.hear(events, &self.rules).await.unwrap();
    }

    pub(crate) async fn submit(&self, request: Value) -> Job {
        let request = JobRequest::from_json(request).unwrap();
        self.store.jobs().submit(request, "/test").await.unwrap().0
    }

    pub(crate) async fn noop(&self, node: &str) -> JobId {
        self.submit(json!({"node": node, "verb": "noop", "retry": {"max_attempts": 2, "backoff_seconds": 0}}))
            .await
            .id
    }

    pub(crate) async fn job(&self, job: JobId) -> Job {
        self.store.jobs().get(job).await.unwrap()
    }

    pub(crate) async fn state(&self, job: JobId) -> JobState {
        self.job(job).await.state
    }

    /// Sends what can be sent, and returns the one command that was.
    pub(crate) async fn dispatch(&self) -> RunCommand {
        assert_eq!(self.store.dispatch(&BOUNDS).await.unwrap(), 1);
        self.commands().await.into_iter().rev().find_map(as_run).expect("the command is in the outbox")
    }

    /// The one errand of a kind that is to be done.
    pub(crate) async fn errand(&self, kind: ErrandKind) -> Errand {
        let errands = self.store.errands().await.unwrap();
        let found: Vec<_> = errands.into_iter().filter(|errand| errand.kind == kind).collect();
        assert_eq!(found.len(), 1, "{kind:?}: {found:?}");
        found[0]
    }

    /// Prepares and sends the one deploy that can be sent, as it was submitted.
    pub(crate) async fn deploy(&self, restart: Option<Restart>) -> RunCommand {
        let errand = self.errand(ErrandKind::Prepare).await;
        let circumstances = self.store.circumstances(errand).await.unwrap().unwrap();
        let work = as_submitted(circumstances.work.clone());
        let prepared = Prepared { work, restart, url_expires_at: None };
        assert!(self.store.dispatch_prepared(errand, &circumstances, prepared, &BOUNDS).await.unwrap());
        self.commands().await.into_iter().rev().find_map(as_run).expect("the command is in the outbox")
    }

    /// A job that its agent has accepted.
    pub(crate) async fn running(&self, agent: &Agent, node: &str) -> (JobId, CommandRef) {
        let job = self.noop(node).await;
        let reference = self.dispatch().await.reference;
        self.hear(&agent.accepted(reference)).await;
        assert_eq!(self.state(job).await, JobState::Running);
        (job, reference)
    }

    /// One whose lease was lost.
    pub(crate) async fn interrupted(&self, agent: &Agent, node: &str) -> (JobId, CommandRef) {
        let (job, reference) = self.running(agent, node).await;
        self.after(36).await;
        assert_eq!(self.state(job).await, JobState::Interrupted);
        (job, reference)
    }

    /// What stands in the outbox, oldest first.
    pub(crate) async fn outbox(&self) -> Vec<Item> {
        let pending = self.store.pending(0, 10_000).await.unwrap();
        assert!(pending.unreadable.is_empty(), "{pending:?}");
        pending.items.into_iter().map(|pending| pending.item).collect()
    }

    pub(crate) async fn messages(&self) -> Vec<Outgoing> {
        let message = |item| if let Item::Publish(message) = item { Some(*message) } else { None };
        self.outbox().await.into_iter().filter_map(message).collect()
    }

    pub(crate) async fn commands(&self) -> Vec<Command> {
        let messages = self.messages().await.into_iter();
        messages.filter(|message| message.mandatory).map(|m| Command::decode(&m.body).unwrap()).collect()
    }

    /// The commands that agents were told to stop.
    pub(crate) async fn cancels(&self) -> Vec<CommandRef> {
        let commands = self.commands().await.into_iter();
        commands.filter_map(|c| if let Command::Cancel(c) = c { Some(c.reference) } else { None }).collect()
    }
}

/// A deploy whose image needs no other URL.
pub(crate) fn as_submitted(work: Work<ImageSource>) -> Work {
    let Work::Deploy(spec) = work else { panic!("another verb") };
    let ImageSource::Url(source) = spec.image_source.clone() else { panic!("no URL") };
    Work::Deploy(Box::new((*spec).with_sources(source, Vec::new())))
}

fn as_run(command: Command) -> Option<RunCommand> {
    if let Command::Run(command) = command { Some(*command) } else { None }
}

/// One boot of the agent of a node.
#[derive(Clone, Debug)]
pub(crate) struct Agent {
    pub(crate) origin: Origin,
}

impl Agent {
    pub(crate) fn of(node: NodeId) -> Self {
        Self { origin: Origin { node, site: "iad1".into(), rack: "r12".into(), boot_id: BootId::new() } }
    }

    pub(crate) fn rebooted(&self) -> Self {
        Self::of(self.origin.node)
    }

    pub(crate) fn hello(&self, running: Option<CommandRef>) -> AgentEvent {
        AgentEvent::Hello(Hello {
            origin: self.origin.clone(),
            hostname: "host".into(),
            version: "0.1.0".into(),
            started_at: Utc::now(),
            state: if running.is_some() { AgentState::Busy } else { AgentState::Idle },
            running,
            verbs: Verb::ALL.to_vec(),
            ramdisk: false,
            can_power: false,
        })
    }

    pub(crate) fn heartbeat(&self, running: Option<CommandRef>) -> AgentEvent {
        AgentEvent::Heartbeat(Heartbeat {
            origin: self.origin.clone(),
            version: "0.1.0".into(),
            uptime_seconds: 1,
            state: if running.is_some() { AgentState::Busy } else { AgentState::Idle },
            running: running.map(|reference| Running { reference, verb: Verb::Noop, progress: None }),
        })
    }

    pub(crate) fn accepted(&self, reference: CommandRef) -> AgentEvent {
        AgentEvent::Accepted(Accepted { origin: self.origin.clone(), reference, sequence: 0 })
    }

    pub(crate) fn progress(&self, reference: CommandRef, sequence: u64, bytes_done: u64) -> AgentEvent {
        let progress = StepProgress {
            step: "write".into(),
            step_number: 1,
            step_count: 2,
            phase: None,
            bytes_done,
            bytes_total: Some(1000),
            bytes_per_second: 1,
            seconds_left: None,
            image: None,
        };
        AgentEvent::Progress(Progress { origin: self.origin.clone(), reference, sequence, progress })
    }

    pub(crate) fn succeeded(&self, reference: CommandRef) -> AgentEvent {
        self.result(reference, Outcome::Succeeded, None, Some(Output::Noop {}))
    }

    pub(crate) fn failed(&self, reference: CommandRef, code: ErrorCode) -> AgentEvent {
        self.result(reference, Outcome::Failed, Some(ErrorReport::new(code, "it went wrong")), None)
    }

    pub(crate) fn result(
        &self,
        reference: CommandRef,
        outcome: Outcome,
        error: Option<ErrorReport>,
        output: Option<Output>,
    ) -> AgentEvent {
        AgentEvent::Result(Box::new(CommandResult {
            origin: self.origin.clone(),
            reference,
            sequence: 100,
            outcome,
            error,
            started_at: Utc::now(),
            finished_at: Utc::now(),
            steps: vec![StepReport {
                name: "noop".into(),
                outcome: StepOutcome::Succeeded,
                seconds: 0.1,
                bytes: 0,
                error: None,
            }],
            output,
        }))
    }
}
