//! Images that are kept in a file, and what servers say of them beforehand.

use std::fs::File;
use std::io::{Read as _, Seek as _};

use farrier::image::{self, Connection, Download, Downloaded, Head, Image, ImageError, Settings};
use farrier::wire::{Checksum, Coded as _, Digest, DigestAlgorithm, ErrorCode};
use farrier_testbed::http::{Fault, FaultyServer, Script, Validator};
use sha2::{Digest as _, Sha512};

use crate::lab::{BOUND, Origin, digest_of, faulty, image_at, image_body, limits, settings};

async fn keep(image: &Image, most: u64) -> Result<Downloaded, ImageError> {
    let settings = settings();
    let keeping =
        async { Download::begin(image, &settings).await?.keep(tempfile::tempfile().unwrap(), most).await };
    tokio::time::timeout(BOUND, keeping).await.expect("it neither ends nor fails")
}

fn content(mut file: File) -> Vec<u8> {
    let mut content = Vec::new();
    file.rewind().unwrap();
    file.read_to_end(&mut content).unwrap();
    content
}

fn sha256() -> Digest {
    match digest_of(&image_body()) {
        Checksum::Digest(digest) => digest,
        Checksum::File(_) => unreachable!("it is made from bytes"),
    }
}

#[tokio::test]
async fn an_image_is_kept_as_it_is_served_and_has_a_sha256_whatever_it_is_verified_by() {
    let origin = Origin::start();
    let mut image = image_at(&[origin.url()], Connection::default());
    let kept = keep(&image, 1_500_000).await.unwrap();
    assert_eq!((kept.bytes, kept.sha256, kept.checksum), (1_500_000, sha256(), sha256()));
    assert!(content(kept.file) == image_body());

    let sha512 = Digest::from_bytes(DigestAlgorithm::Sha512, &Sha512::digest(image_body())).unwrap();
    image.checksum = Some(Checksum::Digest(sha512));
    let kept = keep(&image, u64::MAX).await.unwrap();
    assert_eq!((kept.sha256, kept.checksum), (sha256(), sha512));
}

#[tokio::test]
async fn what_was_begun_again_holds_nothing_of_what_came_before() {
    // The rest of a changed object is not asked for: all of it is.
    let faults = [Fault::CutAfter(700_000), Fault::Tag("\"other\"".to_owned()), Fault::Nothing];
    let script = Script::new(image_body(), faults.to_vec());
    let server = FaultyServer::run(script).await.unwrap();
    let kept = keep(&image_at(&[server.url("image")], Connection::default()), u64::MAX).await.unwrap();
    assert!(content(kept.file) == image_body());
}

#[tokio::test]
async fn more_than_there_is_room_for_is_refused_announced_or_not() {
    for fault in [Fault::Nothing, Fault::NoContentLength] {
        let server = faulty(&[fault]).await;
        let image = image_at(&[server.url("image")], Connection::default());
        let error = keep(&image, 1_499_999).await.unwrap_err();
        assert!(matches!(error, ImageError::NoRoom { most: 1_499_999, .. }), "{error}");
        assert_eq!(error.code(), ErrorCode::ImageCacheFull);
        assert!(keep(&image, 1_500_000).await.is_ok());
    }
}

#[tokio::test]
async fn a_wrong_digest_and_a_file_that_cannot_be_written_are_told_apart() {
    let origin = Origin::start();
    let mut image = image_at(&[origin.url()], Connection::default());
    let settings = settings();
    let read_only = File::open("/dev/null").unwrap();
    let error =
        Download::begin(&image, &settings).await.unwrap().keep(read_only, u64::MAX).await.unwrap_err();
    assert!(matches!(error, ImageError::Keep { .. }), "{error}");

    image.checksum = Some(digest_of(b"something else"));
    assert_eq!(keep(&image, u64::MAX).await.unwrap_err().code(), ErrorCode::DigestMismatch);
    image.checksum = None;
    assert_eq!(keep(&image, u64::MAX).await.unwrap_err().code(), ErrorCode::DigestRequired);
    assert!(image::expected_digest(&image, &Settings::default()).await.is_err());
}

async fn head(url: &str) -> Result<Head, ImageError> {
    image::head(&url.parse().unwrap(), &Connection::default(), &limits()).await
}

#[tokio::test]
async fn a_server_is_asked_without_the_image() {
    let origin = Origin::start();
    let told = head(&origin.url()).await.unwrap();
    assert_eq!(told.length, Some(1_500_000));
    assert!(told.etag.is_some() && told.last_modified.is_some(), "{told:?}");
    assert_eq!(head(&origin.nginx.url("absent")).await.unwrap_err().code(), ErrorCode::HttpStatus);
}

#[tokio::test]
async fn a_server_that_does_not_take_head_is_asked_for_one_byte() {
    for status in [405, 501] {
        let server = faulty(&[Fault::Status(status), Fault::Nothing]).await;
        let told = head(&server.url("image")).await.unwrap();
        assert_eq!(told.length, Some(1_500_000));
        let requests = server.requests();
        assert!(
            requests[0].line.starts_with("HEAD ") && requests[1].line.starts_with("GET "),
            "{requests:?}"
        );
        assert_eq!(requests[1].header("range"), Some("bytes=0-0"));
    }
    // One without ranges sends the whole, and what it says counts nonetheless.
    let server = faulty(&[Fault::Status(405), Fault::NoRanges]).await;
    assert_eq!(head(&server.url("image")).await.unwrap().length, Some(1_500_000));
}

#[tokio::test]
async fn what_a_server_does_not_say_is_not_there() {
    let script = Script::new(image_body(), vec![Fault::NoContentLength]).with(Validator::None);
    let server = FaultyServer::run(script).await.unwrap();
    assert_eq!(head(&server.url("image")).await.unwrap(), Head::default());
    let error = head(&faulty(&[Fault::Status(503)]).await.url("image")).await.unwrap_err();
    assert!(error.may_pass() && error.code() == ErrorCode::HttpUnavailable, "{error}");
}
