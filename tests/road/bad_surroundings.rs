//! A broker that is away or refuses, configurations that are wrong, a store without room, and disks that may not be touched.

use std::path::Path;
use std::process::Output;
use std::time::Duration;

use farrier_testbed::binaries;
use farrier_testbed::fleet::Fleet;
use farrier_testbed::http::{Fault, FaultyServer};
use farrier_testbed::loop_device::LoopDevice;
use farrier_testbed::wait::wait_for;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::process::Command;
use tokio::task::block_in_place;
use tokio::time::timeout;

use crate::lab::{Lab, SOON, code};
use crate::mount::Mount;
use crate::tap::Tap;

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_away_at_the_start_is_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let mut fleet = Fleet::builder().agents(1).prepare(dir.path()).await.unwrap();
    block_in_place(|| fleet.rabbitmq.stop());
    let api = fleet.coordinator.start().await.unwrap();
    let unready = wait_for("the coordinator says why it is not ready", SOON, async || {
        let answer = api.request(Method::GET, "readyz", None).await?;
        Ok((answer.body["broker"]["message"] != "not connected to the broker").then_some(answer))
    });
    let unready = unready.await.unwrap();
    assert_eq!(unready.status, 503, "{unready:?}");
    assert_eq!(unready.body["broker"]["code"], "broker-unavailable", "{unready:?}");
    fleet.agents[0].start().unwrap();
    let log = log_says(fleet.agents[0].log(), "broker-unavailable").await;
    assert!(log.contains("127.0.0.1") && !log.contains("guest:guest"), "{log}");

    block_in_place(|| fleet.rabbitmq.start_again()).unwrap();
    api.is_ready(SOON).await.unwrap();
    let node = fleet.agents[0].node();
    api.node_is_alive(&node, SOON).await.unwrap();
    let job = api.submit(&json!({"node": node, "verb": "noop"})).await.unwrap();
    api.job_is(&job, "succeeded", SOON).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_refuses_the_credentials_is_asked_again_and_the_password_stays_secret() {
    let dir = tempfile::tempdir().unwrap();
    let mut fleet = Fleet::builder().agents(1).prepare(dir.path()).await.unwrap();
    let api = fleet.coordinator.start().await.unwrap();
    api.is_ready(SOON).await.unwrap();
    let agent = &mut fleet.agents[0];
    agent.spec_mut().broker = fleet.rabbitmq.amqp_url_of("late", "hunter2", "/");
    agent.start().unwrap();
    let log = log_says(agent.log(), "broker-refused").await;
    assert!(log.contains("late") && log.contains("127.0.0.1"), "{log}");
    agent.check().unwrap();

    // The operator corrects the broker; the agent needs no visit.
    fleet.rabbitmq.create_user("late", "hunter2").await.unwrap();
    fleet.rabbitmq.permit("late", "/", [".*", ".*", ".*"]).await.unwrap();
    api.node_is_alive(&agent.node(), SOON).await.unwrap();
    agent.check().unwrap();
    let log = std::fs::read_to_string(agent.log()).unwrap();
    assert!(!log.contains("hunter2"), "{log}");
}

/// Waits until a log says something, and gives all of it.
async fn log_says(log: &Path, what: &str) -> String {
    let mut said = String::new();
    let awaited = format!("{} says {what}", log.display());
    let found = wait_for(&awaited, SOON, async || {
        said = std::fs::read_to_string(log)?;
        Ok(said.contains(what).then_some(()))
    });
    if let Err(error) = found.await {
        panic!("{error:#}; it says:\n{said}");
    }
    said
}

#[tokio::test]
async fn a_configuration_with_an_unknown_key_is_refused_with_its_file_and_line() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("farrier.toml");
    for (program, text, key) in [
        (
            "farrier-agent",
            "node = \"random\"\nbroker = \"amqp://u:hunter2@127.0.0.1:1/\"\nlabdisk = []\n",
            "labdisk",
        ),
        (
            "farrier-coordinator",
            "broker = \"amqp://u:hunter2@127.0.0.1:1/\"\n\nlease_second = 3\n",
            "lease_second",
        ),
    ] {
        std::fs::write(&file, text).unwrap();
        let output = ends(program, &["--config", file.to_str().unwrap()]).await;
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{program}: {said}");
        for expected in [program, "farrier.toml, line 3", &format!("unknown key `{key}`"), "expected one of"]
        {
            assert!(said.contains(expected), "{expected} is not in: {said}");
        }
        assert!(!said.contains("hunter2"), "{said}");
    }
}

/// Runs a worker that is to end by itself.
async fn ends(program: &str, arguments: &[&str]) -> Output {
    let mut command = Command::new(binaries::find(program).unwrap());
    command.args(arguments).env_remove("FARRIER_BROKER").kill_on_drop(true);
    timeout(SOON, command.output()).await.expect("it does not end").unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_without_room_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let room = Mount::tmpfs(&dir.path().join("store"), 8 << 20);
    let fleet = Fleet::builder().agents(1).database(&room.path("farrier.db")).lease_seconds(60);
    let lab = Lab::start(fleet).await;
    let tap = Tap::open(&lab.fleet.rabbitmq.amqp_url(), &lab.node()).await;
    let running = lab.api.submit(&lab.deploy_slowly(0)).await.unwrap();
    lab.is_writing(&running).await;

    let filler = block_in_place(|| room.fill());
    let noop = json!({"node": lab.node(), "verb": "noop"});
    let refused = lab.api.request(Method::POST, "v1/jobs", Some(&noop)).await.unwrap();
    assert_eq!((refused.status.as_u16(), &refused.body["code"]), (507, &json!("store-full")), "{refused:?}");
    let unready = lab.api.request(Method::GET, "readyz", None).await.unwrap();
    assert_eq!(
        (unready.status.as_u16(), &unready.body["store"]["code"]),
        (503, &json!("store-full")),
        "{unready:?}"
    );
    // What is there can be read.
    assert_eq!(lab.api.job(&running).await.unwrap()["id"], running);

    let message = json!({
        "specversion": "1.0",
        "id": "one",
        "source": "/automation/test",
        "type": "dev.farrier.job.v1",
        "data": noop,
    });
    tap.publish_bytes("farrier.jobs", "farrier.jobs", message.to_string().as_bytes()).await;
    let log = lab.fleet.coordinator.log().to_owned();
    log_says(&log, "a job cannot be stored; it is kept in the queue").await;
    log_says(lab.fleet.agents[0].log(), "outcome=\"succeeded\"").await;
    log_says(&log, "what agents said cannot be stored; it is kept in the queue").await;
    assert_eq!(lab.api.get("v1/dead").await.unwrap()["items"], json!([]));

    std::fs::remove_file(filler).unwrap();
    let job = lab.succeeds(&running).await;
    assert_eq!(job["attempt"], 1, "{job:#}");
    let queued = wait_for("the job of the queue is there", SOON, async || {
        let jobs = lab.api.get("v1/jobs?verb=noop").await?["items"].clone();
        Ok(jobs.as_array().and_then(|jobs| jobs.first()).cloned())
    });
    let queued = queued.await.unwrap();
    assert_eq!(queued["submitted_by"], "/automation/test");
    lab.succeeds(queued["id"].as_str().unwrap()).await;
    // The one that was refused was not taken in by half.
    assert_eq!(lab.api.get("v1/jobs").await.unwrap()["items"].as_array().unwrap().len(), 2);
    lab.api.is_ready(Duration::from_secs(30)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_was_given_no_disk_destroys_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (fleet, api) = Fleet::builder().agents(1).lab_disks(&[]).start(dir.path()).await.unwrap();
    let images = FaultyServer::start(vec![0; 4096], Fault::Nothing).await.unwrap();
    for (verb, spec) in destructive(&images) {
        let job =
            api.submit(&json!({"node": fleet.agents[0].node(), "verb": verb, "spec": spec})).await.unwrap();
        let job = api.job_is(&job, "failed", SOON).await.unwrap();
        assert_eq!((code(&job), &job["attempt"]), ("no-lab-disks", &json!(1)), "{job:#}");
        assert!(job["error"]["message"].as_str().unwrap().contains("--lab-disk"), "{job:#}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_is_mounted_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("in-use");
    std::fs::File::create(&file).unwrap().set_len(16 << 20).unwrap();
    let tool = |name: &str, arguments: &[&str]| {
        let path = "/usr/sbin:/usr/bin:/sbin:/bin";
        let mut command = std::process::Command::new(name);
        let output = command.args(arguments).arg(&file).env("PATH", path).output().unwrap();
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    };
    tool("mke2fs", &["-q", "-F", "-t", "ext4"]);
    let device = LoopDevice::attach(&file, 512).unwrap();
    let mounted = Mount::device(device.path(), &dir.path().join("mounted"), "ext4");
    std::fs::write(mounted.path("precious"), "data").unwrap();

    let mut fleet =
        Fleet::builder().agents(1).lab_disks(&[]).prepare(&dir.path().join("fleet")).await.unwrap();
    fleet.agents[0].spec_mut().lab_disks = vec![device.path().to_owned()];
    let api = fleet.start().await.unwrap();
    let images = FaultyServer::start(vec![0; 4096], Fault::Nothing).await.unwrap();
    for (verb, spec) in destructive(&images) {
        let job =
            api.submit(&json!({"node": fleet.agents[0].node(), "verb": verb, "spec": spec})).await.unwrap();
        let job = api.job_is(&job, "failed", SOON).await.unwrap();
        assert_eq!((code(&job), &job["attempt"]), ("device-in-use", &json!(1)), "{job:#}");
        let message = job["error"]["message"].as_str().unwrap();
        let device = device.path().to_str().unwrap();
        assert!(message.contains(device) && message.contains("mounted at"), "{message}");
    }
    assert_eq!(std::fs::read_to_string(mounted.path("precious")).unwrap(), "data");
    drop((fleet, mounted, device));
    tool("e2fsck", &["-f", "-n"]);
}

/// What destroys, with a spec that chooses any disk. The coordinator asks the server about the image first.
fn destructive(images: &FaultyServer) -> [(&'static str, Value); 2] {
    let image = json!({"image_source": images.url("disk.img"), "image_checksum": "0".repeat(64)});
    [("clean", json!({})), ("deploy", image)]
}
