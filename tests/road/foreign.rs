//! A client in another language, which knows the folder `schemas/` alone.

use std::path::Path;

use farrier_testbed::fleet::Fleet;
use serde_json::{Value, json};
use tokio::process::Command;
use tokio::time::timeout;

use crate::lab::{Lab, SOON, assert_not_bootable};

#[tokio::test(flavor = "multi_thread")]
async fn a_python_client_enqueues_a_job_and_reads_its_result() {
    let lab = Lab::start(Fleet::builder().agents(1)).await;
    let result = run(&lab, "noop", &json!({}), 0).await;
    assert_eq!(result["data"]["outcome"], "succeeded", "{result:#}");

    let good = lab.deploy(0)["spec"].clone();
    let result = run(&lab, "deploy", &good, 0).await;
    let checksum = format!("sha256:{}", lab.image.sha256_hex);
    assert_eq!(result["data"]["output"]["deploy"]["image_checksum"], checksum, "{result:#}");
    lab.assert_holds_image(&lab.disk(0, 0));

    let mut bad = good;
    bad["image_checksum"] = json!("1".repeat(64));
    let result = run(&lab, "deploy", &bad, 1).await;
    let data = &result["data"];
    assert_eq!((&data["outcome"], &data["error"]["code"]), (&json!("failed"), &json!("digest-mismatch")));
    assert_not_bootable(&lab.disk(0, 0));
}

/// Has the client ask for a job, and gives the result that it read.
async fn run(lab: &Lab, verb: &str, spec: &Value, status: i32) -> Value {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut client = Command::new("/usr/bin/python3");
    client
        .arg(root.join("tests/foreign/client.py"))
        .arg(root.join("schemas"))
        .args([&lab.fleet.rabbitmq.amqp_url(), &lab.node(), verb, &spec.to_string()])
        .kill_on_drop(true);
    let output = timeout(SOON, client.output()).await.expect("the client does not end").unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(status), "{said}");
    serde_json::from_slice(&output.stdout).unwrap()
}
