//! Secrets at rest: what stands in the files of the database, under which keys, and what happens without them.

use std::path::Path;

use farrier::wire::api::{ImageEntry, JobState};
use farrier::wire::{Coded as _, ErrorCode, JobId, Work};
use farrier_coordinator::images::swift::Terms;
use farrier_coordinator::store::errands::ErrandKind;
use farrier_coordinator::store::{Handed, MASK, StoreError, TempUrlEntry};
use serde_json::{Map, Value, json};

use crate::lab::{Agent, Lab};

const SECRETS: [&str; 4] = ["hunter-bmc", "hunter-proxy", "hunter-header", "hunter-signature"];

/// A node with passwords, and a job with others that has been sent.
async fn with_secrets(lab: &Lab) -> JobId {
    let node = lab.enrol("n1").await;
    let agent = Agent::of(node);
    lab.hear(&agent.hello(None)).await;
    change(
        lab,
        json!({"redfish_address": "https://bmc", "redfish_username": "u", "redfish_password": "hunter-bmc"}),
    )
    .await
    .unwrap();
    change(lab, json!({"image_http_proxy": "http://user:hunter-proxy@proxy:3128"})).await.unwrap();
    submit(lab).await
}

async fn submit(lab: &Lab) -> JobId {
    lab.submit(json!({
        "node": "n1", "verb": "deploy", "idempotency_key": "k", "spec": {
            "image_source": "https://swift/c/o?temp_url_sig=hunter-signature", "image_checksum": "ab".repeat(32),
            "image_request_authorization": "Bearer hunter-header",
            "image_https_proxy": "https://user:hunter-proxy@proxy"
        }
    }))
    .await
    .id
}

async fn change(lab: &Lab, driver_info: Value) -> Result<Map<String, Value>, StoreError> {
    let change = serde_json::from_value(json!({"driver_info": driver_info})).unwrap();
    Ok(lab.store.nodes().change("n1", change).await?.driver_info)
}

async fn opened(lab: &Lab) -> Result<Map<String, Value>, StoreError> {
    lab.store.nodes().driver_info("n1").await
}

/// Everything that stands in the files, bodies of messages as text too.
fn on_disk(folder: &Path) -> String {
    let files = std::fs::read_dir(folder).unwrap();
    let bytes: Vec<u8> = files.flat_map(|file| std::fs::read(file.unwrap().path()).unwrap()).collect();
    let text = String::from_utf8_lossy(&bytes).into_owned();
    // A body is an array of numbers.
    let bodies = text.split("\"body\":[").skip(1).map(|rest| rest.split(']').next().unwrap_or_default());
    let decoded: Vec<u8> =
        bodies.flat_map(|body| body.split(',').filter_map(|byte| byte.parse().ok())).collect();
    format!("{text}{}", String::from_utf8_lossy(&decoded))
}

fn found(folder: &Path) -> Vec<&'static str> {
    let text = on_disk(folder);
    SECRETS.into_iter().filter(|secret| text.contains(secret)).collect()
}

#[tokio::test]
async fn no_secret_stands_in_the_files_of_the_database() {
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("farrier.db");
    let lab = Lab::with_keys(&database, &[1]).await;
    let job = with_secrets(&lab).await;
    assert_eq!(found(folder.path()), [""; 0], "before anything is sent");
    let command = lab.deploy(None).await;
    assert_eq!(found(folder.path()), [""; 0], "with the command in the outbox");

    assert_eq!(opened(&lab).await.unwrap()["redfish_password"], "hunter-bmc");
    let Work::Deploy(spec) = command.work else { panic!("the command deploys") };
    assert_eq!(spec.image_request_authorization.unwrap().expose(), "Bearer hunter-header");
    assert!(spec.image_source.expose().as_str().contains("hunter-signature"), "the agent gets all of it");

    let shown = format!("{:?} {:?}", lab.store.nodes().get("n1").await.unwrap(), lab.job(job).await);
    let answers = [
        serde_json::to_string(&lab.store.nodes().get("n1").await.unwrap()).unwrap(),
        serde_json::to_string(&lab.job(job).await).unwrap(),
        shown,
    ];
    for answer in answers {
        assert!(!answer.contains("hunter") && answer.contains("proxy"), "{answer}");
    }
    assert_eq!(submit(&lab).await, job, "the same request is known again");
    lab.store.close().await;
    assert_eq!(found(folder.path()), [""; 0], "after the log was merged");
}

#[tokio::test]
async fn without_a_key_passwords_of_nodes_are_refused_and_jobs_are_kept_as_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let lab = Lab::at(&folder.path().join("farrier.db")).await;
    lab.agent("n1").await;
    let error = change(
        &lab,
        json!({"redfish_address": "https://bmc", "redfish_username": "u", "redfish_password": "hunter-bmc"}),
    )
    .await
    .unwrap_err()
    .report();
    assert_eq!(
        (error.code, error.field.as_deref()),
        (ErrorCode::SecretKeyMissing, Some("driver_info.redfish_password"))
    );
    assert!(
        error.message.contains("--secret-key-file") && !error.message.contains("hunter"),
        "{}",
        error.message
    );
    assert!(opened(&lab).await.unwrap().is_empty(), "nothing was changed");
    change(&lab, json!({"image_http_proxy": "http://proxy:3128"})).await.unwrap();
    let job = submit(&lab).await;
    lab.deploy(None).await;
    assert_eq!(lab.state(job).await, JobState::Dispatched);
    assert_eq!(found(folder.path()), SECRETS[1..], "that is how a test of the files fails");
}

#[tokio::test]
async fn what_is_shown_for_a_secret_is_not_taken_for_one() {
    let folder = tempfile::tempdir().unwrap();
    let lab = Lab::with_keys(&folder.path().join("farrier.db"), &[1]).await;
    with_secrets(&lab).await;
    let shown = change(&lab, json!({"rack_unit": 3})).await.unwrap();
    assert_eq!(
        (&shown["redfish_password"], &shown["image_http_proxy"]),
        (&json!(MASK), &json!("http://proxy:3128/"))
    );
    let error = change(&lab, json!({"redfish_password": MASK})).await.unwrap_err().report();
    assert_eq!(
        (error.code, error.field.as_deref()),
        (ErrorCode::BadSchema, Some("driver_info.redfish_password"))
    );
    assert_eq!(opened(&lab).await.unwrap()["redfish_password"], "hunter-bmc", "it is still there");
    change(&lab, json!({"redfish_password": null, "redfish_username": null})).await.unwrap();
    assert!(!opened(&lab).await.unwrap().contains_key("redfish_password"));
}

#[tokio::test]
async fn images_and_urls_that_are_handed_out_again_are_sealed_too() {
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("farrier.db");
    let image = uuid::Uuid::now_v7();
    let source = "https://swift/c/o?temp_url_sig=hunter-signature";
    let entry = ImageEntry::from_json(json!({"source": source})).unwrap();
    let kept = TempUrlEntry { url: source.to_owned(), expires_at: i64::MAX };
    let terms = Terms { now: 0, start_delay: 0, later_than: None };
    let lab = Lab::with_keys(&database, &[1]).await;
    lab.store.images().put(image, &entry).await.unwrap();
    lab.store.temp_url("f", terms, kept.clone()).await.unwrap();
    assert_eq!(found(folder.path()), [""; 0]);
    lab.store.close().await;

    let lab = Lab::with_keys(&database, &[2, 1]).await;
    lab.store.reseal().await.unwrap();
    lab.store.close().await;
    let lab = Lab::with_keys(&database, &[2]).await;
    assert_eq!(lab.store.images().entry(image).await.unwrap().unwrap(), entry);
    assert_eq!(lab.store.temp_url("f", terms, kept.clone()).await.unwrap(), Handed::Again(kept));
}

#[tokio::test]
async fn a_new_key_takes_the_place_of_an_old_one() {
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("farrier.db");
    let lab = Lab::with_keys(&database, &[1]).await;
    lab.store.reseal().await.unwrap();
    let job = with_secrets(&lab).await;
    lab.store.close().await;

    let lab = Lab::with_keys(&database, &[2, 1]).await;
    assert_eq!(opened(&lab).await.unwrap()["redfish_password"], "hunter-bmc", "the old key opens");
    lab.store.reseal().await.unwrap();
    lab.store.close().await;

    let lab = Lab::with_keys(&database, &[2]).await;
    lab.store.reseal().await.unwrap();
    assert_eq!(opened(&lab).await.unwrap()["redfish_password"], "hunter-bmc", "the new key alone does");
    assert_eq!(submit(&lab).await, job);
    assert!(matches!(lab.deploy(None).await.work, Work::Deploy(_)));
}

#[tokio::test]
async fn what_was_plain_is_sealed_once_there_is_a_key() {
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("farrier.db");
    let lab = Lab::at(&database).await;
    lab.agent("n1").await;
    let job = submit(&lab).await;
    lab.store.reseal().await.unwrap();
    lab.store.close().await;
    assert_eq!(found(folder.path()), SECRETS[1..]);

    let lab = Lab::with_keys(&database, &[1]).await;
    assert_eq!(submit(&lab).await, job, "it is readable before it is sealed");
    lab.store.reseal().await.unwrap();
    assert_eq!(found(folder.path()), [""; 0], "no copy is left behind");
    assert_eq!(submit(&lab).await, job);
    assert!(matches!(lab.job(job).await.work, Work::Deploy(_)), "it can be shown");
    assert!(matches!(lab.deploy(None).await.work, Work::Deploy(_)), "and sent");
}

#[tokio::test]
async fn without_the_key_what_is_sealed_fails_clearly_and_the_rest_works() {
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("farrier.db");
    let lab = Lab::with_keys(&database, &[1]).await;
    let job = with_secrets(&lab).await;
    let other = lab.agent("n2").await;
    lab.store.close().await;

    for keys in [&[][..], &[2]] {
        let lab = Lab::with_keys(&database, keys).await;
        lab.store.reseal().await.unwrap();
        let error = opened(&lab).await.unwrap_err().report();
        assert_eq!(error.code, ErrorCode::SecretUnreadable);
        assert!(
            error.message.contains("`driver_info.") && error.message.contains("under the key "),
            "{}",
            error.message
        );
        assert_eq!(lab.store.nodes().get("n1").await.unwrap().driver_info["redfish_password"], MASK);
        assert_eq!(lab.job(job).await.id, job, "jobs are shown");
        lab.store.close().await;
    }

    let lab = Lab::at(&database).await;
    lab.noop("n2").await;
    lab.dispatch().await;
    let errand = lab.errand(ErrandKind::Prepare).await;
    let error = lab.store.circumstances(errand).await.unwrap_err();
    assert!(!error.is_of_the_store(), "it would not pass: whoever does the errand gives the job up");
    lab.store.preparation_failed(errand, error.report()).await.unwrap();
    let failed = lab.job(job).await;
    assert_eq!((failed.state, failed.error.unwrap().code), (JobState::Failed, ErrorCode::SecretUnreadable));
    lab.hear(&other.heartbeat(None)).await;
}

#[tokio::test]
async fn a_command_that_cannot_be_opened_holds_nothing_up() {
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("farrier.db");
    let lab = Lab::with_keys(&database, &[1]).await;
    with_secrets(&lab).await;
    lab.deploy(None).await;
    lab.store.close().await;
    let lab = Lab::at(&database).await;
    let batch = lab.store.pending(0, 100).await.unwrap();
    assert_eq!(batch.unreadable.len(), 1);
    assert_eq!(batch.unreadable[0].1.report().code, ErrorCode::SecretUnreadable);
    assert!(!batch.items.is_empty(), "what holds no secret is there");
}
