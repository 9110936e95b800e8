//! Images and hints with which a deploy must fail: with the reason, and with a disk that is as it was or does not boot.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use farrier_testbed::fleet::Fleet;
use farrier_testbed::http::{Fault, FaultyServer};
use farrier_testbed::lab_disk::OLD_DATA;
use serde_json::{Value, json};

use crate::lab::{Lab, SOON, assert_not_bootable, code};

const MIB: usize = 1 << 20;

/// What has become of a disk that held a good image before.
#[derive(Clone, Copy, Debug)]
enum Left {
    AsItWas,
    NotBootable,
}

/// One agent with two disks and little patience with image servers.
async fn lab() -> Lab {
    Lab::start(Fleet::builder().agents(1).agent_arguments(["--image-stall-seconds=3", "--image-tries=1"]))
        .await
}

/// Has a deploy fail once on its node, and gives what is said of it.
async fn fails(lab: &Lab, request: Value, expected: &str, left: Left) -> String {
    fails_in(lab, request, expected, left, 1).await
}

/// Has one fail before its node is told of it, for the coordinator has asked the server about the image.
async fn is_not_sent(lab: &Lab, request: Value, expected: &str) -> String {
    fails_in(lab, request, expected, Left::AsItWas, 0).await
}

async fn fails_in(lab: &Lab, mut request: Value, expected: &str, left: Left, attempt: u32) -> String {
    let disk = lab.disk(0, 0);
    put_image_on(&disk, &lab.image.path);
    request["retry"] = json!({"max_attempts": 1});
    let id = lab.api.submit(&request).await.unwrap();
    let job = lab.api.job_is(&id, "failed", SOON).await.unwrap();
    assert_eq!((code(&job), &job["attempt"]), (expected, &json!(attempt)), "{job:#}");
    match left {
        Left::AsItWas => {
            let found = std::fs::read(&disk).unwrap();
            let image = std::fs::read(&lab.image.path).unwrap();
            assert!(found.starts_with(&image) && found.ends_with(OLD_DATA), "{} was written", disk.display());
        }
        Left::NotBootable => assert_not_bootable(&disk),
    }
    job["error"]["message"].as_str().unwrap().to_owned()
}

/// Puts a good image on a disk and old data behind it, as its last owner would.
fn put_image_on(disk: &Path, image: &Path) {
    let mut bytes = Vec::new();
    File::open(image).unwrap().read_to_end(&mut bytes).unwrap();
    let disk = OpenOptions::new().write(true).open(disk).unwrap();
    disk.write_all_at(&bytes, 0).unwrap();
    let size = disk.metadata().unwrap().len();
    disk.write_all_at(OLD_DATA, size - OLD_DATA.len() as u64).unwrap();
}

#[track_caller]
fn says(message: &str, all: &[&str]) {
    for one in all {
        assert!(message.contains(one), "{one} is not in: {message}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_is_not_what_was_meant_never_boots() {
    let lab = lab().await;
    let mut other_digest = lab.deploy(0);
    let wrong = "1".repeat(64);
    other_digest["spec"]["image_checksum"] = json!(wrong);
    let message = fails(&lab, other_digest, "digest-mismatch", Left::NotBootable).await;
    says(&message, &[&wrong, &lab.image.sha256_hex, "disk.img"]);

    let documents = lab.image.path.parent().unwrap();
    let [mut vmdk, mut qcow2] = [b"KDMV\0\0\0\x01".to_vec(), b"QFI\xfb\0\0\0\x03".to_vec()];
    vmdk.resize(2 * MIB, 0);
    qcow2.resize(2 * MIB, 0);
    let page = b"<html>Not an image</html>".to_vec();
    for (name, body, code, reason) in [
        ("disk.vmdk", vmdk, "image-format", "VMDK"),
        ("disk.qcow2", qcow2, "image-corrupt", "header"),
        ("index.html", page, "image-not-bootable", "<html>Not an"),
    ] {
        std::fs::write(documents.join(name), body).unwrap();
        let message = fails(&lab, lab.deploy_from(0, &lab.nginx.url(name)), code, Left::AsItWas).await;
        says(&message, &[reason, name]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_is_too_large_is_refused_before_or_while_it_is_written() {
    let lab = lab().await;
    let capacity = std::fs::metadata(lab.disk(0, 0)).unwrap().len();
    let mut body = std::fs::read(&lab.image.path).unwrap();
    body.resize(usize::try_from(capacity).unwrap() + MIB, 0);
    let mut large = File::create(lab.image.path.with_file_name("large.img")).unwrap();
    large.write_all(&body).unwrap();
    let announced = lab.deploy_from(0, &lab.nginx.url("large.img"));
    let message = fails(&lab, announced, "image-too-large", Left::AsItWas).await;
    says(&message, &["large.img", &body.len().to_string(), &capacity.to_string(), "node-1-disk0"]);

    let server = FaultyServer::start(body, Fault::NoContentLength).await.unwrap();
    let unannounced = lab.deploy_from(0, &server.url("endless.img"));
    let message = fails(&lab, unannounced, "image-too-large", Left::NotBootable).await;
    says(&message, &["endless.img", "or more", &capacity.to_string()]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_does_not_deliver_leaves_no_half_image() {
    let lab = lab().await;
    let absent = lab.deploy_from(0, &lab.nginx.url("absent.img"));
    says(&is_not_sent(&lab, absent, "image-not-found").await, &["404", "absent.img"]);

    let size = lab.image.size.to_string();
    let some = (8 * MIB).to_string();
    let cases = [
        (Fault::CutAfter(8 * MIB), "http-truncated", Left::NotBootable, [some.as_str(), size.as_str()]),
        (Fault::CutAfter(100), "http-truncated", Left::AsItWas, ["100 bytes", size.as_str()]),
        (Fault::StallAfter(8 * MIB), "http-stalled", Left::NotBootable, ["for 3 s", some.as_str()]),
        (Fault::StallAfter(100), "http-stalled", Left::AsItWas, ["for 3 s", "100 bytes"]),
    ];
    for (fault, code, left, reasons) in cases {
        let body = std::fs::read(&lab.image.path).unwrap();
        let server = FaultyServer::start(body, fault).await.unwrap();
        let message = fails(&lab, lab.deploy_from(0, &server.url("broken.img")), code, left).await;
        says(&message, &reasons);
        says(&message, &["broken.img"]);
    }

    let server = FaultyServer::start(Vec::new(), Fault::Status(503)).await.unwrap();
    let busy = lab.deploy_from(0, &server.url("broken.img"));
    says(&is_not_sent(&lab, busy, "http-unavailable").await, &["503", "may pass", "broken.img"]);
    let nobody = lab.nginx.url("disk.img").replace(&lab.nginx.port().to_string(), "1");
    says(&is_not_sent(&lab, lab.deploy_from(0, &nobody), "http-connect").await, &["127.0.0.1:1"]);

    // Nothing of it keeps the next one from being right.
    let next = lab.api.submit(&lab.deploy(0)).await.unwrap();
    lab.succeeds(&next).await;
    lab.assert_holds_image(&lab.disk(0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn hints_that_fit_no_disk_or_more_than_one_list_every_candidate() {
    let lab = lab().await;
    let [root, other] = [0, 1].map(|place| lab.disk(0, place).display().to_string());
    let with = |hints: Value| {
        let mut deploy = lab.deploy(0);
        deploy["spec"]["root_device"] = hints;
        deploy
    };
    let old = std::fs::read(lab.disk(0, 1)).unwrap();

    let none = with(json!({"serial": "WD-7", "model": "lab disk"}));
    let message = fails(&lab, none, "no-root-device", Left::AsItWas).await;
    says(
        &message,
        &[&root, &other, "serial is \"node-1-disk0\", expected `WD-7`", "serial is \"node-1-disk1\""],
    );

    for hints in [json!({"serial": "<in> node-1"}), Value::Null] {
        let message = fails(&lab, with(hints), "ambiguous-root-device", Left::AsItWas).await;
        says(&message, &[&format!("{root} ("), &format!("{other} (")]);
        assert_eq!(message.matches("): fits").count(), 2, "{message}");
    }

    // The skip list beats the hint.
    let mut skipped = lab.deploy(0);
    skipped["spec"]["skip_block_devices"] = json!([{"serial": "node-1-disk0"}]);
    let message = fails(&lab, skipped, "no-root-device", Left::AsItWas).await;
    says(&message, &["skipped by skip_block_devices[0]", &other]);

    let unusable = with(json!({"name": "/dev/sda"}));
    says(&fails(&lab, unusable, "bad-hint", Left::AsItWas).await, &["/dev/sda", "name"]);

    assert!(std::fs::read(lab.disk(0, 1)).unwrap() == old, "the other disk was written");
}
