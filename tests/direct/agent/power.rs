//! What an agent does when its work is done: it flushes, has its result confirmed, and then the power goes.

use farrier::wire::report::StepOutcome;
use farrier::wire::{
    Afterwards, AgentEvent, AgentState, CancelCommand, CommandResult, ErrorCode, Outcome, RunCommand,
};
use farrier_testbed::http::{Fault, FaultyServer, Script};
use farrier_testbed::wait::wait_for;

use super::station::{GOES, SOON, Station, image, next};

fn last_step(result: &CommandResult) -> (&str, StepOutcome) {
    let step = result.steps.last().unwrap();
    (step.name.as_str(), step.outcome)
}

/// Refuses the command for that reason, and has not begun it.
fn assert_rejected(result: &CommandResult, code: ErrorCode) {
    let error = result.error.as_ref().unwrap();
    assert_eq!((result.outcome, error.code), (Outcome::Rejected, code), "{error}");
    assert!(result.steps.is_empty(), "{result:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_power_goes_when_the_result_is_with_the_broker() {
    for (afterwards, word) in [(Afterwards::PowerOff, "off\n"), (Afterwards::Reboot, "reboot\n")] {
        let mut station = Station::start(Some(GOES)).await;
        assert!(station.hello.can_power && !station.hello.ramdisk);
        let command = RunCommand { afterwards, ..station.noop() };
        station.send(command.clone()).await;
        assert!(!station.fleet.agents[0].ended(SOON).await.unwrap().success(), "it was not killed");
        assert_eq!(station.told(), word);
        let result = station.result(&command).await;
        assert_eq!(result.outcome, Outcome::Succeeded);
        assert_eq!(last_step(&result), ("flush", StepOutcome::Succeeded));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_broker_the_machine_stays_on_until_the_result_is_confirmed() {
    let mut station = Station::start(Some(GOES)).await;
    // It stalls in the middle, long enough to take the broker away, and then goes on.
    let faults = vec![Fault::StallAfter(4 << 20), Fault::Nothing];
    let server = FaultyServer::run(Script::new(image(), faults)).await.unwrap();
    let command = RunCommand { afterwards: Afterwards::PowerOff, ..station.deploy(&server.url("image")) };
    station.send(command.clone()).await;
    server.has_sent(4 << 20).await.unwrap();
    // It takes what is sent, and confirms nothing.
    station.fleet.rabbitmq.freeze().unwrap();
    station.logs("A result was not confirmed").await;
    station.fleet.agents[0].check().unwrap();
    assert_eq!(station.told(), "", "the power was switched before the result was confirmed");

    station.fleet.rabbitmq.thaw().unwrap();
    let told = async || Ok((station.told() == "off\n").then_some(()));
    wait_for("the power is switched", SOON, told).await.unwrap();
    let result = station.result(&command).await;
    assert_eq!(result.outcome, Outcome::Succeeded, "{result:#?}");
    station.assert_holds_image();
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_flush_no_command_is_taken_and_heartbeats_go_on() {
    let mut station = Station::start(Some(GOES)).await;
    let command = RunCommand { afterwards: Afterwards::Flush, ..station.noop() };
    let result = station.succeeds(&command).await;
    assert_eq!(last_step(&result), ("flush", StepOutcome::Succeeded));
    for _ in 0..2 {
        let next = station.noop();
        station.send(next.clone()).await;
        assert_rejected(&station.result(&next).await, ErrorCode::Draining);
        let heartbeat = station.heartbeat(AgentState::Draining).await;
        assert_eq!(heartbeat.running, None);
    }
    station.fleet.agents[0].check().unwrap();
    assert_eq!(station.told(), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_known_to_come_afterwards_is_refused() {
    let mut station = Station::start(Some(GOES)).await;
    let command = station.noop();
    station.send_changed(&command, "afterwards", "hibernate").await;
    let result = station.result(&command).await;
    assert_rejected(&result, ErrorCode::BadSchema);
    assert_eq!(result.error.unwrap().field.as_deref(), Some("data.afterwards"));
    let next = station.noop();
    let result = station.succeeds(&next).await;
    assert_eq!(last_step(&result), ("noop", StepOutcome::Succeeded), "it flushes only when told to");
}

#[tokio::test(flavor = "multi_thread")]
async fn work_that_is_cancelled_or_fails_leaves_the_machine_on_and_the_agent_ready() {
    let mut station = Station::start(Some(GOES)).await;
    let script = Script::new(image(), vec![Fault::StallAfter(4 << 20)]);
    let server = FaultyServer::run(script).await.unwrap();
    let cancelled = RunCommand { afterwards: Afterwards::PowerOff, ..station.deploy(&server.url("image")) };
    station.send(cancelled.clone()).await;
    server.has_sent(4 << 20).await.unwrap();
    let cancel =
        CancelCommand { reference: cancelled.reference, node: cancelled.node, reason: "test".into() };
    station.send(cancel).await;
    assert_eq!(station.result(&cancelled).await.outcome, Outcome::Cancelled);

    let absent = FaultyServer::run(Script::new(image(), vec![Fault::Status(404)])).await.unwrap();
    let failed = RunCommand { afterwards: Afterwards::Reboot, ..station.deploy(&absent.url("image")) };
    station.send(failed.clone()).await;
    let result = station.result(&failed).await;
    assert_eq!((result.outcome, result.error.unwrap().code), (Outcome::Failed, ErrorCode::HttpStatus));

    let next = station.noop();
    station.succeeds(&next).await;
    assert_eq!(station.told(), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_power_cannot_be_switched_the_agent_says_so_and_stays() {
    for (power, says) in [(None, "--power-command is not set"), (Some("exit 3"), "exit status: 3")] {
        let mut station = Station::start(power).await;
        assert_eq!(station.hello.can_power, power.is_some());
        let command = RunCommand { afterwards: Afterwards::PowerOff, ..station.noop() };
        station.succeeds(&command).await;
        let line = station.line("the power was not switched").await;
        assert!(line.contains(says), "{line}");
        station.heartbeat(AgentState::Draining).await;
        let other = station.noop();
        station.send(other.clone()).await;
        assert_rejected(&station.result(&other).await, ErrorCode::Draining);
        station.fleet.agents[0].check().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_comes_once_however_the_agent_ends() {
    let mut station = Station::start(Some(GOES)).await;
    let command = RunCommand { afterwards: Afterwards::PowerOff, ..station.noop() };
    station.send(command.clone()).await;
    station.result(&command).await;
    // Another boot follows, as after any restart, and carries nothing out again.
    station.fleet.agents[0].ended(SOON).await.unwrap();
    station.fleet.agents[0].start().unwrap();
    let boot = station.boot();
    let between = next(&mut station.results, "hello of the next boot", |event| match event {
        AgentEvent::Hello(hello) if hello.origin.boot_id != boot => Some(true),
        AgentEvent::Result(_) => Some(false),
        _ => None,
    });
    assert!(between.await, "the result came twice");
}
