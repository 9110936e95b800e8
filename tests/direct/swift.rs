//! Temporary URLs against a real Swift: what it takes, and what is said when it does not.

use std::time::Duration;

use chrono::Utc;
use farrier::wire::{ErrorCode, ImageUrl};
use farrier_coordinator::images::swift::Want;
use farrier_testbed::disk_image::disk_like;
use farrier_testbed::http::{Fault, FaultyServer, Script};
use farrier_testbed::swift::Swift;
use farrier_testbed::tls::Authority;
use farrier_testbed::wait::wait_for;
use uuid::Uuid;

use crate::swift_lab::{BOUND, Coordinator, deploy, object};

fn content() -> Vec<u8> {
    disk_like(300_000)
}

#[tokio::test]
async fn swift_takes_what_is_signed_by_each_of_its_digests() {
    let (swift, content) = (Swift::shared().await.unwrap(), content());
    let etag = swift.put("digests", "image", content.clone()).await.unwrap();
    for digest in ["sha1", "sha256", "sha512"] {
        let coordinator =
            Coordinator::of(&swift, &[("swift_temp_url_digest_algorithm", digest.into())]).await;
        let made = coordinator.url(&object("digests", "image"), Want::Reused).await.unwrap();
        assert_eq!((made.length, &made.etag), (300_000, &etag));
        let lives = made.expires_at - Utc::now();
        assert!((1190..=1201).contains(&lives.num_seconds()), "{lives}");
        deploy(&made.url, &content, None).await.unwrap_or_else(|report| panic!("{digest}: {report}"));
    }
}

#[tokio::test]
async fn objects_may_have_any_name_that_swift_takes() {
    let (swift, content) = (Swift::shared().await.unwrap(), content());
    let coordinator = Coordinator::of(&swift, &[]).await;
    for (container, name) in [
        ("na mes", "a b.raw"),
        ("names", "100%.raw"),
        ("names", "100%25.raw"),
        ("names", "a/b//c/"),
        ("names", "/root"),
        ("n+ä", "ü€/?x=1&temp_url_sig=0#;+,:@!$'()*[]\"<>|\\^`{}~"),
    ] {
        swift.put(container, name, content.clone()).await.unwrap();
        let url = coordinator.next_url(&object(container, name)).await;
        deploy(&url, &content, None).await.unwrap_or_else(|report| panic!("{container}/{name}: {report}"));
        let sent = async || Ok(swift.fetches(container, name)?.pop());
        wait_for("Swift has sent that object", BOUND, sent).await.unwrap();
    }
}

#[tokio::test]
async fn images_are_found_by_uuid_in_the_container_of_their_seed() {
    let (swift, content) = (Swift::shared().await.unwrap(), content());
    let settings = [("swift_container", "uuids".into()), ("swift_store_multiple_containers_seed", 9.into())];
    let coordinator = Coordinator::of(&swift, &settings).await;
    let image: Uuid = "0198f2a4-3b7e-7cc0-8f00-5d1c7f2b9a10".parse().unwrap();
    swift.put("uuids_0198f2a4-3", &image.to_string(), content.clone()).await.unwrap();
    let url = coordinator.next_url(&coordinator.swift.object_of_image(image)).await;
    deploy(&url, &content, None).await.unwrap();
}

#[tokio::test]
async fn https_and_an_endpoint_with_its_account_will_do() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::create(dir.path()).unwrap();
    let swift = Swift::start(Some(&authority)).await.unwrap();
    swift.put("c", "o", content()).await.unwrap();
    let endpoint = format!("{}/v1/{}", swift.url(), Swift::ACCOUNT);
    let trusting = ("swift_ca_file", authority.ca_pem_path().display().to_string().into());
    let settings = [("swift_endpoint_url", endpoint.into()), trusting];
    let url = Coordinator::of(&swift, &settings).await.next_url(&object("c", "o")).await;
    assert!(url.expose().as_str().starts_with(&format!("{}/v1/AUTH_test/c/o?", swift.url())));

    let report = Coordinator::of(&swift, &[]).await.url(&object("c", "o"), Want::Reused).await.unwrap_err();
    assert_eq!(
        report.code,
        ErrorCode::HttpConnect,
        "its certificate is of no authority that is known: {report}"
    );
}

#[tokio::test]
async fn what_swift_refuses_is_told_before_a_node_is_sent_anything() {
    let swift = Swift::shared().await.unwrap();
    swift.put("refused", "image", content()).await.unwrap();
    let image = object("refused", "image");
    let wrong = |key: &'static str, value: &'static str| {
        let (swift, image) = (&swift, &image);
        async move {
            let coordinator = Coordinator::of(swift, &[(key, value.into())]).await;
            coordinator.url(image, Want::Reused).await.unwrap_err()
        }
    };
    let report = wrong("swift_temp_url_key", "wr0ng key").await;
    assert_eq!(report.code, ErrorCode::TempUrlRefused, "{report}");
    assert!(report.message.contains("swift_temp_url_key") && report.message.contains("401"), "{report}");
    assert!(!report.message.contains("wr0ng") && !report.message.contains("temp_url_sig"), "{report}");
    let report = wrong("swift_account", "AUTH_nobody").await;
    assert_eq!(report.code, ErrorCode::TempUrlRefused, "{report}");
    assert!(report.message.contains("AUTH_nobody"), "{report}");

    let coordinator = Coordinator::of(&swift, &[]).await;
    for absent in [object("refused", "other"), object("absent", "image")] {
        let report = coordinator.url(&absent, Want::Reused).await.unwrap_err();
        assert_eq!(report.code, ErrorCode::ImageNotFound, "{report}");
        assert!(report.message.contains(&absent.to_string()), "{report}");
    }
    swift.delete("refused", "image").await.unwrap();
    let report = coordinator.url(&image, Want::Reused).await.unwrap_err();
    assert_eq!(report.code, ErrorCode::ImageNotFound, "{report}");
}

#[tokio::test]
async fn a_url_that_was_tampered_with_or_has_run_out_is_refused_by_swift() {
    let (swift, content) = (Swift::shared().await.unwrap(), content());
    swift.put("tampered", "image", content.clone()).await.unwrap();
    swift.put("tampered", "other", content.clone()).await.unwrap();
    let coordinator = Coordinator::of(&swift, &[("swift_temp_url_duration", 3.into())]).await;
    let made = coordinator.url(&object("tampered", "image"), Want::Reused).await.unwrap();
    let text = made.url.expose().as_str();
    let tampered = [
        text.replace("/image?", "/other?"),
        text.replace("temp_url_expires=", "temp_url_expires=9"),
        text.replace("temp_url_sig=", "temp_url_sig=0"),
    ];
    let over = async || Ok((Utc::now() > made.expires_at).then_some(()));
    for text in tampered {
        let report = deploy(&text.parse().unwrap(), &content, None).await.unwrap_err();
        assert_eq!(report.code, ErrorCode::HttpStatus, "{report}");
        assert!(report.message.contains("401") && !report.message.contains("temp_url"), "{report}");
    }
    wait_for("the URL runs out", BOUND, over).await.unwrap();
    let report = deploy(&made.url, &content, None).await.unwrap_err();
    assert!(report.message.contains("401"), "{report}");
    let fresh = coordinator.next_url(&object("tampered", "image")).await;
    deploy(&fresh, &content, None).await.unwrap();
}

#[tokio::test]
async fn what_changes_in_swift_or_in_the_settings_makes_another_url() {
    let swift = Swift::shared().await.unwrap();
    swift.put("changes", "image", content()).await.unwrap();
    let image = object("changes", "image");
    let settings = [("swift_temp_url_cache_enabled", true.into())];
    let coordinator = Coordinator::of(&swift, &settings).await;
    let made = coordinator.url(&image, Want::Reused).await.unwrap();
    let later = async || Ok((Utc::now() > made.expires_at - Duration::from_secs(1199)).then_some(()));
    wait_for("another second begins", BOUND, later).await.unwrap();
    assert_eq!(coordinator.next_url(&image).await, made.url);
    let fresh = Want::Fresh { later_than: Some(made.expires_at) };
    let second = coordinator.url(&image, fresh).await.unwrap();
    assert!(second.expires_at > made.expires_at && second.url != made.url);
    assert_eq!(
        coordinator.url(&image, fresh).await.unwrap().url,
        second.url,
        "another node was refused as well"
    );
    assert_eq!(coordinator.next_url(&image).await, second.url);

    swift.put("changes", "image", disk_like(200_000)).await.unwrap();
    let replaced = coordinator.url(&image, Want::Reused).await.unwrap();
    assert_eq!(replaced.length, 200_000);
    let made_anew = async || {
        let url = coordinator.next_url(&image).await;
        Ok((url == replaced.url).then_some(()))
    };
    wait_for("the URL of the new object is handed out again", BOUND, made_anew).await.unwrap();
}

#[tokio::test]
async fn swift_that_is_down_is_told_and_found_again() {
    let mut swift = Swift::start(None).await.unwrap();
    swift.put("c", "o", content()).await.unwrap();
    let coordinator = Coordinator::of(&swift, &[]).await;
    coordinator.next_url(&object("c", "o")).await;
    swift.stop();
    let report = coordinator.url(&object("c", "o"), Want::Reused).await.unwrap_err();
    assert_eq!(report.code, ErrorCode::HttpConnect, "{report}");
    assert!(report.message.contains(&swift.url()) && !report.message.contains("temp_url_sig"), "{report}");
    swift.start_again().await.unwrap();
    coordinator.next_url(&object("c", "o")).await;
}

/// What a real Swift does not do on demand.
#[tokio::test]
async fn answers_that_may_pass_are_asked_for_again_and_others_are_not() {
    let real = Swift::shared().await.unwrap();
    for (faults, code, asked) in [
        (vec![Fault::Status(503), Fault::Status(500), Fault::Nothing], None, 3),
        (vec![Fault::Status(503); 9], Some(ErrorCode::HttpUnavailable), 4),
        (vec![Fault::Status(403); 9], Some(ErrorCode::TempUrlRefused), 1),
        (vec![Fault::Status(418); 9], Some(ErrorCode::HttpStatus), 1),
        (vec![Fault::RedirectTo("http://127.0.0.1:9/".to_owned()); 9], Some(ErrorCode::HttpStatus), 1),
    ] {
        let server = FaultyServer::run(Script::new(content(), faults.clone())).await.unwrap();
        let endpoint: ImageUrl = server.url("").parse().unwrap();
        let settings = [("swift_endpoint_url", endpoint.expose().as_str().into())];
        let coordinator = Coordinator::of(&real, &settings).await;
        let answer = coordinator.url(&object("c", "o"), Want::Reused).await;
        assert_eq!(answer.as_ref().err().map(|report| report.code), code, "{faults:?}: {answer:?}");
        assert_eq!(server.requests().len(), asked, "{faults:?}");
    }
}
