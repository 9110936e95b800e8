//! What may be published, and what it is then.

use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;

use farrier::image::Settings;
use farrier::wire::ErrorCode;
use farrier_coordinator::images::local::{Local, LocalConfig, Published};
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{Connection as _, SqliteConnection};

use crate::lab::{Asked, Lab, sha256_of};

#[tokio::test]
async fn every_file_of_one_content_has_one_url_for_all_nodes() {
    let lab = Lab::start().await;
    let first = lab.publish(&lab.image("a.raw", b"content")).await.unwrap();
    let sha256 = sha256_of(b"content");
    assert!(first.url.expose().as_str().ends_with(&format!("/images/{sha256}")), "{}", first.url);
    assert_eq!((first.sha256.to_string(), first.length), (format!("sha256:{sha256}"), 7));
    assert_eq!(lab.publish(&lab.path("a.raw")).await.unwrap(), first);
    assert_eq!(lab.publish(&lab.image("b c.raw", b"content")).await.unwrap(), first);
    assert_ne!(lab.publish(&lab.image("d.raw", b"other")).await.unwrap().url, first.url);
}

#[tokio::test]
async fn a_file_is_not_read_again_after_a_restart_nor_by_another_coordinator() {
    let lab = Lab::start().await;
    let path = lab.image("a.raw", b"content");
    lab.publish(&path).await.unwrap();
    // Whoever reads the file finds another digest than this.
    let made_up = "ab".repeat(32);
    let database = lab.directory.path().join("farrier.db");
    let options = SqliteConnectOptions::new().filename(database);
    let mut database = SqliteConnection::connect_with(&options).await.unwrap();
    sqlx::query("UPDATE published SET sha256 = ?").bind(&made_up).execute(&mut database).await.unwrap();
    database.close().await.unwrap();

    let believed = |published: Result<Published, _>| {
        assert_eq!(published.unwrap().sha256.to_string(), format!("sha256:{made_up}"));
    };
    let another = lab.another().await;
    believed(another.publish(&path).await);
    another.stop().await;
    let lab = lab.start_again().await;
    believed(lab.publish(&path).await);
    // Until it is another one.
    fs::write(&path, b"content").unwrap();
    let read = lab.publish(&path).await.unwrap();
    assert_eq!(read.sha256.to_string(), format!("sha256:{}", sha256_of(b"content")));
}

#[tokio::test]
async fn nothing_outside_the_allowed_paths_can_be_named() {
    let lab = Lab::start().await;
    let outside = lab.directory.path().join("secret");
    fs::write(&outside, "secret").unwrap();
    fs::create_dir(lab.path("dir")).unwrap();
    symlink(&outside, lab.path("link")).unwrap();
    symlink("dir", lab.path("link-to-dir")).unwrap();
    symlink("/proc/self", lab.path("proc")).unwrap();
    symlink(lab.image("a.raw", b"content"), lab.path("link-within")).unwrap();
    fs::write(lab.path("dir/b.raw"), "content").unwrap();
    let images = lab.path("").display().to_string();
    let images = images.trim_end_matches('/');
    for url in [
        format!("file://{}", outside.display()),
        format!("file://{images}/../secret"),
        format!("file://{images}/%2e%2e/secret"),
        format!("file://{images}/..%2fsecret"),
        format!("file://{images}/dir/..%2f..%2fsecret"),
        format!("file://{images}/dir%2f%2e%2e%2f%2e%2e%2fsecret"),
        format!("file://{images}/a.raw%2f..%2f..%2fsecret"),
        format!("file://{images}/link"),
        format!("file://{images}/link-within"),
        format!("file://{images}/link-to-dir/b.raw"),
        format!("file://{images}/proc/environ"),
        format!("file://{images}-other/a.raw"),
        format!("file://{images}"),
        format!("file://{images}/"),
        format!("file://{images}/dir"),
        "file:///etc/passwd".to_owned(),
        "file:///proc/self/environ".to_owned(),
        "file:///dev/zero".to_owned(),
        "file:///sys/kernel/notes".to_owned(),
        "file:///run/../etc/passwd".to_owned(),
        format!("file://elsewhere{images}/a.raw"),
        "http://127.0.0.1/a.raw".to_owned(),
    ] {
        let error = lab.publish_url(&url).await.unwrap_err();
        assert_eq!(error.code, ErrorCode::PathNotAllowed, "{url}: {error}");
    }
    let error = lab.publish_url(&format!("file://{images}/a%00.raw")).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::FileUnreadable, "{error}");
    assert!(lab.publish_url(&format!("file://{images}/dir/%62.raw")).await.is_ok(), "b.raw, encoded");
    assert!(lab.publish_url(&format!("file://localhost{images}/a.raw")).await.is_ok());
}

#[tokio::test]
async fn what_is_no_regular_file_is_refused_without_being_opened() {
    let lab = Lab::start().await;
    // To open it would wait for a writer.
    mkfifo(&lab.path("fifo"), Mode::S_IRWXU).unwrap();
    let _socket = UnixListener::bind(lab.path("socket")).unwrap();
    for name in ["fifo", "socket"] {
        let error = lab.publish(&lab.path(name)).await.unwrap_err();
        assert_eq!(error.code, ErrorCode::PathNotAllowed);
        assert!(error.message.contains("no regular file"), "{error}");
    }
}

#[tokio::test]
async fn a_file_that_is_missing_is_told_from_one_that_cannot_be_read() {
    let lab = Lab::start().await;
    lab.image("a.raw", b"content");
    for name in ["missing", "missing/a.raw", "a.raw/b.raw"] {
        assert_eq!(lab.publish(&lab.path(name)).await.unwrap_err().code, ErrorCode::ImageNotFound, "{name}");
    }
    let too_long = lab.path(&"a".repeat(300));
    assert_eq!(lab.publish(&too_long).await.unwrap_err().code, ErrorCode::FileUnreadable);
}

#[tokio::test]
async fn a_directory_that_takes_the_place_of_an_allowed_one_is_not_served_from() {
    let lab = Lab::start().await;
    let first = lab.published("a.raw", b"content").await;
    let images = lab.directory.path().join("images");
    let elsewhere = lab.directory.path().join("elsewhere");
    fs::rename(&images, &elsewhere).unwrap();
    fs::create_dir(lab.directory.path().join("secrets")).unwrap();
    fs::write(lab.directory.path().join("secrets/b.raw"), "secret").unwrap();
    symlink("secrets", &images).unwrap();
    assert_eq!(lab.publish(&images.join("b.raw")).await.unwrap_err().code, ErrorCode::ImageNotFound);
    // The directory that was allowed is another name for the same.
    assert_eq!(first.get(&[]).await.0, 200);
}

#[tokio::test]
async fn what_is_missing_in_the_configuration_is_named() {
    let lab = Lab::start().await;
    let (local, server) =
        Local::start(LocalConfig::default(), Settings::default(), &lab.store).await.unwrap();
    assert!(server.is_none());
    let url = "file:///images/a.raw".parse().unwrap();
    let error = local.publish(&lab.store, &url).await.unwrap_err().to_string();
    assert!(error.contains("`http_listen` in the table [deploy]"), "{error}");

    let error = lab.publish_url("file:///images/a.raw").await.unwrap_err();
    assert!(error.message.contains("`file_url_allowed_paths`"), "{error}");
}

#[tokio::test]
async fn many_that_want_one_file_at_the_same_time_get_the_same() {
    let lab = Lab::start().await;
    let path = lab.image("a.raw", &vec![7; 20 << 20]);
    let all = futures_util::future::join_all((0..16).map(|_| lab.publish(&path))).await;
    let first = all[0].as_ref().unwrap();
    assert!(all.iter().all(|published| published.as_ref() == Ok(first)), "{all:?}");
    assert_eq!(Asked::of(first).get(&[("range", "bytes=0-0")]).await.2, [7]);
}
