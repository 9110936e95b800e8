//! Each verb, from the API to the disk and back.

use farrier_testbed::fleet::Fleet;
use reqwest::Method;
use serde_json::{Value, json};

use crate::lab::{Lab, SOON, assert_all_zero, assert_not_bootable, code};

#[tokio::test(flavor = "multi_thread")]
async fn each_verb_goes_the_whole_road() {
    let lab = Lab::start(Fleet::builder().agents(1).agent_metrics(true)).await;
    let node = lab.node();
    let (root, other) = (lab.disk(0, 0), lab.disk(0, 1));

    let noop = lab.api.submit(&json!({"node": node, "verb": "noop"})).await.unwrap();
    lab.succeeds(&noop).await;

    let missing = lab.api.request(Method::GET, &format!("v1/nodes/{node}/inventory"), None).await.unwrap();
    assert!(missing.success().unwrap_err().to_string().contains("404"));
    let inspect = lab.api.submit(&json!({"node": node, "verb": "inspect"})).await.unwrap();
    lab.succeeds(&inspect).await;
    let inventory = lab.api.get(&format!("v1/nodes/{node}/inventory")).await.unwrap()["inventory"].clone();
    let disks: Vec<_> = inventory["disks"].as_array().unwrap().iter().map(|disk| &disk["name"]).collect();
    assert_eq!(disks, [root.to_str().unwrap(), other.to_str().unwrap()], "lab disks and no others");
    for key in ["cpu", "memory", "interfaces", "system_vendor", "boot", "hostname"] {
        assert!(!inventory[key].is_null(), "{key}");
    }
    assert!(inventory["cpu"]["count"].as_u64() > Some(0) && inventory["memory"]["total"].as_u64() > Some(0));

    let clean = lab.api.submit(&json!({"node": node, "verb": "clean"})).await.unwrap();
    let clean = lab.succeeds(&clean).await;
    let erased = clean["output"]["clean"]["devices"].as_array().unwrap();
    assert_eq!(erased.len(), 4, "two steps on two disks: {erased:#?}");
    for report in erased.iter().filter(|report| report["step"] == "erase_devices") {
        assert_eq!(report["proof"]["complete"], true);
        assert_eq!(report["proof"]["bytes_verified"], report["device"]["size"]);
    }
    assert_all_zero(&root);
    assert_all_zero(&other);

    let deploy = lab.api.submit(&lab.deploy(0)).await.unwrap();
    let deploy = lab.succeeds(&deploy).await;
    lab.assert_holds_image(&root);
    assert_all_zero(&other);
    let report = &deploy["output"]["deploy"];
    assert_eq!(report["image_checksum"], format!("sha256:{}", lab.image.sha256_hex));
    assert_eq!(report["partitions"].as_array().unwrap().len(), 2, "{report:#}");
    let steps: Vec<_> =
        deploy["attempts"][0]["steps"].as_array().unwrap().iter().map(|s| &s["name"]).collect();
    assert_eq!(steps, ["choose_root_device", "write_image", "verify_partitions"]);

    let metrics = lab.api.metrics().await.unwrap();
    let deployed = r#"farrier_jobs_total{verb="deploy",state="succeeded"} 1"#;
    assert!(metrics.contains(deployed), "{metrics}");
    assert!(!metrics.contains(&node), "a metric has a label for a node");
    let agent = lab.fleet.agents[0].spec().metrics_listen.unwrap();
    let metrics = lab.api.text_at(&format!("http://{agent}/metrics")).await.unwrap();
    assert!(metrics.contains(r#"farrier_commands_total{verb="deploy",outcome="succeeded"} 1"#), "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_is_cancelled_while_it_writes_and_while_it_waits() {
    let lab = Lab::start(Fleet::builder().agents(1)).await;
    let running = lab.api.submit(&lab.deploy_slowly(0)).await.unwrap();
    let waiting = lab.api.submit(&json!({"node": lab.node(), "verb": "noop"})).await.unwrap();
    lab.is_writing(&running).await;
    let wait = lab.api.job(&waiting).await.unwrap()["wait"].clone();
    assert_eq!((&wait["reason"], wait["until"].is_null()), (&json!("node_busy"), false), "{wait}");

    let cancel = |job: &str| format!("v1/jobs/{job}/cancel");
    let told = lab.api.post(&cancel(&waiting), &json!({"reason": "not needed"})).await.unwrap();
    assert_eq!(told["state"], "cancelled");
    lab.api.post(&cancel(&running), &json!({})).await.unwrap();
    let job = lab.api.job_is(&running, "cancelled", SOON).await.unwrap();
    assert_eq!(code(&job), "cancelled");
    assert_not_bootable(&lab.disk(0, 0));

    let next = lab.api.submit(&lab.deploy(0)).await.unwrap();
    lab.succeeds(&next).await;
    lab.assert_holds_image(&lab.disk(0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_submitted_twice_with_a_key_is_one_job() {
    let lab = Lab::start(Fleet::builder().agents(1)).await;
    let request = json!({"node": lab.node(), "verb": "noop", "idempotency_key": "order-4711"});
    let first = lab.api.post("v1/jobs", &request).await.unwrap();
    let second = lab.api.post("v1/jobs", &request).await.unwrap();
    assert_eq!((&first["created"], &second["created"]), (&json!(true), &json!(false)));
    assert_eq!(first["job"]["id"], second["job"]["id"]);
    let other = json!({"node": lab.node(), "verb": "inspect", "idempotency_key": "order-4711"});
    let refused = lab.api.request(Method::POST, "v1/jobs", Some(&other)).await.unwrap();
    assert!(refused.success().unwrap_err().to_string().contains("409"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_agent_is_listed_and_commanded_only_once_enrolled() {
    let lab = Lab::start(Fleet::builder().agents(1).auto_enroll(false)).await;
    let node = lab.node();
    let found = lab.api.node_is_alive(&node, SOON).await.unwrap();
    assert_eq!(found["enrolment"], "discovered");
    let job = json!({"node": node, "verb": "noop"});
    let refused = lab.api.request(Method::POST, "v1/jobs", Some(&job)).await.unwrap();
    let refused = refused.success().unwrap_err().to_string();
    assert!(refused.contains("not-enrolled"), "{refused}");
    let enrolled: Value = lab.api.enroll(&node, "n1").await.unwrap();
    assert_eq!((&enrolled["site"], &enrolled["rack"]), (&json!("iad1"), &json!("r12")), "as its agent said");
    let job = lab.api.submit(&json!({"node": "n1", "verb": "noop"})).await.unwrap();
    lab.succeeds(&job).await;
}
