//! What is done for jobs outside of the store, as the store sees it.

use farrier::wire::api::JobState;
use farrier::wire::report::Output;
use farrier::wire::{
    Afterwards, Command, ErrorCode, ErrorReport, FreshImageUrls, ImageUrlWanted, JobId, Outcome,
};
use farrier_coordinator::store::errands::{ErrandKind, Phase, Prepared, Restart};
use serde_json::{Value, json};

use crate::lab::{Agent, BOUNDS, Lab, as_submitted};

fn deploy(node: &str) -> Value {
    let spec = json!({"image_source": "http://images/i.raw", "image_checksum": format!("sha256:{}", "0".repeat(64))});
    json!({"node": node, "verb": "deploy", "spec": spec, "retry": {"max_attempts": 2, "backoff_seconds": 10}})
}

async fn reason(lab: &Lab, job: JobId) -> String {
    lab.job(job).await.wait.unwrap().reason
}

#[tokio::test]
async fn a_command_that_cannot_be_made_is_tried_again_as_often_as_an_attempt() {
    let lab = Lab::new().await;
    lab.agent("n1").await;
    let job = lab.submit(deploy("n1")).await.id;
    let errand = lab.errand(ErrandKind::Prepare).await;
    assert!(lab.store.enter_phase(errand, Some(Phase::Image), None).await.unwrap());
    assert_eq!(reason(&lab, job).await, "image");

    let error = ErrorReport::new(ErrorCode::HttpUnavailable, "Swift is down");
    lab.store.preparation_failed(errand, error.clone()).await.unwrap();
    assert_eq!(reason(&lab, job).await, "backoff");
    assert_eq!(lab.job(job).await.error.unwrap(), error);
    assert!(lab.store.errands().await.unwrap().is_empty(), "it waits for its next attempt");

    lab.passes(11).await;
    let errand = lab.errand(ErrandKind::Prepare).await;
    lab.store.preparation_failed(errand, error).await.unwrap();
    let failed = lab.job(job).await;
    assert_eq!((failed.state, failed.attempt), (JobState::Failed, 0), "no command was ever sent");
}

#[tokio::test]
async fn what_cannot_pass_fails_at_once() {
    let lab = Lab::new().await;
    lab.agent("n1").await;
    let job = lab.submit(deploy("n1")).await.id;
    let errand = lab.errand(ErrandKind::Prepare).await;
    let error = ErrorReport::new(ErrorCode::ImageNotFound, "there is no such object");
    lab.store.preparation_failed(errand, error).await.unwrap();
    assert_eq!(lab.state(job).await, JobState::Failed);
}

#[tokio::test]
async fn a_command_that_was_prepared_too_long_is_not_sent() {
    let lab = Lab::new().await;
    let agent = lab.agent("n1").await;
    let job = lab.submit(deploy("n1")).await.id;
    let errand = lab.errand(ErrandKind::Prepare).await;
    let seen = lab.store.circumstances(errand).await.unwrap().unwrap();
    let work = as_submitted(seen.work.clone());
    let prepared = Prepared { work, restart: None, url_expires_at: None };
    let send = async || lab.store.dispatch_prepared(errand, &seen, prepared.clone(), &BOUNDS).await.unwrap();

    lab.after(36).await;
    assert!(!send().await, "its agent is gone");
    lab.hear(&agent.hello(None)).await;
    lab.store.jobs().cancel(job, None).await.unwrap();
    assert!(!send().await, "it was cancelled");
    assert!(lab.store.circumstances(errand).await.unwrap().is_none());
    assert!(lab.commands().await.is_empty());
}

/// A disk that is put on the skip list while a deploy is prepared is not written by it.
#[tokio::test]
async fn a_command_that_was_prepared_for_another_node_than_there_is_now_is_not_sent() {
    let lab = Lab::new().await;
    let agent = lab.agent("n1").await;
    lab.submit(deploy("n1")).await;
    let errand = lab.errand(ErrandKind::Prepare).await;
    let seen = lab.store.circumstances(errand).await.unwrap().unwrap();
    let prepared = || Prepared { work: as_submitted(seen.work.clone()), restart: None, url_expires_at: None };
    let send = async || lab.store.dispatch_prepared(errand, &seen, prepared(), &BOUNDS).await.unwrap();
    let skip =
        serde_json::from_value(json!({"properties": {"skip_block_devices": [{"serial": "PRECIOUS"}]}}));
    lab.store.nodes().change("n1", skip.unwrap()).await.unwrap();
    assert!(!send().await, "a disk was put on the skip list");
    let now = lab.store.circumstances(errand).await.unwrap().unwrap();
    lab.hear(&agent.rebooted().hello(None)).await;
    assert!(!lab.store.dispatch_prepared(errand, &now, prepared(), &BOUNDS).await.unwrap(), "another boot");
    let farrier::wire::Work::Deploy(spec) = lab.deploy(None).await.work else { panic!("another verb") };
    assert_eq!(spec.skip_block_devices[0].serial.clone().unwrap(), "PRECIOUS");
}

#[tokio::test]
async fn a_node_without_an_agent_is_to_be_powered_on_for_the_first_of_its_jobs() {
    let lab = Lab::new().await;
    lab.enrol("n1").await;
    let job = lab.submit(deploy("n1")).await.id;
    lab.noop("n1").await;
    let errand = lab.errand(ErrandKind::PowerOn).await;
    assert_eq!(errand.job, job);
    lab.store.enter_phase(errand, Some(Phase::PowerOn), None).await.unwrap();
    assert_eq!(reason(&lab, job).await, "power_on");
    lab.store.enter_phase(errand, None, None).await.unwrap();
    assert_eq!(reason(&lab, job).await, "agent");
}

#[tokio::test]
async fn a_machine_is_restarted_after_its_deploy_and_takes_nothing_else_meanwhile() {
    for (restart, afterwards, phase) in [
        (Restart::InBand, Afterwards::PowerOff, "power_off"),
        (Restart::OutOfBand, Afterwards::Flush, "power_off"),
        (Restart::Reset, Afterwards::Flush, "boot_device"),
        (Restart::Agent, Afterwards::Reboot, "agent_gone"),
    ] {
        let lab = Lab::new().await;
        let agent = lab.agent("n1").await;
        let job = lab.submit(deploy("n1")).await.id;
        let command = lab.deploy(Some(restart)).await;
        assert_eq!(command.afterwards, afterwards);
        lab.hear(&agent.accepted(command.reference)).await;
        lab.hear(&agent.succeeded(command.reference)).await;
        let shown = lab.job(job).await;
        assert_eq!((shown.state, reason(&lab, job).await.as_str()), (JobState::Finishing, phase));
        assert!(shown.output.is_some() && shown.finished_at.is_none());

        let behind = lab.noop("n1").await;
        lab.hear(&agent.hello(None)).await;
        assert_eq!(lab.store.dispatch(&BOUNDS).await.unwrap(), 0);
        assert_eq!(reason(&lab, behind).await, "node_busy");

        let errand = lab.errand(ErrandKind::Restart).await;
        lab.store.restarted(errand, Ok(())).await.unwrap();
        assert_eq!(lab.state(job).await, JobState::Succeeded);
        assert!(!lab.store.awaits(errand).await.unwrap());
        assert_eq!(lab.store.dispatch(&BOUNDS).await.unwrap(), 0, "its agent went with the restart");
        lab.hear(&agent.rebooted().hello(None)).await;
        assert_eq!(lab.store.dispatch(&BOUNDS).await.unwrap(), 1);
    }
}

async fn finishing(lab: &Lab) -> (Agent, JobId) {
    let agent = lab.agent("n1").await;
    let job = lab.submit(deploy("n1")).await.id;
    let command = lab.deploy(Some(Restart::InBand)).await;
    lab.hear(&agent.accepted(command.reference)).await;
    lab.hear(&agent.succeeded(command.reference)).await;
    (agent, job)
}

#[tokio::test]
async fn a_restart_outlives_the_deadline_the_lease_and_another_boot() {
    let lab = Lab::new().await;
    let (agent, job) = finishing(&lab).await;
    lab.after(7 * 3600).await;
    lab.hear(&agent.rebooted().hello(None)).await;
    assert_eq!(lab.state(job).await, JobState::Finishing);
    let errand = lab.errand(ErrandKind::Restart).await;
    let error = ErrorReport::new(ErrorCode::PowerTimeout, "it is still on");
    lab.store.restarted(errand, Err(error.clone())).await.unwrap();
    let failed = lab.job(job).await;
    assert_eq!((failed.state, failed.error), (JobState::Failed, Some(error)));
    assert_eq!(failed.output, Some(Output::Noop {}), "the image is on the disk");
}

#[tokio::test]
async fn a_restart_can_be_left_out_on_request() {
    let lab = Lab::new().await;
    let (_, job) = finishing(&lab).await;
    let errand = lab.errand(ErrandKind::Restart).await;
    lab.store.jobs().cancel(job, None).await.unwrap();
    assert_eq!(lab.state(job).await, JobState::Cancelled);
    assert!(!lab.store.awaits(errand).await.unwrap());
    assert!(lab.cancels().await.is_empty(), "its agent is done");
    lab.store.restarted(errand, Ok(())).await.unwrap();
    assert_eq!(lab.state(job).await, JobState::Cancelled);
}

#[tokio::test]
async fn a_deploy_that_failed_or_names_no_restart_does_not_restart() {
    let lab = Lab::new().await;
    let agent = lab.agent("n1").await;
    let job = lab.submit(deploy("n1")).await.id;
    let command = lab.deploy(Some(Restart::InBand)).await;
    lab.hear(&agent.failed(command.reference, ErrorCode::DigestMismatch)).await;
    assert_eq!(lab.state(job).await, JobState::Failed);
    let job = lab.submit(deploy("n1")).await.id;
    let command = lab.deploy(None).await;
    assert_eq!(command.afterwards, Afterwards::Stay);
    lab.hear(&agent.succeeded(command.reference)).await;
    assert_eq!(lab.state(job).await, JobState::Succeeded);
}

#[tokio::test]
async fn a_refused_url_is_answered_once_and_only_to_the_command_that_runs() {
    let lab = Lab::new().await;
    let agent = lab.agent("n1").await;
    let job = lab.submit(deploy("n1")).await.id;
    let command = lab.deploy(None).await;
    let wanted = |agent: &Agent| {
        farrier::wire::AgentEvent::ImageUrlWanted(ImageUrlWanted {
            origin: agent.origin.clone(),
            reference: command.reference,
            sequence: 7,
            image_source: "http://images/i.raw".into(),
            status: 401,
        })
    };
    lab.hear(&wanted(&agent)).await;
    assert!(lab.store.errands().await.unwrap().is_empty(), "it does not run yet");
    lab.hear(&agent.accepted(command.reference)).await;
    lab.hear(&wanted(&agent.rebooted())).await;
    assert!(lab.store.errands().await.unwrap().is_empty(), "another boot has asked");

    lab.hear(&wanted(&agent)).await;
    lab.hear(&wanted(&agent)).await;
    let errand = lab.errand(ErrandKind::Refresh).await;
    let url = || "http://images/i.raw?fresh".parse().unwrap();
    let made = || FreshImageUrls::Made { image_source: url(), image_mirrors: Vec::new() };
    let end = "2030-01-01T00:00:00Z".parse().unwrap();
    lab.store.send_urls(errand, made(), Some(end)).await.unwrap();
    lab.store.send_urls(errand, made(), None).await.unwrap();
    let answers: Vec<_> = lab
        .commands()
        .await
        .into_iter()
        .filter_map(|command| if let Command::ImageUrl(answer) = command { Some(answer) } else { None })
        .collect();
    assert_eq!(answers.len(), 1);
    assert_eq!((answers[0].reference, answers[0].node), (command.reference, agent.origin.node));
    assert_eq!(answers[0].answer, made());

    lab.hear(&wanted(&agent)).await;
    assert_eq!(lab.store.circumstances(errand).await.unwrap().unwrap().url_expires_at, Some(end));
    lab.hear(&agent.result(
        command.reference,
        Outcome::Failed,
        Some(ErrorReport::new(ErrorCode::UrlExpired, "x")),
        None,
    ))
    .await;
    assert!(!lab.store.awaits(errand).await.unwrap(), "the attempt is over");
    assert_eq!(lab.state(job).await, JobState::Queued);
}
