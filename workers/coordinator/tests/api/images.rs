//! `/v1/images`.

use serde_json::{Value, json};

use crate::server::{Server, pages, told};

const IMAGE: &str = "0198f2a4-3b7e-7cc0-8f00-5d1c7f2b9a10";

#[tokio::test]
async fn an_image_is_registered_shown_replaced_and_deleted() {
    let server = Server::start().await;
    let path = format!("/v1/images/{IMAGE}");
    let checksum = format!("sha256:{}", "ab".repeat(32));
    let entry = json!({
        "name": "debian 13", "source": "swift://glance/debian.qcow2", "image_checksum": checksum, "disk_format": "qcow2",
        "size": 1 << 30
    });
    let image = server.ask("PUT", &path, Some(entry.clone()), 201).await;
    for (key, value) in entry.as_object().unwrap() {
        assert_eq!(&image[key], value, "{key}");
    }
    assert_eq!((&image["id"], &image["os_hash_algo"]), (&json!(IMAGE), &Value::Null));
    assert_eq!(server.get(&path, 200).await, image);
    assert_eq!(server.get("/v1/images", 200).await["items"], json!([image]));

    let other = json!({"os_hash_algo": "sha512", "os_hash_value": "cd".repeat(64)});
    let replaced = server.ask("PUT", &path, Some(other), 200).await;
    assert_eq!(
        (&replaced["name"], &replaced["os_hash_algo"]),
        (&Value::Null, &json!("sha512")),
        "it is whole"
    );
    assert_eq!(replaced["created_at"], image["created_at"]);

    assert_eq!(server.ask("DELETE", &path, None, 204).await, Value::Null);
    for method in ["GET", "DELETE"] {
        assert_eq!(told(&server.ask(method, &path, None, 404).await).0, "image-not-found");
    }
    assert_eq!(told(&server.get("/v1/images/debian", 404).await).0, "image-not-found");
}

#[tokio::test]
async fn a_bad_entry_names_the_field_and_leaves_nothing() {
    let server = Server::start().await;
    let path = format!("/v1/images/{IMAGE}");
    for (entry, field) in [
        (json!({"image_checksum": "abc"}), "image_checksum"),
        (json!({"os_hash_algo": "sha512", "os_hash_value": "ab"}), "os_hash_value"),
        (json!({"os_hash_algo": "sha512"}), "os_hash_value"),
        (json!({"source": IMAGE}), "source"),
        (json!({"disk_format": "vmdk"}), "disk_format"),
        (json!({"checksum": "ab".repeat(32)}), "checksum"),
    ] {
        let problem = server.ask("PUT", &path, Some(entry.clone()), 400).await;
        assert_eq!((told(&problem).0, told(&problem).1), ("bad-schema", Some(field)), "{entry}: {problem}");
    }
    assert_eq!(server.get("/v1/images", 200).await["items"], json!([]));
    assert_eq!(told(&server.get("/v1/images?after=x", 400).await).1, Some("after"));
}

#[tokio::test]
async fn images_are_listed_in_pages() {
    let server = Server::start().await;
    let mut expected: Vec<_> = (0..5).map(|_| uuid::Uuid::now_v7().to_string()).collect();
    for image in &expected {
        server.ask("PUT", &format!("/v1/images/{image}"), Some(json!({})), 201).await;
    }
    expected.sort();
    assert_eq!(pages(&server, "/v1/images?limit=2", "id").await, (3, expected));
}

#[tokio::test]
async fn what_an_entry_keeps_secret_is_not_shown_and_is_there_for_the_deploy() {
    let server = Server::start().await;
    let source = "https://user:hunter2@h/i.raw?sig=hunter2";
    let path = format!("/v1/images/{IMAGE}");
    let image = server.ask("PUT", &path, Some(json!({"source": source})), 201).await;
    assert_eq!(image["source"], "https://h/i.raw");
    let entry = server.store.images().entry(IMAGE.parse().unwrap()).await.unwrap().unwrap();
    assert_eq!(String::from(entry.source.unwrap()), source);
    assert!(server.store.images().entry(uuid::Uuid::nil()).await.unwrap().is_none());
}
