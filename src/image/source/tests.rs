//! What can only be seen from close by: where a source goes on, and where it gives up and has to be opened anew.

use std::time::Duration;

use farrier_testbed::http::{Fault, FaultyServer, Nginx, Script, Validator};
use tokio::time::timeout;

use super::*;
use crate::image::Settings;
use crate::image::buffer::Pool;
use crate::wire::{Checksum, Coded as _, Digest, ErrorCode};

/// No test waits longer for anything that must happen.
const BOUND: Duration = Duration::from_secs(20);

fn limits() -> Limits {
    Limits {
        stall: Duration::from_millis(100),
        tries: 3,
        backoff: Duration::from_millis(1),
        backoff_max: Duration::from_millis(5),
        ..Limits::default()
    }
}

fn body() -> Vec<u8> {
    (0..100_000_u32).flat_map(|number| number.wrapping_mul(0x9e37_79b9).to_be_bytes()).collect()
}

async fn serve(validator: Validator, faults: &[Fault]) -> FaultyServer {
    FaultyServer::run(Script::new(body(), faults.to_vec()).with(validator)).await.unwrap()
}

fn tag(text: &str) -> Validator {
    Validator::Tag(text.to_owned())
}

/// An image at all of these servers, with a digest that nobody looks at, or with none.
fn image_at(servers: &[&FaultyServer], has_digest: bool) -> Image {
    let mut urls = servers.iter().map(|server| server.url("image").parse().unwrap());
    let checksum = has_digest.then_some(Checksum::Digest(Digest::Sha256([0; 32])));
    let mut image = Image::new(urls.next().unwrap(), checksum);
    image.mirrors = urls.collect();
    image
}

fn urls_of(image: &Image) -> Urls {
    Urls::of(image, &Settings::default())
}

async fn open(image: &Image) -> Result<Source, ImageError> {
    timeout(BOUND, Source::open(image, &urls_of(image), &limits(), &LastGood::default())).await.unwrap()
}

async fn read(source: &mut Source) -> Result<Vec<u8>, ImageError> {
    let mut content = Vec::new();
    loop {
        let mut buffer = Pool::new(1).take().await;
        timeout(BOUND, source.fill(&mut buffer)).await.unwrap()?;
        if buffer.bytes().is_empty() {
            return Ok(content);
        }
        content.extend_from_slice(buffer.bytes());
    }
}

async fn fetch(image: &Image) -> Result<(Source, Vec<u8>), ImageError> {
    let mut source = open(image).await?;
    let content = read(&mut source).await?;
    Ok((source, content))
}

fn ranges(server: &FaultyServer) -> Vec<(Option<String>, Option<String>)> {
    let header = |request: &farrier_testbed::http::Request, name| request.header(name).map(str::to_owned);
    server.requests().iter().map(|request| (header(request, "range"), header(request, "if-range"))).collect()
}

fn asked(range: &str, condition: Option<&str>) -> (Option<String>, Option<String>) {
    (Some(range.to_owned()), condition.map(str::to_owned))
}

#[tokio::test]
async fn goes_on_with_the_next_byte_if_the_object_is_still_the_same() {
    const DATE: &str = "Sun, 01 Mar 2026 11:00:00 GMT";
    for (validator, condition) in [(tag("\"a\""), "\"a\""), (Validator::Modified(DATE.to_owned()), DATE)] {
        for fault in [Fault::CutAfter(1000), Fault::StallAfter(1000)] {
            let server = serve(validator.clone(), &[fault, Fault::Nothing]).await;
            let (source, content) = fetch(&image_at(&[&server], false)).await.unwrap();
            assert!(content == body());
            assert_eq!(ranges(&server), [(None, None), asked("bytes=1000-", Some(condition))]);
            assert_eq!((source.attempt(), source.received()), (2, 400_000));
            assert!(!source.spliced());
        }
    }
}

#[tokio::test]
async fn without_a_validator_only_a_digest_lets_it_go_on() {
    for validator in [Validator::None, tag("W/\"weak\"")] {
        let server = serve(validator.clone(), &[Fault::CutAfter(1000), Fault::Nothing]).await;
        let error = fetch(&image_at(&[&server], false)).await.unwrap_err();
        assert!(matches!(error, ImageError::StartOver { received: 1000, .. }), "{error}");
        assert_eq!(error.code(), ErrorCode::HttpTruncated, "that is why it does not go on");

        let server = serve(validator, &[Fault::CutAfter(1000), Fault::Nothing]).await;
        let (source, content) = fetch(&image_at(&[&server], true)).await.unwrap();
        assert!(content == body() && source.spliced());
        assert_eq!(ranges(&server)[1], asked("bytes=1000-", None));
    }
}

#[tokio::test]
async fn an_object_that_changed_has_to_be_fetched_anew() {
    for fault in [
        Fault::Tag("\"b\"".to_owned()),
        Fault::NoRanges,
        Fault::ContentLength(400_001),
        Fault::ContentLength(1000),
        Fault::ContentRange("bytes 999-399999/400000".to_owned()),
        Fault::ContentRange("bytes 1000-399998/400000".to_owned()),
        Fault::ContentRange("bytes 1000-399999/*".to_owned()),
        Fault::ContentRange("nonsense".to_owned()),
    ] {
        let server = serve(tag("\"a\""), &[Fault::CutAfter(1000), fault.clone()]).await;
        let error = fetch(&image_at(&[&server], true)).await.unwrap_err();
        assert!(matches!(error, ImageError::StartOver { received: 1000, .. }), "{fault:?}: {error}");
        assert_eq!(server.requests().len(), 2, "{fault:?}");
    }
}

#[tokio::test]
async fn a_server_that_ignores_conditions_is_found_out_by_its_tag() {
    // The two servers stand for one that gives another object the second time, with a range of it.
    let first = serve(tag("\"a\""), &[Fault::CutAfter(1000), Fault::Status(404)]).await;
    let second = serve(tag("\"b\""), &[Fault::NoConditions]).await;
    let error = fetch(&image_at(&[&first, &second], false)).await.unwrap_err();
    assert!(matches!(error, ImageError::StartOver { .. }), "{error}");
}

#[tokio::test]
async fn goes_on_at_a_mirror_by_an_equal_tag_or_by_the_digest() {
    for (theirs, has_digest, condition, spliced) in
        [("\"a\"", false, Some("\"a\""), false), ("\"a\"", true, None, false), ("\"b\"", true, None, true)]
    {
        let first = serve(tag("\"a\""), &[Fault::CutAfter(1000), Fault::Status(404)]).await;
        let second = serve(tag(theirs), &[Fault::Nothing]).await;
        let (source, content) = fetch(&image_at(&[&first, &second], has_digest)).await.unwrap();
        assert!(content == body());
        assert_eq!(ranges(&second), [asked("bytes=1000-", condition)]);
        assert_eq!(source.spliced(), spliced, "{theirs} {has_digest}");
        assert_eq!(source.url().to_string(), second.url("image"));
    }
}

#[tokio::test]
async fn does_not_go_on_at_a_mirror_with_another_object() {
    let first = serve(tag("\"a\""), &[Fault::CutAfter(1000)]).await;
    for (theirs, fault, has_digest) in [
        ("\"b\"", Fault::Nothing, false),
        ("\"a\"", Fault::ContentLength(400_001), true),
        ("\"a\"", Fault::NoRanges, true),
    ] {
        let second = serve(tag(theirs), std::slice::from_ref(&fault)).await;
        let error = fetch(&image_at(&[&first, &second], has_digest)).await.unwrap_err();
        assert!(matches!(error, ImageError::StartOver { received: 1000, .. }), "{fault:?}: {error}");
    }
}

#[tokio::test]
async fn splices_no_more_when_that_is_forbidden() {
    let image = |first, second| image_at(&[first, second], true);
    let first = serve(tag("\"a\""), &[Fault::CutAfter(1000), Fault::CutAfter(2000), Fault::Nothing]).await;
    let second = serve(tag("\"a\""), &[Fault::Nothing]).await;
    let mut source = open(&image(&first, &second)).await.unwrap();
    source.forbid_splicing();
    assert!(read(&mut source).await.unwrap() == body());
    assert!(!source.spliced() && second.requests().is_empty());
    assert_eq!(ranges(&first)[2], asked("bytes=2000-", Some("\"a\"")));
}

#[tokio::test]
async fn after_starting_over_the_mirror_that_answers_comes_first() {
    let first = serve(tag("\"a\""), &[Fault::CutAfter(1000)]).await;
    let second = serve(Validator::None, &[Fault::NoRanges]).await;
    let (image, last_good) = (image_at(&[&first, &second], true), LastGood::default());
    let mut source = Source::open(&image, &urls_of(&image), &limits(), &last_good).await.unwrap();
    assert!(matches!(read(&mut source).await, Err(ImageError::StartOver { .. })));
    let mut source = Source::open(&image, &urls_of(&image), &limits(), &last_good).await.unwrap();
    assert!(read(&mut source).await.unwrap() == body());
    assert_eq!(source.url().to_string(), second.url("image"));
}

#[tokio::test]
async fn the_last_good_one_is_asked_first_also_for_another_image() {
    let first = serve(tag("\"a\""), &[Fault::Status(503), Fault::Nothing]).await;
    let second = serve(tag("\"a\""), &[Fault::Nothing]).await;
    let (image, last_good) = (image_at(&[&first, &second], true), LastGood::default());
    for _ in 0..2 {
        let mut source = Source::open(&image, &urls_of(&image), &limits(), &last_good.clone()).await.unwrap();
        assert!(read(&mut source).await.unwrap() == body());
        source.approve();
    }
    assert_eq!((first.requests().len(), second.requests().len()), (1, 2));
}

#[tokio::test]
async fn reads_parts_beside_the_stream() {
    // Every second answer is cut, so that both the parts and the stream have to be asked for again.
    let faults: Vec<_> = (0..20)
        .map(|number| if number % 2 == 0 { Fault::CutAfter(150_000) } else { Fault::Nothing })
        .collect();
    let server = serve(tag("\"a\""), &faults).await;
    let mut source = open(&image_at(&[&server], false)).await.unwrap();
    for range in [0..1, 149_999..150_001, 399_999..400_000, 100_000..300_000, 7..7, 399_990..500_000] {
        let part = timeout(BOUND, source.read_range(range.clone())).await.unwrap().unwrap();
        let place = |place: u64| usize::try_from(place).unwrap().min(400_000);
        assert!(part == body()[place(range.start)..place(range.end)], "{range:?}");
    }
    assert!(read(&mut source).await.unwrap() == body());
}

#[tokio::test]
async fn a_part_of_another_object_or_a_whole_is_no_part() {
    let server = serve(tag("\"a\""), &[Fault::Nothing, Fault::Tag("\"b\"".to_owned())]).await;
    let mut source = open(&image_at(&[&server], true)).await.unwrap();
    let error = source.read_range(10..20).await.unwrap_err();
    assert!(matches!(error, ImageError::StartOver { .. }), "{error}");

    let server = serve(tag("\"a\""), &[Fault::NoRanges]).await;
    let mut source = open(&image_at(&[&server], true)).await.unwrap();
    let error = source.read_range(10..20).await.unwrap_err();
    assert!(matches!(error, ImageError::NoRanges { .. }), "{error}");
    // The stream is still there.
    assert!(read(&mut source).await.unwrap() == body());
}

#[tokio::test]
async fn a_real_server_takes_ranges_and_conditions() {
    let dir = tempfile::tempdir().unwrap();
    let docroot = dir.path().join("files");
    std::fs::create_dir(&docroot).unwrap();
    std::fs::write(docroot.join("image"), body()).unwrap();
    let nginx = Nginx::start(&dir.path().join("nginx"), &docroot).unwrap();
    let image = Image::new(nginx.url("image").parse().unwrap(), None);
    let mut source = open(&image).await.unwrap();
    assert_eq!(source.length(), Some(400_000));
    for range in [0..10, 399_000..400_000] {
        let part = source.read_range(range.clone()).await.unwrap();
        let place = |place: u64| usize::try_from(place).unwrap();
        assert!(part == body()[place(range.start)..place(range.end)]);
    }
    // Another file by the same name; the one before is still open at the server.
    std::fs::write(docroot.join("new"), &body()[4..]).unwrap();
    std::fs::rename(docroot.join("new"), docroot.join("image")).unwrap();
    let error = source.read_range(0..10).await.unwrap_err();
    assert!(matches!(error, ImageError::StartOver { .. }), "{error}");
}

#[tokio::test]
async fn the_deadline_ends_a_server_that_never_stalls() {
    let server = serve(tag("\"a\""), &[Fault::Trickle(1, Duration::from_millis(5))]).await;
    let limits = Limits { deadline: Duration::from_millis(200), ..limits() };
    let image = image_at(&[&server], true);
    let mut source = Source::open(&image, &urls_of(&image), &limits, &LastGood::default()).await.unwrap();
    let error = read(&mut source).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::HttpDeadline);
    assert!(source.received() > 1, "{error}");
}

#[tokio::test]
async fn the_deadline_tells_what_went_wrong_last() {
    let server = serve(tag("\"a\""), &[Fault::Status(503)]).await;
    let limits = Limits { deadline: Duration::from_millis(200), tries: u32::MAX, ..limits() };
    let image = image_at(&[&server], true);
    let opened = Source::open(&image, &urls_of(&image), &limits, &LastGood::default()).await;
    let report = opened.unwrap_err().report();
    assert_eq!(report.code, ErrorCode::HttpDeadline);
    assert!(report.message.contains("503"), "{report}");
}

#[tokio::test]
async fn an_untold_length_is_learnt_from_the_first_range() {
    let server = serve(tag("\"a\""), &[Fault::NoContentLength, Fault::Nothing]).await;
    let mut source = open(&image_at(&[&server], false)).await.unwrap();
    assert_eq!(source.length(), None);
    assert!(source.read_range(0..10).await.unwrap() == body()[..10]);
    assert_eq!(source.length(), Some(400_000));
    assert!(read(&mut source).await.unwrap() == body());
}

#[tokio::test]
async fn small_files_are_read_whole_and_no_others() {
    let dir = tempfile::tempdir().unwrap();
    let content = b"abc  image\n".repeat(100);
    std::fs::write(dir.path().join("SUMS"), &content).unwrap();
    let in_file = format!("file://{}/SUMS", dir.path().display());
    let script = Script::new(content.clone(), vec![Fault::Status(503), Fault::CutAfter(500), Fault::Nothing]);
    let server = FaultyServer::run(script).await.unwrap();
    let image = image_at(&[&server], false);
    for url in [in_file, server.url("SUMS")] {
        let url = url.parse().unwrap();
        let read = read_small(&url, &image, &limits(), content.len()).await.unwrap();
        assert!(read == content);
        let error = read_small(&url, &image, &limits(), content.len() - 1).await.unwrap_err();
        assert_eq!(error.code(), ErrorCode::ChecksumFile);
    }
}

#[tokio::test]
async fn a_small_file_that_changes_is_read_again() {
    let faults = vec![Fault::CutAfter(5), Fault::Tag("\"new\"".to_owned()), Fault::Nothing];
    let server = FaultyServer::run(Script::new(b"abc  image\n".to_vec(), faults)).await.unwrap();
    let url = server.url("SUMS").parse().unwrap();
    let image = image_at(&[&server], false);
    assert!(read_small(&url, &image, &limits(), 1000).await.unwrap() == b"abc  image\n"[..]);
    assert_eq!(ranges(&server).len(), 3);
}
