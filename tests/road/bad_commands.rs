//! Commands that an agent must not carry out, and those that it serves whatever it does.

use farrier_testbed::fleet::{Builder, Fleet};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::lab::Lab;
use crate::tap::{Seen, Tap};

const ACCEPTED: &str = "dev.farrier.event.accepted.v1";
const HEARTBEAT: &str = "dev.farrier.event.heartbeat.v1";
const RESULT: &str = "dev.farrier.event.result.v1";
const RUN: &str = "dev.farrier.command.run.v1";
const STATUS: &str = "dev.farrier.command.status.v1";

/// A fleet of one agent, with a sender of commands beside its coordinator.
struct Sender {
    lab: Lab,
    tap: Tap,
    boot: Value,
}

impl Sender {
    async fn start(fleet: Builder) -> Self {
        let lab = Lab::start(fleet.agents(1)).await;
        let tap = Tap::open(&lab.fleet.rabbitmq.amqp_url(), &lab.node()).await;
        let boot = lab.api.node(&lab.node()).await.unwrap()["agent"]["boot_id"].clone();
        Self { lab, tap, boot }
    }

    /// A command that the agent would carry out.
    fn noop(&self, job: Uuid, attempt: u32) -> Value {
        json!({
            "job": job,
            "command": Uuid::now_v7(),
            "attempt": attempt,
            "node": self.lab.node(),
            "boot_id": self.boot,
            "expires_at": "2999-01-01T00:00:00Z",
            "verb": "noop",
            "spec": {},
        })
    }

    fn message(kind: &str, data: &Value) -> Value {
        json!({
            "specversion": "1.0",
            "id": Uuid::now_v7(),
            "source": "/tests/sender",
            "type": kind,
            "data": data,
        })
    }

    async fn send_bytes(&self, body: &[u8]) {
        self.tap.publish_bytes("farrier.commands", &self.lab.node(), body).await;
    }

    async fn send(&self, kind: &str, data: &Value) {
        self.send_bytes(Self::message(kind, data).to_string().as_bytes()).await;
    }

    /// Sends a command and waits for its result.
    async fn result_of(&mut self, command: &Value) -> Seen {
        self.send(RUN, command).await;
        self.tap.next("the result", |seen| is_about(seen, RESULT, command)).await
    }

    async fn succeeds(&mut self, command: &Value) {
        let result = self.result_of(command).await;
        assert_eq!(result.event["data"]["outcome"], "succeeded", "{:#}", result.event);
    }

    async fn is_rejected(&mut self, command: &Value, code: &str, says: &str) {
        let result = self.result_of(command).await;
        let data = &result.event["data"];
        assert_eq!(data["outcome"], "rejected", "{data:#}");
        assert_eq!(data["error"]["code"], code, "{data:#}");
        assert!(data["error"]["message"].as_str().unwrap().contains(says), "{data:#}");
        assert_eq!(data["steps"], json!([]), "it was begun: {data:#}");
    }
}

fn is_about(seen: &Seen, kind: &str, command: &Value) -> bool {
    seen.event["type"] == kind && seen.event["data"]["command"] == command["command"]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_comes_twice_is_carried_out_once() {
    let mut sender = Sender::start(Fleet::builder()).await;
    let command = sender.noop(Uuid::now_v7(), 1);
    sender.succeeds(&command).await;
    sender.send(RUN, &command).await;
    // The agent takes commands in the order in which they come: by then it has taken the second one.
    let later = sender.noop(Uuid::now_v7(), 1);
    sender.send(RUN, &later).await;
    let between =
        sender.tap.until("the result of the later one", |seen| is_about(seen, RESULT, &later)).await;
    assert!(!between.iter().any(|seen| is_about(seen, ACCEPTED, &command)), "{between:#?}");
    assert!(!between.iter().any(|seen| is_about(seen, RESULT, &command)), "{between:#?}");
    assert!(between.iter().any(|seen| is_about(seen, ACCEPTED, &later)), "{between:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_stale_late_or_for_another_is_rejected_with_the_reason() {
    let mut sender = Sender::start(Fleet::builder()).await;
    let job = Uuid::now_v7();
    let newest = sender.noop(job, 3);
    sender.succeeds(&newest).await;
    for attempt in [2, 3] {
        let stale = sender.noop(job, attempt);
        sender.is_rejected(&stale, "stale-attempt", "not newer than attempt 3").await;
    }
    let mut expired = sender.noop(job, 4);
    expired["expires_at"] = json!("2001-01-01T00:00:00Z");
    sender.is_rejected(&expired, "expired", "2001-01-01").await;
    let mut other_boot = sender.noop(job, 4);
    other_boot["boot_id"] = json!(Uuid::now_v7());
    let here = sender.boot.as_str().unwrap().to_owned();
    sender.is_rejected(&other_boot, "stale-boot", &here).await;
    let mut other_node = sender.noop(job, 4);
    other_node["node"] = json!(Uuid::now_v7());
    let here = sender.lab.node();
    sender.is_rejected(&other_node, "wrong-node", &here).await;
    // None of them counts as the newest attempt.
    let next = sender.noop(job, 4);
    sender.succeeds(&next).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_one_runs_another_is_rejected_and_status_is_answered() {
    // No heartbeat comes by itself while this test waits for one.
    let fleet = Fleet::builder().heartbeat_seconds(300).lease_seconds(900);
    let mut sender = Sender::start(fleet).await;
    let deploy = sender.lab.api.submit(&sender.lab.deploy_slowly(0)).await.unwrap();
    sender.lab.is_writing(&deploy).await;
    let other = sender.noop(Uuid::now_v7(), 1);
    sender.is_rejected(&other, "busy", &deploy).await;
    sender.send(STATUS, &json!({"node": sender.lab.node()})).await;
    let heartbeat = sender.tap.next("a heartbeat", |seen| seen.event["type"] == HEARTBEAT).await;
    let data = &heartbeat.event["data"];
    assert_eq!((&data["state"], &data["running"]["job"]), (&json!("busy"), &json!(deploy)), "{data:#}");
    assert_eq!(data["running"]["progress"]["step"], "write_image", "{data:#}");
    let job = sender.lab.succeeds(&deploy).await;
    assert_eq!(job["attempt"], 1, "{job:#}");
    sender.lab.assert_holds_image(&sender.lab.disk(0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_is_put_aside_and_the_next_command_is_taken() {
    let mut sender = Sender::start(Fleet::builder()).await;
    let good = sender.noop(Uuid::now_v7(), 1);
    let mut unknown_verb = good.clone();
    unknown_verb["verb"] = json!("format");
    let mut no_boot = good.clone();
    no_boot.as_object_mut().unwrap().remove("boot_id");
    let mut misspelt = good.clone();
    misspelt["spec"] = json!({"speed": "high"});
    let run = |data| Sender::message(RUN, data).to_string();
    for (body, code, says) in [
        ("run!".to_owned(), "not-json", "not JSON"),
        (Sender::message("dev.farrier.command.run.v9", &good).to_string(), "unknown-type", "run.v9"),
        (run(&unknown_verb), "unknown-verb", "format"),
        (run(&no_boot), "bad-schema", "boot_id"),
        (run(&misspelt), "bad-schema", "spec.speed"),
    ] {
        sender.send_bytes(body.as_bytes()).await;
        let letter = sender.lab.dead_letter(&body).await;
        assert_eq!(letter["code"], code, "{letter:#}");
        assert!(letter["reason"].as_str().unwrap().contains(says), "{letter:#}");
        assert_eq!(letter["routing_key"], sender.lab.node(), "{letter:#}");
    }
    sender.succeeds(&good).await;
}
