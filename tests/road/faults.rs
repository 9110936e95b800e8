//! Parts that go away while an image is being written.

use std::time::Duration;

use farrier_testbed::fleet::Fleet;
use farrier_testbed::wait::wait_for;
use serde_json::json;
use tokio::task::block_in_place;

use crate::lab::{Lab, SOON, assert_not_bootable};

#[tokio::test(flavor = "multi_thread")]
async fn the_broker_goes_and_comes_back() {
    let mut lab = Lab::start(Fleet::builder().agents(2).lease_seconds(30)).await;
    let jobs = [
        lab.api.submit(&lab.deploy_slowly(0)).await.unwrap(),
        lab.api.submit(&lab.deploy_slowly(1)).await.unwrap(),
    ];
    for job in &jobs {
        lab.is_writing(job).await;
    }
    block_in_place(|| {
        lab.fleet.rabbitmq.stop();
        lab.fleet.rabbitmq.start_again()
    })
    .unwrap();
    for (agent, job) in jobs.iter().enumerate() {
        let job = lab.succeeds(job).await;
        assert_eq!(job["attempt"], 1, "the agent went on: {job:#}");
        lab.assert_holds_image(&lab.disk(agent, 0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_is_killed_and_its_next_boot_does_it_again() {
    let mut lab = Lab::start(Fleet::builder().agents(1)).await;
    let job = lab.api.submit(&lab.deploy_slowly(0)).await.unwrap();
    lab.is_writing(&job).await;
    block_in_place(|| lab.fleet.agents[0].kill());
    assert_not_bootable(&lab.disk(0, 0));
    let waiting = lab.api.job_is(&job, "interrupted", SOON).await.unwrap();
    assert_eq!(waiting["wait"]["reason"], "heartbeat", "{waiting:#}");

    lab.fleet.agents[0].start().unwrap();
    let job = lab.succeeds(&job).await;
    assert_eq!(job["attempt"], 2, "{job:#}");
    let [first, second] = [&job["attempts"][0], &job["attempts"][1]];
    assert_eq!((&first["state"], &first["error"]["code"]), (&json!("interrupted"), &json!("interrupted")));
    assert_ne!(first["boot_id"], second["boot_id"]);
    lab.assert_holds_image(&lab.disk(0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_does_not_come_back_has_a_job_that_says_so_and_can_be_cancelled() {
    let mut lab = Lab::start(Fleet::builder().agents(1)).await;
    let job = lab.api.submit(&lab.deploy_slowly(0)).await.unwrap();
    lab.is_writing(&job).await;
    block_in_place(|| lab.fleet.agents[0].kill());
    lab.api.job_is(&job, "interrupted", SOON).await.unwrap();
    lab.api.post(&format!("v1/jobs/{job}/cancel"), &json!({})).await.unwrap();
    lab.api.job_is(&job, "cancelled", SOON).await.unwrap();
    assert_not_bootable(&lab.disk(0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_coordinator_is_killed_and_started_again() {
    let mut lab = Lab::start(Fleet::builder().agents(1)).await;
    let job = lab.api.submit(&lab.deploy_slowly(0)).await.unwrap();
    lab.is_writing(&job).await;
    block_in_place(|| lab.fleet.coordinator.kill());
    lab.api = lab.fleet.coordinator.start().await.unwrap();
    let job = lab.succeeds(&job).await;
    assert_eq!(job["attempt"], 1, "{job:#}");
    lab.assert_holds_image(&lab.disk(0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_that_nobody_could_take_is_kept() {
    let mut lab = Lab::start(Fleet::builder().agents(1).lease_seconds(30)).await;
    let job = lab.api.submit(&lab.deploy_slowly(0)).await.unwrap();
    lab.is_writing(&job).await;
    // The deploy ends while there is neither a broker nor a coordinator.
    block_in_place(|| {
        lab.fleet.coordinator.kill();
        lab.fleet.rabbitmq.stop();
    });
    let log = lab.fleet.agents[0].log().to_owned();
    wait_for("the agent has ended the deploy", SOON, async || {
        Ok(std::fs::read_to_string(&log)?.contains("outcome=\"succeeded\"").then_some(()))
    })
    .await
    .unwrap();
    block_in_place(|| lab.fleet.rabbitmq.start_again()).unwrap();
    lab.api = lab.fleet.coordinator.start().await.unwrap();
    let job = lab.succeeds(&job).await;
    assert_eq!(job["attempt"], 1, "{job:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_told_to_end_ends_what_it_does_and_then_itself() {
    let mut lab = Lab::start(Fleet::builder().agents(1)).await;
    let job = lab.api.submit(&lab.deploy_slowly(0)).await.unwrap();
    lab.is_writing(&job).await;
    let status = lab.fleet.agents[0].stop(SOON).await.unwrap();
    assert!(status.success(), "{status}");
    let job = lab.succeeds(&job).await;
    assert_eq!(job["attempt"], 1, "{job:#}");
    lab.assert_holds_image(&lab.disk(0, 0));

    let waiting = lab.api.submit(&json!({"node": lab.node(), "verb": "noop"})).await.unwrap();
    let waits = |job: &serde_json::Value| job["wait"]["reason"] == "agent";
    lab.api.job_becomes(&waiting, "waits for an agent", Duration::from_secs(30), waits).await.unwrap();
}
