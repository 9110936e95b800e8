//! Images that cannot be handed out: the job ends with the reason, and no node is told of it.

use farrier_testbed::http::Nginx;
use farrier_testbed::swift::Swift;

use super::fleet::{Station, glance};

#[tokio::test]
async fn what_cannot_be_handed_out_ends_the_job_with_the_reason() {
    let swift = Swift::shared().await.unwrap();
    let station = Station::start(1, &glance(&swift, "")).await;
    let nginx = Nginx::start(&station.images.join("nginx"), &station.images).unwrap();
    let images = station.images.display();
    std::os::unix::fs::symlink("/etc/hostname", station.images.join("link")).unwrap();
    for (source, code) in [
        ("swift://refused/missing".to_owned(), "image-not-found"),
        (uuid::Uuid::new_v4().to_string(), "image-not-found"),
        (nginx.url("missing.raw"), "image-not-found"),
        ("http://127.0.0.1:1/image.raw".to_owned(), "http-connect"),
        ("file:///etc/hostname".to_owned(), "path-not-allowed"),
        (format!("file://{images}/../secret.key"), "path-not-allowed"),
        (format!("file://{images}/link"), "path-not-allowed"),
        (format!("file://{images}/missing"), "image-not-found"),
    ] {
        let job = station.ends(&station.deploy(0, &source)).await;
        assert_eq!(
            (&job["state"], &job["error"]["code"]),
            (&"failed".into(), &code.into()),
            "{source}: {job:#}"
        );
        assert_eq!(job["attempt"], 0, "{source}");
    }
}

#[tokio::test]
async fn a_wrong_key_and_a_swift_that_is_down_are_told_apart() {
    let swift = Swift::shared().await.unwrap();
    swift.put("refused", "image", vec![0; 1 << 20]).await.unwrap();
    let right = glance(&swift, "");
    let port = format!(":{}", swift.port());
    for (configuration, code) in [
        (right.replace(Swift::KEY, "wrong"), "temp-url-refused"),
        (right.replace(&port, ":1"), "http-connect"),
        (String::new(), "image-unsupported"),
    ] {
        let station = Station::start(1, &configuration).await;
        let job = station.ends(&station.deploy(0, "swift://refused/image")).await;
        assert_eq!((&job["error"]["code"], &job["attempt"]), (&code.into(), &0.into()), "{job:#}");
        assert!(!job.to_string().contains(Swift::KEY));
    }
}
