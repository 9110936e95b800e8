//! The life of a node and of a job, with what its agent would say put into the store.

use std::time::Duration;

use chrono::Utc;
use farrier::wire::inventory::Inventory;
use farrier::wire::report::{Output, StepOutcome, StepReport};
use farrier::wire::{
    Accepted, AgentEvent, AgentState, BootId, CommandRef, CommandResult, Hello, NodeId, Origin, Outcome, Verb,
};
use farrier_coordinator::store::{Bounds, Rules};
use serde_json::{Value, json};

use crate::server::{Server, told};

const LEASE: Duration = Duration::from_secs(600);

struct Agent<'a> {
    server: &'a Server,
    origin: Origin,
}

impl Agent<'_> {
    async fn say(&self, event: AgentEvent) {
        self.server.store.hear(&[event], &Rules { auto_enroll: false, lease: LEASE }).await.unwrap();
    }

    async fn hello(&self) {
        self.say(AgentEvent::Hello(Hello {
            origin: self.origin.clone(),
            hostname: "n1.example".into(),
            version: "0.1.0".into(),
            started_at: Utc::now(),
            state: AgentState::Idle,
            running: None,
            verbs: Verb::ALL.to_vec(),
            ramdisk: false,
            can_power: false,
        }))
        .await;
    }

    async fn accepted(&self, reference: CommandRef) {
        self.say(AgentEvent::Accepted(Accepted { origin: self.origin.clone(), reference, sequence: 1 }))
            .await;
    }

    async fn inspected(&self, reference: CommandRef, inventory: Inventory) {
        let step = StepReport {
            name: "collect_inventory".into(),
            outcome: StepOutcome::Succeeded,
            seconds: 0.5,
            bytes: 0,
            error: None,
        };
        self.say(AgentEvent::Result(Box::new(CommandResult {
            origin: self.origin.clone(),
            reference,
            sequence: 2,
            outcome: Outcome::Succeeded,
            error: None,
            started_at: Utc::now(),
            finished_at: Utc::now(),
            steps: vec![step],
            output: Some(Output::Inventory(Box::new(inventory))),
        })))
        .await;
    }
}

fn inventory() -> Inventory {
    Inventory {
        cpu: Default::default(),
        memory: Default::default(),
        disks: vec![Default::default()],
        interfaces: vec![Default::default()],
        system_vendor: Default::default(),
        boot: Default::default(),
        hostname: "n1.example".into(),
    }
}

#[tokio::test]
async fn a_node_is_discovered_enrolled_and_inspected() {
    let server = Server::start().await;
    let node = NodeId::new();
    let origin = Origin { node, site: "iad1".into(), rack: "r12".into(), boot_id: BootId::new() };
    let agent = Agent { server: &server, origin };
    let node = format!("/v1/nodes/{node}");

    agent.hello().await;
    let discovered = server.get(&node, 200).await;
    assert_eq!(
        (&discovered["enrolment"], &discovered["agent"]["alive"]),
        (&json!("discovered"), &json!(true))
    );
    let request = json!({"node": agent.origin.node, "verb": "inspect"});
    let refused = server.post("/v1/jobs", request.clone(), 409).await;
    assert_eq!(told(&refused).0, "not-enrolled");

    let enrolled = server.post("/v1/nodes", json!({"id": agent.origin.node, "name": "n1"}), 201).await;
    assert_eq!((&enrolled["site"], &enrolled["rack"]), (&json!("iad1"), &json!("r12")), "as the agent said");
    let alive = server.get("/v1/nodes?alive=true&enrolment=enrolled", 200).await;
    assert_eq!(alive["items"][0]["agent"]["hostname"], "n1.example");

    let job = server.post("/v1/jobs", request, 201).await["job"]["id"].as_str().unwrap().to_owned();
    let job = format!("/v1/jobs/{job}");
    server.store.dispatch(&Bounds { lease: LEASE, accept: LEASE }).await.unwrap();
    let dispatched = server.get(&job, 200).await;
    assert_eq!(
        (&dispatched["state"], &dispatched["wait"]["reason"]),
        (&json!("dispatched"), &json!("accepted"))
    );
    assert_eq!(server.get(&node, 200).await["job"], dispatched["id"]);
    let attempt = &dispatched["attempts"][0];
    let reference =
        json!({"job": dispatched["id"], "command": attempt["command"], "attempt": attempt["number"]});
    let reference: CommandRef = serde_json::from_value(reference).unwrap();

    agent.accepted(reference).await;
    assert_eq!(server.get(&job, 200).await["state"], "running");
    // A node is not forgotten over the head of its agent.
    assert_eq!(told(&server.ask("DELETE", &node, None, 409).await).0, "conflict");

    agent.inspected(reference, inventory()).await;
    let done = server.get(&job, 200).await;
    assert_eq!((&done["state"], &done["wait"]), (&json!("succeeded"), &Value::Null));
    assert_eq!(done["attempts"][0]["steps"][0]["name"], "collect_inventory");
    assert_eq!(
        server.get("/v1/jobs", 200).await["items"][0]["attempts"],
        json!([]),
        "lists leave attempts out"
    );
    let taken = server.get(&format!("{node}/inventory"), 200).await;
    assert_eq!(taken["inventory"]["hostname"], "n1.example");
    assert_eq!(server.get(&node, 200).await["inspected_at"], taken["inspected_at"]);
}
