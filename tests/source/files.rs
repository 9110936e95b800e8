//! Images in files of this machine.

use std::fs;

use farrier::image::Connection;
use farrier::wire::ErrorCode;
use farrier_testbed::http::Fault;
use nix::sys::stat::Mode;

use crate::lab::{faulty, fetch_badly, fetch_well, file_url, image_body};

#[tokio::test]
async fn a_file_is_an_image() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("an image");
    fs::write(&path, image_body()).unwrap();
    let url = url::Url::from_file_path(&path).unwrap();
    assert!(url.as_str().ends_with("an%20image"));
    fetch_well(&[url.as_str(), "file:///unused"], Connection::default()).await;
    let link = dir.path().join("link");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    fetch_well(&[file_url(&link)], Connection::default()).await;
}

#[tokio::test]
async fn what_is_no_regular_file_is_refused_and_never_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let pipe = dir.path().join("pipe");
    nix::unistd::mkfifo(&pipe, Mode::S_IRWXU).unwrap();
    let socket = dir.path().join("socket");
    let _listening = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    for (url, expected) in [
        (file_url(&dir.path().join("absent")), "No such file"),
        (file_url(dir.path()), "a directory"),
        (file_url(&pipe), "a named pipe"),
        (file_url(&socket), "a socket"),
        ("file:///dev/zero".to_owned(), "a character device"),
        ("file://example.org/image".to_owned(), "another host"),
    ] {
        let report = fetch_badly(&[&url], Connection::default()).await;
        assert_eq!(report.code, ErrorCode::FileUnreadable, "{report}");
        assert!(report.message.contains(expected) && report.message.contains(&url), "{report}");
    }
}

#[tokio::test]
async fn a_server_and_a_file_stand_in_for_each_other() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("image");
    fs::write(&path, image_body()).unwrap();
    let server = faulty(&[Fault::CutAfter(1_200_000), Fault::Status(404)]).await;
    fetch_well(&[server.url("image"), file_url(&path)], Connection::default()).await;
    assert_eq!(server.requests().len(), 1, "the file goes on where the server has ended");

    let server = faulty(&[Fault::Nothing]).await;
    fetch_well(&["file:///nonexistent/image".to_owned(), server.url("image")], Connection::default()).await;
}
