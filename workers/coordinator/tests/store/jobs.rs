//! Jobs: taken in once, sent in order with what the operator said of the machine, stopped, and ended in time.

use farrier::wire::api::{JobState, NodeProperties};
use farrier::wire::report::Output;
use farrier::wire::{
    Coded as _, ErrorCode, ErrorReport, JobChanged, JobId, JobRequest, NodeId, Outcome, Payload as _, Work,
};
use farrier_coordinator::store::StoreError;
use farrier_coordinator::store::outbox::Item;
use serde_json::{Value, json};

use crate::lab::{Agent, BOUNDS, Lab};

async fn submit(lab: &Lab, request: Value) -> Result<(JobId, bool), StoreError> {
    let request = JobRequest::from_json(request).unwrap();
    lab.store.jobs().submit(request, "/test").await.map(|(job, created)| (job.id, created))
}

// ---- submitted

#[tokio::test]
async fn a_job_submitted_twice_is_one_job() {
    let lab = Lab::new().await;
    lab.enrol("n1").await;
    let named = json!({"node": "n1", "verb": "noop", "job": JobId::new()});
    let keyed = json!({"node": "n1", "verb": "noop", "idempotency_key": "k"});
    for request in [named, keyed] {
        let (job, created) = submit(&lab, request.clone()).await.unwrap();
        assert!(created);
        let outbox = lab.outbox().await.len();
        assert_eq!(submit(&lab, request.clone()).await.unwrap(), (job, false));
        assert_eq!(lab.outbox().await.len(), outbox, "nothing new happened");
        let mut other = request;
        other["timeout_seconds"] = json!(7);
        assert_eq!(submit(&lab, other).await.unwrap_err().code(), ErrorCode::Conflict);
    }
}

#[tokio::test]
async fn the_same_key_at_the_same_time_is_one_job() {
    let lab = Lab::new().await;
    lab.enrol("n1").await;
    let request = json!({"node": "n1", "verb": "noop", "idempotency_key": "k"});
    let all = (0..16).map(|_| submit(&lab, request.clone()));
    let all = futures_util::future::join_all(all).await;
    let all: Vec<_> = all.into_iter().map(Result::unwrap).collect();
    assert!(all.iter().all(|(job, _)| *job == all[0].0));
    assert_eq!(all.iter().filter(|(_, created)| *created).count(), 1);
}

#[tokio::test]
async fn a_job_for_a_node_that_takes_none_is_refused_and_leaves_nothing() {
    let lab = Lab::new().await;
    let stranger = Agent::of(NodeId::new());
    lab.hear(&stranger.hello(None)).await;
    let outbox = lab.outbox().await.len();
    let refused = |node: String| submit(&lab, json!({"node": node, "verb": "noop"}));
    assert_eq!(refused("n9".into()).await.unwrap_err().code(), ErrorCode::UnknownNode);
    let discovered = stranger.origin.node.to_string();
    assert_eq!(refused(discovered).await.unwrap_err().code(), ErrorCode::NotEnrolled);
    assert_eq!(lab.outbox().await.len(), outbox);
}

#[tokio::test]
async fn an_unknown_agent_is_discovered_or_enrolled_as_configured() {
    let mut lab = Lab::new().await;
    for (auto_enroll, enrolment, queues) in [(false, "discovered", 0), (true, "enrolled", 1)] {
        lab.rules.auto_enroll = auto_enroll;
        let agent = Agent::of(NodeId::new());
        lab.hear(&agent.hello(None)).await;
        let node = lab.store.nodes().get(&agent.origin.node.to_string()).await.unwrap();
        assert_eq!(serde_json::to_value(node.enrolment).unwrap(), enrolment);
        assert_eq!((node.site.as_str(), node.agent.unwrap().hostname.as_str()), ("iad1", "host"));
        let declared = Item::DeclareQueue(agent.origin.node);
        assert_eq!(lab.outbox().await.contains(&declared), queues > 0);
    }
}

// ---- sent

#[tokio::test]
async fn one_job_at_a_time_and_the_oldest_first() {
    let lab = Lab::new().await;
    let agent = lab.agent("n1").await;
    let (first, second) = (lab.noop("n1").await, lab.noop("n1").await);
    let command = lab.dispatch().await;
    assert_eq!(command.reference.job, first);
    assert_eq!(lab.job(second).await.wait.unwrap().reason, "node_busy");
    assert_eq!(lab.store.dispatch(&BOUNDS).await.unwrap(), 0);
    lab.hear(&agent.succeeded(command.reference)).await;
    assert_eq!(lab.dispatch().await.reference.job, second);
}

#[tokio::test]
async fn nothing_is_sent_without_an_agent_to_take_it() {
    let lab = Lab::new().await;
    let agent = lab.agent("n1").await;
    lab.after(36).await;
    let job = lab.noop("n1").await;
    assert_eq!(lab.store.dispatch(&BOUNDS).await.unwrap(), 0, "it is gone");
    assert_eq!(lab.job(job).await.wait.unwrap().reason, "agent");
    lab.hear(&agent.hello(None)).await;
    assert_eq!(lab.store.dispatch(&BOUNDS).await.unwrap(), 1);
}

#[tokio::test]
async fn a_job_in_its_backoff_holds_back_those_behind_it() {
    let lab = Lab::new().await;
    let agent = lab.agent("n1").await;
    let retry = json!({"max_attempts": 2, "backoff_seconds": 10});
    lab.submit(json!({"node": "n1", "verb": "clean", "retry": retry})).await;
    lab.submit(json!({"node": "n1", "verb": "noop"})).await;
    let clean = lab.dispatch().await.reference;
    lab.hear(&agent.failed(clean, ErrorCode::DeviceIo)).await;
    assert_eq!(lab.store.dispatch(&BOUNDS).await.unwrap(), 0, "the second job has overtaken the first");
    lab.passes(10).await;
    assert_eq!(lab.dispatch().await.reference.job, clean.job);
}

#[tokio::test]
async fn a_retry_waits_for_its_backoff() {
    let lab = Lab::new().await;
    let agent = lab.agent("n1").await;
    let job = lab
        .submit(json!({"node": "n1", "verb": "noop", "retry": {"max_attempts": 3, "backoff_seconds": 10}}));
    let job = job.await.id;
    let failed = |reference| agent.failed(reference, ErrorCode::HttpStalled);
    lab.hear(&failed(lab.dispatch().await.reference)).await;
    assert_eq!(lab.job(job).await.wait.unwrap().reason, "backoff");
    assert_eq!(lab.store.dispatch(&BOUNDS).await.unwrap(), 0);
    lab.passes(10).await;
    lab.hear(&failed(lab.dispatch().await.reference)).await;
    lab.passes(10).await;
    assert_eq!(lab.store.dispatch(&BOUNDS).await.unwrap(), 0, "the second backoff is twice as long");
    lab.passes(10).await;
    assert_eq!(lab.dispatch().await.reference.attempt, 3);
}

#[tokio::test]
async fn a_command_carries_what_the_operator_said_of_the_machine() {
    let lab = Lab::new().await;
    let agent = Agent::of(NodeId::new());
    let hints = |serial: &str| serde_json::from_value(json!({"serial": serial})).unwrap();
    let properties =
        NodeProperties { root_device: Some(hints("ROOT")), skip_block_devices: vec![hints("NODE")] };
    lab.enrol_with(agent.origin.node, "n1", properties).await;
    lab.hear(&agent.hello(None)).await;
    let spec = json!({
        "image_source": "http://images/i.raw", "image_checksum": format!("sha256:{}", "0".repeat(64)),
        "skip_block_devices": [{"serial": "JOB"}],
    });
    lab.submit(json!({"node": "n1", "verb": "deploy", "spec": spec})).await;
    assert_eq!(lab.store.dispatch(&BOUNDS).await.unwrap(), 0, "a deploy is prepared first");
    let command = lab.deploy(None).await;
    let Work::Deploy(spec) = command.work else { panic!("another verb") };
    assert_eq!(spec.root_device.unwrap().serial.unwrap(), "ROOT");
    let skipped: Vec<_> = spec.skip_block_devices.iter().map(|hints| hints.serial.clone().unwrap()).collect();
    assert_eq!(skipped, ["JOB", "NODE"]);

    lab.hear(&agent.failed(command.reference, ErrorCode::DigestMismatch)).await;
    lab.submit(json!({"node": "n1", "verb": "clean"})).await;
    let Work::Clean(spec) = lab.dispatch().await.work else { panic!("another verb") };
    assert_eq!(spec.skip_block_devices, [hints("NODE")]);
}

#[tokio::test]
async fn an_inspection_becomes_the_inventory_of_the_node() {
    let lab = Lab::new().await;
    let agent = lab.agent("n1").await;
    lab.submit(json!({"node": "n1", "verb": "inspect"})).await;
    let inventory = json!({
        "cpu": {"count": 4, "architecture": "x86_64", "flags": []}, "memory": {"total": 1024}, "disks": [],
        "interfaces": [], "system_vendor": {"firmware": {}}, "boot": {"current_boot_mode": "uefi"}, "hostname": "host",
    });
    let output = Output::Inventory(serde_json::from_value(inventory).unwrap());
    let reference = lab.dispatch().await.reference;
    lab.hear(&agent.result(reference, Outcome::Succeeded, None, Some(output))).await;
    assert_eq!(lab.store.nodes().inventory("n1").await.unwrap().inventory.cpu.count, 4);
    assert!(lab.store.nodes().get("n1").await.unwrap().inspected_at.is_some());
}

// ---- stopped

#[tokio::test]
async fn a_job_that_was_not_sent_is_cancelled_at_once() {
    let lab = Lab::new().await;
    lab.agent("n1").await;
    let job = lab.noop("n1").await;
    let job = lab.store.jobs().cancel(job, Some("not today".into())).await.unwrap();
    assert_eq!((job.state, job.error.unwrap().code), (JobState::Cancelled, ErrorCode::Cancelled));
    assert_eq!(lab.store.dispatch(&BOUNDS).await.unwrap(), 0);
    assert_eq!(lab.cancels().await, []);
}

#[tokio::test]
async fn a_running_job_is_cancelled_by_its_agent() {
    let lab = Lab::new().await;
    let agent = lab.agent("n1").await;
    let (job, reference) = lab.running(&agent, "n1").await;
    let shown = lab.store.jobs().cancel(job, None).await.unwrap();
    assert_eq!(shown.state, JobState::Cancelling);
    lab.store.jobs().cancel(job, None).await.unwrap();
    assert_eq!(lab.cancels().await, [reference], "once is enough");
    lab.hear(&agent.heartbeat(Some(reference))).await;
    let cancelled = Some(ErrorReport::new(ErrorCode::Cancelled, "told to"));
    lab.hear(&agent.result(reference, Outcome::Cancelled, cancelled, None)).await;
    assert_eq!(lab.state(job).await, JobState::Cancelled);
    let again = lab.store.jobs().cancel(job, None).await.unwrap_err();
    assert_eq!(again.code(), ErrorCode::Conflict);
}

#[tokio::test]
async fn a_job_that_was_done_before_the_cancel_came_has_succeeded() {
    let lab = Lab::new().await;
    let agent = lab.agent("n1").await;
    let (job, reference) = lab.running(&agent, "n1").await;
    lab.store.jobs().cancel(job, None).await.unwrap();
    lab.hear(&agent.succeeded(reference)).await;
    assert_eq!(lab.state(job).await, JobState::Succeeded);
}

#[tokio::test]
async fn a_cancelled_job_is_not_waited_for_for_ever() {
    let lab = Lab::new().await;
    let agent = lab.agent("n1").await;
    for reboots in [false, true] {
        let (job, _) = lab.running(&agent, "n1").await;
        lab.store.jobs().cancel(job, None).await.unwrap();
        lab.store.expire(&BOUNDS).await.unwrap();
        assert_eq!(lab.job(job).await.wait.unwrap().reason, "cancelled");
        if reboots {
            lab.hear(&agent.rebooted().hello(None)).await;
        } else {
            lab.after_hearing(80, &agent.heartbeat(None)).await;
        }
        assert_eq!(lab.state(job).await, JobState::Cancelled, "reboots: {reboots}");
    }
}

// ---- in time

#[tokio::test]
async fn a_job_that_waits_past_its_deadline_has_failed() {
    let lab = Lab::new().await;
    lab.enrol("n1").await;
    let job = lab.submit(json!({"node": "n1", "verb": "noop", "timeout_seconds": 60})).await.id;
    lab.after(59).await;
    assert_eq!(lab.state(job).await, JobState::Queued);
    lab.after(2).await;
    let job = lab.job(job).await;
    assert_eq!((job.state, job.error.unwrap().code), (JobState::Failed, ErrorCode::DeadlineExceeded));
}

#[tokio::test]
async fn a_job_that_runs_past_its_deadline_is_stopped_and_has_failed() {
    let lab = Lab::new().await;
    let agent = lab.agent("n1").await;
    let job = lab.submit(json!({"node": "n1", "verb": "noop", "timeout_seconds": 20})).await.id;
    let reference = lab.dispatch().await.reference;
    lab.hear(&agent.accepted(reference)).await;
    lab.after(21).await;
    assert_eq!((lab.state(job).await, lab.cancels().await), (JobState::Cancelling, vec![reference]));
    let cancelled = Some(ErrorReport::new(ErrorCode::Cancelled, "told to"));
    lab.hear(&agent.result(reference, Outcome::Cancelled, cancelled, None)).await;
    let job = lab.job(job).await;
    assert_eq!((job.state, job.error.unwrap().code), (JobState::Failed, ErrorCode::DeadlineExceeded));
}

#[tokio::test]
async fn an_agent_that_stays_away_loses_its_job_in_the_end() {
    let lab = Lab::new().await;
    let agent = lab.agent("n1").await;
    let (job, _) = lab.interrupted(&agent, "n1").await;
    let until = lab.job(job).await.wait.unwrap();
    lab.after((until.until - until.since).num_seconds() - 1).await;
    assert_eq!(lab.state(job).await, JobState::Interrupted);
    lab.after(2).await;
    assert_eq!(lab.state(job).await, JobState::Queued);
}

#[tokio::test]
async fn after_a_time_of_hearing_nobody_nobody_has_been_silent() {
    let lab = Lab::new().await;
    let agent = lab.agent("n1").await;
    let (job, reference) = lab.running(&agent, "n1").await;
    lab.passes(3600).await;
    lab.store.renew_all(&BOUNDS).await.unwrap();
    lab.store.expire(&BOUNDS).await.unwrap();
    assert_eq!(lab.state(job).await, JobState::Running);
    assert!(lab.store.nodes().get("n1").await.unwrap().agent.unwrap().alive);
    lab.hear(&agent.succeeded(reference)).await;
    assert_eq!(lab.state(job).await, JobState::Succeeded);
}

// ---- told

#[tokio::test]
async fn every_change_is_told_once_in_order_and_by_the_place_of_the_node() {
    let lab = Lab::new().await;
    let agent = lab.agent("n1").await;
    let mut feed = lab.feed.subscribe();
    let (job, reference) = lab.running(&agent, "n1").await;
    lab.hear_all(&[agent.succeeded(reference), agent.succeeded(reference)]).await;
    let news: Vec<_> =
        lab.messages().await.into_iter().filter(|message| message.kind == JobChanged::TYPE).collect();
    let expected = ["queued", "dispatched", "running", "succeeded"];
    let states: Vec<_> = news
        .iter()
        .map(|message| {
            let event: Value = serde_json::from_slice(&message.body).unwrap();
            assert_eq!(event["data"]["job"], json!(job));
            event["data"]["state"].as_str().unwrap().to_owned()
        })
        .collect();
    assert_eq!(states, expected);
    assert!(news.iter().all(|message| message.routing_key == format!("job.iad1.r12.{}", agent.origin.node)));
    let mut told = Vec::new();
    while let Ok(event) = feed.try_recv() {
        if let farrier::wire::api::StreamEvent::Job(changed) = event {
            told.push(changed.state.to_string());
        }
    }
    assert_eq!(told, expected);
}

#[tokio::test]
async fn what_was_done_leaves_the_outbox_and_the_rest_stays() {
    let lab = Lab::new().await;
    lab.agent("n1").await;
    lab.noop("n1").await;
    let pending = lab.store.pending(0, 100).await.unwrap().items;
    assert!(pending.len() >= 2);
    lab.store.done(&[pending[0].id]).await.unwrap();
    let left: Vec<_> =
        lab.store.pending(0, 100).await.unwrap().items.into_iter().map(|pending| pending.id).collect();
    assert_eq!(left, pending[1..].iter().map(|pending| pending.id).collect::<Vec<_>>());
}

#[tokio::test]
async fn while_nobody_is_heard_only_deadlines_end_anything() {
    let lab = Lab::new().await;
    let agent = lab.agent("n1").await;
    let (running, _) = lab.running(&agent, "n1").await;
    let other = lab.agent("n2").await;
    let (interrupted, _) = lab.interrupted(&other, "n2").await;
    let short = lab.submit(json!({"node": "n1", "verb": "noop", "timeout_seconds": 60})).await.id;
    lab.hear(&agent.heartbeat(None)).await;
    let before = lab.state(running).await;
    lab.passes(3600).await;
    lab.store.expire_deadlines(&BOUNDS).await.unwrap();
    assert_eq!(lab.state(short).await, JobState::Failed);
    assert_eq!(lab.state(running).await, before);
    lab.store.renew_all(&BOUNDS).await.unwrap();
    lab.after(30).await;
    assert_eq!(lab.state(interrupted).await, JobState::Interrupted, "its agent has its whole time again");
}
