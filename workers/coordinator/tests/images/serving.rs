//! What the image server answers.

use std::fs::{self, OpenOptions};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::FileExt as _;
use std::process::Command;

use farrier::image::{Download, Image, Settings};
use farrier::wire::Checksum;
use reqwest::Method;

use crate::lab::{Asked, Lab, SOON, sha256_of};

const CONTENT: &[u8] = b"0123456789";

fn text<'a>(headers: &'a reqwest::header::HeaderMap, name: &str) -> &'a str {
    headers.get(name).map_or("", |value| value.to_str().unwrap())
}

#[tokio::test]
async fn an_image_is_served_with_all_that_caches_and_resumes_need() {
    let lab = Lab::start().await;
    let image = lab.published("a.raw", CONTENT).await;
    let (status, headers, body) = image.get(&[]).await;
    assert_eq!((status, body.as_slice()), (200, CONTENT));
    assert_eq!(text(&headers, "content-length"), "10");
    assert_eq!(text(&headers, "etag"), format!("\"{}\"", sha256_of(CONTENT)));
    assert_eq!(text(&headers, "accept-ranges"), "bytes");
    assert_eq!(text(&headers, "content-type"), "application/octet-stream");
    assert!(text(&headers, "cache-control").contains("immutable"));
    assert!(!text(&headers, "last-modified").is_empty());

    let head = image.ask(Method::HEAD, &[]).await;
    assert_eq!(head.status(), 200);
    for name in ["content-length", "etag", "accept-ranges", "content-type", "last-modified"] {
        assert_eq!(head.headers().get(name), headers.get(name), "{name}");
    }
    assert!(head.bytes().await.unwrap().is_empty());
}

#[tokio::test]
async fn parts_are_served_as_rfc_9110_says() {
    let lab = Lab::start().await;
    let image = lab.published("a.raw", CONTENT).await;
    for (range, status, content_range, body) in [
        ("bytes=0-0", 206, "bytes 0-0/10", "0"),
        ("bytes=2-4", 206, "bytes 2-4/10", "234"),
        ("bytes=7-", 206, "bytes 7-9/10", "789"),
        ("bytes=-3", 206, "bytes 7-9/10", "789"),
        ("bytes=-10", 206, "bytes 0-9/10", "0123456789"),
        ("bytes=-30", 206, "bytes 0-9/10", "0123456789"),
        ("bytes=0-18446744073709551615", 206, "bytes 0-9/10", "0123456789"),
        ("bytes=-0", 416, "bytes */10", ""),
        ("bytes=8-99", 206, "bytes 8-9/10", "89"),
        ("bytes=10-", 416, "bytes */10", ""),
        ("bytes=0-1,4-5", 200, "", "0123456789"),
        ("bytes=5-2", 200, "", "0123456789"),
        ("lines=0-1", 200, "", "0123456789"),
    ] {
        let (found, headers, content) = image.get(&[("range", range)]).await;
        assert_eq!((found, text(&headers, "content-range")), (status, content_range), "{range}");
        assert_eq!(content, body.as_bytes(), "{range}");
        assert_eq!(text(&headers, "content-length"), body.len().to_string(), "{range}");
    }
}

#[tokio::test]
async fn conditions_are_kept() {
    let lab = Lab::start().await;
    let image = lab.published("a.raw", CONTENT).await;
    let same = format!("\"{}\"", sha256_of(CONTENT));
    let part = ("range", "bytes=2-4");
    for (headers, status) in [
        (&[("if-none-match", same.as_str())][..], 304),
        (&[("if-none-match", "\"other\"")], 200),
        (&[("if-match", same.as_str())], 200),
        (&[("if-match", "\"other\"")], 412),
        (&[part, ("if-range", same.as_str())], 206),
        (&[part, ("if-range", "\"other\"")], 200),
        (&[("if-modified-since", "Fri, 01 Jan 2100 00:00:00 GMT")], 304),
    ] {
        assert_eq!(image.get(headers).await.0, status, "{headers:?}");
    }
}

#[tokio::test]
async fn curl_fetches_and_resumes() {
    let lab = Lab::start().await;
    let content: Vec<u8> = (0..3_000_000_u32).flat_map(u32::to_le_bytes).collect();
    let image = lab.published("a.raw", &content).await;
    let target = lab.directory.path().join("fetched");
    fs::write(&target, &content[..1_234_567]).unwrap();
    let curl = ["--fail", "--silent", "--show-error", "--noproxy", "*", "--continue-at", "-", "--output"];
    let url = image.url.clone();
    let (output, path) = (target.clone(), target.clone());
    let ended = tokio::task::spawn_blocking(move || {
        Command::new("curl").args(curl).arg(&output).arg(url).output().unwrap()
    });
    let ended = ended.await.unwrap();
    assert!(ended.status.success(), "{ended:?}");
    assert!(fs::read(path).unwrap() == content);
}

#[tokio::test]
async fn what_an_agent_fetches_with_takes_it() {
    let lab = Lab::start().await;
    let published = lab.publish(&lab.image("a.raw", &vec![5; 3 << 20])).await.unwrap();
    let image = Image::new(published.url, Some(Checksum::Digest(published.sha256)));
    let settings = Settings::default();
    let download = Download::begin(&image, &settings).await.unwrap();
    assert_eq!(download.length(), Some(published.length));
    download.keep(tempfile::tempfile().unwrap(), u64::MAX).await.unwrap();
}

#[tokio::test]
async fn nothing_is_served_but_what_is_published() {
    let lab = Lab::start().await;
    lab.image("unpublished.raw", b"unpublished");
    let image = lab.published("a.raw", CONTENT).await;
    let sha256 = sha256_of(CONTENT);
    for path in [
        "/".to_owned(),
        "/images".to_owned(),
        "/images/".to_owned(),
        "/metrics".to_owned(),
        "/v1/nodes".to_owned(),
        "/images/a.raw".to_owned(),
        format!("/images/{}", sha256_of(b"unpublished")),
        format!("/images/{sha256}/"),
        format!("/images/{sha256}0"),
        format!("/images/{}", &sha256[1..]),
        "/images/%ff".to_owned(),
        "/images/..%2f..%2fetc%2fpasswd".to_owned(),
        format!("/images/%2e%2e%2f{sha256}"),
        "/images/'%20OR%201=1%20--".to_owned(),
    ] {
        assert_eq!(
            image.elsewhere(&path).problem(Method::GET).await,
            (404, "not-found".to_owned()),
            "{path}"
        );
    }
    for method in [Method::POST, Method::PUT, Method::DELETE, Method::OPTIONS] {
        assert_eq!(image.problem(method).await, (405, "method-not-allowed".to_owned()));
    }
    // As no client sends it.
    let address = image.url.strip_prefix("http://").unwrap().split('/').next().unwrap().to_owned();
    let answer = tokio::task::spawn_blocking(move || {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        stream
            .write_all(b"GET /images/../../../etc/passwd HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
            .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    });
    assert!(answer.await.unwrap().starts_with("HTTP/1.1 404"));
}

#[tokio::test]
async fn a_file_that_was_replaced_is_gone_and_its_successor_has_another_url() {
    let lab = Lab::start().await;
    let path = lab.path("a.raw");
    let gone = (410, "image-replaced".to_owned());
    let replacements: [(&str, &dyn Fn()); 4] = [
        ("another file", &|| fs::rename(lab.image("new", b"9876543210"), &path).unwrap()),
        ("the same file", &|| fs::write(&path, b"9876543210").unwrap()),
        ("a part of it", &|| {
            OpenOptions::new().write(true).open(&path).unwrap().write_all_at(b"x", 3).unwrap();
        }),
        ("no file", &|| fs::remove_file(&path).unwrap()),
    ];
    for (what, replace) in replacements {
        let image = lab.published("a.raw", CONTENT).await;
        assert_eq!(image.get(&[]).await.0, 200, "{what}");
        replace();
        assert_eq!(image.problem(Method::GET).await, gone, "{what}");
        assert_eq!(image.problem(Method::GET).await, (404, "not-found".to_owned()), "{what}");
    }
    let image = lab.published("a.raw", b"successor").await;
    assert_eq!(image.get(&[]).await.2, b"successor");
}

#[tokio::test]
async fn a_second_file_of_the_content_takes_over() {
    let lab = Lab::start().await;
    let image = lab.published("a.raw", CONTENT).await;
    lab.published("b.raw", CONTENT).await;
    fs::remove_file(lab.path("b.raw")).unwrap();
    assert_eq!(image.get(&[]).await.2, CONTENT);
}

#[tokio::test]
async fn a_url_lives_through_a_restart_and_is_served_by_every_coordinator() {
    let lab = Lab::start().await;
    let image = lab.published("a.raw", CONTENT).await;
    let path = url::Url::parse(&image.url).unwrap().path().to_owned();
    let lab = lab.start_again().await;
    let base = lab.publish(&lab.image("other", b"other")).await.unwrap();
    assert_eq!(Asked::of(&base).elsewhere(&path).get(&[]).await.2, CONTENT);
}

/// More than the buffers of two sockets.
const LARGE: usize = 48 << 20;

#[tokio::test]
async fn an_image_that_changes_while_it_is_served_never_comes_whole() {
    let lab = Lab::start().await;
    let path = lab.path("a.raw");
    let write_at =
        |place| OpenOptions::new().write(true).open(&path).unwrap().write_all_at(b"x", place).unwrap();
    let changes: [(&str, &dyn Fn()); 3] = [
        ("rewritten ahead", &|| write_at(LARGE as u64 - 1)),
        ("rewritten behind", &|| write_at(0)),
        ("truncated", &|| OpenOptions::new().write(true).open(&path).unwrap().set_len(1 << 20).unwrap()),
    ];
    for (what, change) in changes {
        let image = lab.published("a.raw", &vec![1; LARGE]).await;
        let mut response = image.ask(Method::GET, &[]).await;
        let first = response.chunk().await.unwrap().unwrap();
        change();
        let mut received = first.len();
        let cut = loop {
            match response.chunk().await {
                Ok(Some(piece)) => received += piece.len(),
                Ok(None) => break false,
                Err(_) => break true,
            }
        };
        assert!(cut && received < LARGE, "{what}: {received} bytes came");
    }
}

#[tokio::test]
async fn an_image_that_was_renamed_over_while_it_is_served_is_not_mixed_with_the_new_one() {
    let lab = Lab::start().await;
    let image = lab.published("a.raw", &vec![1; LARGE]).await;
    let mut response = image.ask(Method::GET, &[]).await;
    let mut content = response.chunk().await.unwrap().unwrap().to_vec();
    fs::rename(lab.image("new", &vec![2; LARGE]), lab.path("a.raw")).unwrap();
    while let Ok(Some(piece)) = response.chunk().await {
        content.extend_from_slice(&piece);
    }
    assert!(content.iter().all(|byte| *byte == 1), "bytes of another file came");
}
