//! Messages that come twice, late, or in another order.

use farrier_testbed::fleet::Fleet;
use serde_json::json;

use crate::lab::Lab;
use crate::tap::Tap;

const RUN: &str = "dev.farrier.command.run.v1";
const ACCEPTED: &str = "dev.farrier.event.accepted.v1";
const RESULT: &str = "dev.farrier.event.result.v1";

#[tokio::test(flavor = "multi_thread")]
async fn what_was_said_before_changes_nothing() {
    let lab = Lab::start(Fleet::builder().agents(1)).await;
    let mut tap = Tap::open(&lab.fleet.rabbitmq.amqp_url(), &lab.node()).await;
    let job = lab.api.submit(&lab.deploy(0)).await.unwrap();
    let command = tap.next("the command", |seen| seen.is(RUN, &job)).await;
    let accepted = tap.next("accepted", |seen| seen.is(ACCEPTED, &job)).await;
    let result = tap.next("the result", |seen| seen.is(RESULT, &job)).await;
    let ended = lab.succeeds(&job).await;

    // All of it again, in the wrong order, and the result with another outcome: nobody may believe it.
    let mut forged = result.clone();
    forged.event["data"]["outcome"] = json!("failed");
    for message in [&result, &accepted, &forged, &command] {
        tap.publish(message).await;
    }
    // What comes after them has been taken in after them.
    let after = lab.api.submit(&json!({"node": lab.node(), "verb": "noop"})).await.unwrap();
    let next = tap
        .next("the next acceptance", |seen| seen.event["type"] == ACCEPTED && seen.event != accepted.event)
        .await;
    assert_eq!(next.event["data"]["job"], after, "the command was not carried out again");
    lab.succeeds(&after).await;
    assert_eq!(lab.api.job(&job).await.unwrap(), ended);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_may_come_before_the_acceptance() {
    let lab = Lab::start(Fleet::builder().agents(1).accept_seconds(60)).await;
    let mut tap = Tap::open(&lab.fleet.rabbitmq.amqp_url(), &lab.node()).await;
    // An agent that is stopped takes no command: its events are made here, from those of an earlier job.
    let model = lab.api.submit(&json!({"node": lab.node(), "verb": "noop"})).await.unwrap();
    let accepted = tap.next("accepted", |seen| seen.is(ACCEPTED, &model)).await;
    let result = tap.next("the result", |seen| seen.is(RESULT, &model)).await;
    lab.succeeds(&model).await;
    lab.fleet.agents[0].signal(nix::sys::signal::Signal::SIGSTOP).unwrap();

    let job = lab.api.submit(&json!({"node": lab.node(), "verb": "noop"})).await.unwrap();
    let command = tap.next("the command", |seen| seen.is(RUN, &job)).await;
    for mut event in [result, accepted] {
        for field in ["job", "command", "attempt"] {
            event.event["data"][field] = command.event["data"][field].clone();
        }
        tap.publish(&event).await;
    }
    let ended = lab.succeeds(&job).await;
    assert_eq!((&ended["attempt"], &ended["attempts"][0]["state"]), (&json!(1), &json!("succeeded")));
    lab.fleet.agents[0].signal(nix::sys::signal::Signal::SIGCONT).unwrap();
}
