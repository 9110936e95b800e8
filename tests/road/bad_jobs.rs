//! Jobs that cannot be taken in: each is told why, and none is lost.

use farrier_testbed::fleet::Fleet;
use farrier_testbed::wait::wait_for;
use reqwest::Method;
use serde_json::{Value, json};

use crate::lab::{Lab, SOON};
use crate::tap::Tap;

const NODE_OF_NOBODY: &str = "4c4c4544-0042-3510-8054-b3c04f4e3932";

/// A job that cannot be taken in, the code of why, and the field that its reason names.
struct BadJob {
    job: Value,
    status: u16,
    code: &'static str,
    field: Option<&'static str>,
}

fn bad_jobs(node: &str) -> Vec<BadJob> {
    let bad = |job, status, code, field| BadJob { job, status, code, field };
    let deploy = |hints: Value| {
        let spec = json!({
            "image_source": "http://127.0.0.1:1/disk.img",
            "image_checksum": "0".repeat(64),
            "root_device": hints,
        });
        json!({"node": node, "verb": "deploy", "spec": spec})
    };
    let mut misspelt = deploy(json!({"serial": "disk0"}));
    misspelt["spec"]["root_devise"] = misspelt["spec"]["root_device"].take();
    misspelt["spec"].as_object_mut().unwrap().remove("root_device");
    vec![
        bad(json!({"verb": "noop"}), 400, "bad-schema", Some("node")),
        bad(json!({"node": 7, "verb": "noop"}), 400, "bad-schema", Some("node")),
        bad(json!({"node": node, "verb": "noop", "retires": 3}), 400, "bad-schema", Some("retires")),
        bad(
            json!({"node": node, "verb": "noop", "retry": {"max_attempts": 0}}),
            400,
            "bad-schema",
            Some("retry.max_attempts"),
        ),
        bad(json!({"node": node, "verb": "format"}), 400, "unknown-verb", Some("verb")),
        bad(json!({"node": NODE_OF_NOBODY, "verb": "noop"}), 404, "unknown-node", None),
        bad(json!({"node": "no-such-name", "verb": "noop"}), 404, "unknown-node", None),
        bad(misspelt, 400, "bad-schema", Some("spec.root_devise")),
        bad(deploy(json!({"serail": "disk0"})), 400, "bad-schema", Some("spec.root_device.serail")),
    ]
}

/// The message of automation for a job.
fn message(job: &Value) -> Value {
    json!({
        "specversion": "1.0",
        "id": "one",
        "source": "/automation/test",
        "type": "dev.farrier.job.v1",
        "data": job,
    })
}

async fn send(tap: &Tap, body: &[u8]) {
    tap.publish_bytes("farrier.jobs", "farrier.jobs", body).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_taken_from_the_queue_is_put_aside_with_its_reason() {
    let lab = Lab::start(Fleet::builder().agents(1)).await;
    let tap = Tap::open(&lab.fleet.rabbitmq.amqp_url(), &lab.node()).await;
    let good = json!({"node": lab.node(), "verb": "noop"});
    let mut no_source = message(&good);
    no_source.as_object_mut().unwrap().remove("source");
    let mut other_type = message(&good);
    other_type["type"] = json!("dev.farrier.job.v9");
    let text = |event: &Value| event.to_string();
    let mut bad: Vec<(String, &str, Option<&str>)> = vec![
        ("{\"node\": ".to_owned(), "not-json", None),
        (text(&no_source), "bad-schema", Some("source")),
        (text(&other_type), "unknown-type", None),
    ];
    for job in bad_jobs(&lab.node()) {
        bad.push((text(&message(&job.job)), job.code, job.field));
    }
    for (body, ..) in &bad {
        send(&tap, body.as_bytes()).await;
    }
    for (body, code, field) in &bad {
        let letter = lab.dead_letter(body).await;
        assert_eq!(letter["code"], *code, "{letter:#}");
        assert_eq!(letter["exchange"], "farrier.jobs", "{letter:#}");
        let reason = letter["reason"].as_str().unwrap();
        // The message of an unknown verb names the verb itself.
        let named = field.is_none_or(|field| reason.contains(&format!("`{field}`")) || field == "verb");
        assert!(named, "the reason does not name {field:?}: {reason}");
    }
    let jobs = lab.api.get("v1/jobs").await.unwrap();
    assert_eq!(jobs["items"], json!([]), "a bad job became a job");
    let metrics = lab.api.metrics().await.unwrap();
    assert!(metrics.contains(r#"farrier_dead_letters_total{code="unknown-verb"} 1"#), "{metrics}");

    // What comes behind them is not held up by them.
    send(&tap, text(&message(&good)).as_bytes()).await;
    let job = only_job(&lab).await;
    assert_eq!(job["submitted_by"], "/automation/test");
    lab.succeeds(job["id"].as_str().unwrap()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_put_aside_becomes_a_job_once_its_cause_is_gone() {
    let lab = Lab::start(Fleet::builder().agents(1).auto_enroll(false)).await;
    let node = lab.node();
    lab.api.node_is_alive(&node, SOON).await.unwrap();
    let tap = Tap::open(&lab.fleet.rabbitmq.amqp_url(), &node).await;
    let body = message(&json!({"node": node, "verb": "noop"})).to_string();
    send(&tap, body.as_bytes()).await;
    let letter = lab.dead_letter(&body).await;
    assert_eq!(letter["code"], "not-enrolled", "{letter:#}");
    assert!(letter["reason"].as_str().unwrap().contains("enrol"), "{letter:#}");

    lab.api.enroll(&node, "n1").await.unwrap();
    let requeue = format!("v1/dead/{}/requeue", letter["id"].as_str().unwrap());
    lab.api.request(Method::POST, &requeue, None).await.unwrap().success().unwrap();
    let job = only_job(&lab).await;
    lab.succeeds(job["id"].as_str().unwrap()).await;
    assert_eq!(lab.api.get("v1/dead").await.unwrap()["items"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_taken_over_http_is_refused_with_its_field() {
    let lab = Lab::start(Fleet::builder().agents(1)).await;
    for bad in bad_jobs(&lab.node()) {
        let answer = lab.api.request(Method::POST, "v1/jobs", Some(&bad.job)).await.unwrap();
        let found = (answer.status.as_u16(), answer.body["code"].as_str(), answer.body["field"].as_str());
        assert_eq!(found, (bad.status, Some(bad.code), bad.field), "{}: {:#}", bad.job, answer.body);
        assert!(answer.body["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{:#}", answer.body);
    }
    let not_json = reqwest::Client::new()
        .post(format!("{}/v1/jobs", lab.api.url()))
        .header("content-type", "application/json")
        .body("{\"node\": ")
        .timeout(SOON)
        .send()
        .await
        .unwrap();
    assert_eq!(not_json.status(), 400);
    let problem: Value = not_json.json().await.unwrap();
    assert_eq!(problem["code"], "not-json", "{problem:#}");
    assert_eq!(lab.api.get("v1/jobs").await.unwrap()["items"], json!([]), "a bad job became a job");
}

async fn only_job(lab: &Lab) -> Value {
    wait_for("the job is there", SOON, async || {
        let jobs = lab.api.get("v1/jobs").await?["items"].clone();
        Ok(jobs.as_array().filter(|jobs| jobs.len() == 1).map(|jobs| jobs[0].clone()))
    })
    .await
    .unwrap()
}
