//! Images of other servers that are fetched once and served from here.

use std::fs;
use std::path::PathBuf;

use farrier::image::Image;
use farrier::wire::{Checksum, ErrorCode, ErrorReport};
use farrier_coordinator::images::local::Published;
use farrier_testbed::http::{Fault, FaultyServer, Nginx, Script, Validator};
use reqwest::Method;
use tempfile::TempDir;

use crate::lab::{Asked, Lab, sha256_of};

const KIB: usize = 1 << 10;

/// A real server of files.
struct Origin {
    nginx: Nginx,
    files: PathBuf,
    _directory: TempDir,
}

impl Origin {
    fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let files = directory.path().join("files");
        fs::create_dir(&files).unwrap();
        let nginx = Nginx::start(&directory.path().join("nginx"), &files).unwrap();
        Self { nginx, files, _directory: directory }
    }

    fn put(&self, name: &str, content: &[u8]) -> Image {
        // Beside the old one, as an operator should.
        fs::write(self.files.join("new"), content).unwrap();
        fs::rename(self.files.join("new"), self.files.join(name)).unwrap();
        image(&self.nginx.url(name), content)
    }

    /// How often a file was fetched.
    fn fetches(&self, name: &str) -> usize {
        let line = format!("/{name} 200");
        // A `HEAD` is noted in the same way.
        self.nginx.requests().unwrap().iter().filter(|request| request.ends_with(&line)).count()
    }
}

fn image(url: &str, content: &[u8]) -> Image {
    Image::new(url.parse().unwrap(), Some(Checksum::Digest(sha256_of(content).parse().unwrap())))
}

fn body(bytes: usize, seed: u8) -> Vec<u8> {
    (0..bytes).map(|place| u8::try_from(place % 251).unwrap() ^ seed).collect()
}

async fn fetch(lab: &Lab, image: &Image) -> Result<Published, ErrorReport> {
    lab.fetch(image, image.source.expose().as_str()).await
}

fn gets(server: &FaultyServer) -> usize {
    server.requests().iter().filter(|request| request.line.starts_with("GET ")).count()
}

#[tokio::test]
async fn an_image_is_fetched_once_for_many_and_served_by_its_content() {
    let lab = Lab::with_cache(1 << 20).await;
    let content = body(300 * KIB, 0);
    let server = FaultyServer::start(content.clone(), Fault::Nothing).await.unwrap();
    let image = image(&server.url("image"), &content);
    let all = futures_util::future::join_all((0..8).map(|_| fetch(&lab, &image))).await;
    let first = all[0].as_ref().unwrap();
    assert!(all.iter().all(|published| published.as_ref() == Ok(first)), "{all:?}");
    assert_eq!(first.length, 300 * 1024);
    assert_eq!(first.sha256.to_string(), format!("sha256:{}", sha256_of(&content)));
    assert!(Asked::of(first).get(&[]).await.2 == content);

    // Nor later, nor after a restart.
    assert_eq!(fetch(&lab, &image).await.as_ref(), Ok(first));
    let lab = lab.start_again().await;
    let again = fetch(&lab, &image).await.unwrap();
    assert!(Asked::of(&again).get(&[]).await.2 == content);
    assert_eq!(gets(&server), 1);
}

#[tokio::test]
async fn a_changed_image_is_fetched_again_and_an_unchanged_one_is_not() {
    let (lab, origin) = (Lab::with_cache(1 << 20).await, Origin::start());
    let (old, new) = (body(100 * KIB, 1), body(100 * KIB, 2));
    let image = origin.put("image", &old);
    let first = fetch(&lab, &image).await.unwrap();
    fetch(&lab, &image).await.unwrap();
    // Two `HEAD` and a `GET`.
    assert_eq!(origin.fetches("image"), 3);

    let image = origin.put("image", &new);
    let second = fetch(&lab, &image).await.unwrap();
    assert_ne!(second.url, first.url);
    assert!(Asked::of(&second).get(&[]).await.2 == new);
    assert!(Asked::of(&first).get(&[]).await.2 == old, "it is kept while there is room");
    assert_eq!(origin.fetches("image"), 5);
}

#[tokio::test]
async fn a_server_that_says_nothing_of_changes_is_asked_for_the_image_each_time() {
    let lab = Lab::with_cache(1 << 20).await;
    let content = body(10 * KIB, 0);
    let script = Script::new(content.clone(), vec![Fault::Nothing]).with(Validator::None);
    let server = FaultyServer::run(script).await.unwrap();
    let image = image(&server.url("image"), &content);
    let first = fetch(&lab, &image).await.unwrap();
    assert_eq!(fetch(&lab, &image).await.unwrap(), first);
    assert_eq!(gets(&server), 2);
}

#[tokio::test]
async fn one_image_by_two_urls_is_one_and_a_name_joins_urls_that_differ() {
    let (lab, origin) = (Lab::with_cache(1 << 20).await, Origin::start());
    let content = body(10 * KIB, 0);
    let (first, second) = (origin.put("a", &content), origin.put("b", &content));
    assert_eq!(fetch(&lab, &first).await, fetch(&lab, &second).await);
    assert_eq!(lab.cached().len(), 1);

    // As temporary URLs do.
    let signed = |signature| image(&format!("{}?sig={signature}", origin.nginx.url("a")), &content);
    let by_name = lab.fetch(&signed("hunter2a"), "swift://c/o").await.unwrap();
    assert_eq!(lab.fetch(&signed("hunter2b"), "swift://c/o").await.unwrap(), by_name);
    let asked = |signature: &str| {
        let path = format!("/a?sig={signature} ");
        origin.nginx.requests().unwrap().iter().filter(|request| request.contains(&path)).count()
    };
    assert_eq!((asked("hunter2a"), asked("hunter2b")), (2, 1), "HEAD and GET, HEAD alone");
    let database = fs::read(lab.directory.path().join("farrier.db")).unwrap();
    let wal = fs::read(lab.directory.path().join("farrier.db-wal")).unwrap_or_default();
    for stored in [database, wal] {
        assert!(!stored.windows(7).any(|bytes| bytes == b"hunter2"), "the store has a signature");
    }
}

#[tokio::test]
async fn what_does_not_come_as_it_was_meant_leaves_nothing_behind() {
    let (lab, origin) = (Lab::with_cache(1 << 20).await, Origin::start());
    let mut image = origin.put("image", &body(100 * KIB, 0));
    image.checksum = Some(Checksum::Digest(sha256_of(b"something else").parse().unwrap()));
    assert_eq!(fetch(&lab, &image).await.unwrap_err().code, ErrorCode::DigestMismatch);
    let absent = self::image(&origin.nginx.url("absent"), b"");
    assert_eq!(fetch(&lab, &absent).await.unwrap_err().code, ErrorCode::ImageNotFound);
    assert!(lab.cached().is_empty(), "{:?}", lab.cached());
    let unpublished = Asked::of(&lab.publish(&lab.image("a.raw", b"a")).await.unwrap());
    let sha256 = sha256_of(&body(100 * KIB, 0));
    assert_eq!(unpublished.elsewhere(&format!("/images/{sha256}")).problem(Method::GET).await.0, 404);
}

#[tokio::test]
async fn the_image_that_was_used_longest_ago_makes_room() {
    let (lab, origin) = (Lab::with_cache(250 << 10).await, Origin::start());
    let [a, b, c] = ["a", "b", "c"].map(|name| origin.put(name, &body(100 * KIB, name.as_bytes()[0])));
    let first = Asked::of(&fetch(&lab, &a).await.unwrap());
    let second = Asked::of(&fetch(&lab, &b).await.unwrap());
    // Used last: by a node.
    assert_eq!(first.get(&[]).await.0, 200);
    fetch(&lab, &c).await.unwrap();
    assert_eq!(first.get(&[]).await.0, 200);
    assert_eq!(second.problem(Method::GET).await, (404, "not-found".to_owned()));
    assert_eq!(lab.cached().len(), 2);
    fetch(&lab, &b).await.unwrap();
    assert_eq!(second.get(&[]).await.0, 200, "it has the same URL again");
}

#[tokio::test]
async fn an_image_that_is_being_served_is_not_given_up() {
    // More than the buffers of two sockets.
    const LARGE: usize = 48 << 20;
    let (lab, origin) = (Lab::with_cache(50 << 20).await, Origin::start());
    let content = body(LARGE, 0);
    let published = fetch(&lab, &origin.put("large", &content)).await.unwrap();
    let mut response = Asked::of(&published).ask(Method::GET, &[]).await;
    let mut received = response.chunk().await.unwrap().unwrap().to_vec();

    let other = origin.put("other", &body(4 << 20, 1));
    let error = fetch(&lab, &other).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::ImageCacheFull, "{error}");
    while let Some(piece) = response.chunk().await.unwrap() {
        received.extend_from_slice(&piece);
    }
    assert!(received == content);
    drop(response);
    // The server notices the end of the answer a moment later.
    farrier_testbed::wait::wait_for("the image can be given up", crate::lab::SOON, async || {
        Ok(fetch(&lab, &other).await.ok())
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn what_is_larger_than_the_cache_is_refused_whether_its_length_is_known_or_not() {
    let lab = Lab::with_cache(100 << 10).await;
    let content = body(100 * KIB + 1, 0);
    for fault in [Fault::Nothing, Fault::NoContentLength] {
        let server = FaultyServer::start(content.clone(), fault).await.unwrap();
        let error = fetch(&lab, &image(&server.url("image"), &content)).await.unwrap_err();
        assert_eq!(error.code, ErrorCode::ImageCacheFull, "{error}");
    }
    let content = body(100 * KIB, 0);
    let server = FaultyServer::start(content.clone(), Fault::NoContentLength).await.unwrap();
    fetch(&lab, &image(&server.url("image"), &content)).await.unwrap();
}

#[tokio::test]
async fn a_cache_that_was_left_in_a_mess_is_tidied_up() {
    let (lab, origin) = (Lab::with_cache(1 << 20).await, Origin::start());
    let image = origin.put("image", &body(10 * KIB, 0));
    let published = fetch(&lab, &image).await.unwrap();
    let directory = lab.stop().await;
    let cache = directory.path().join("cache");
    fs::write(cache.join("partial-abc"), "a part").unwrap();
    fs::write(cache.join("ab".repeat(32)), "nobody knows it").unwrap();
    fs::write(cache.join("0-notes"), "of the operator").unwrap();
    let lab = Lab::on(directory, Some(1 << 20)).await;
    let mut left = lab.cached();
    left.sort();
    assert_eq!(left, ["0-notes".to_owned(), published.sha256.to_string().replace("sha256:", "")]);

    // One that is no longer what it was is fetched again.
    let path = cache.join(&left[1]);
    fs::write(&path, "spoilt").unwrap();
    let again = fetch(&lab, &image).await.unwrap();
    assert!(Asked::of(&again).get(&[]).await.2 == body(10 * KIB, 0));
}

#[tokio::test]
async fn a_cache_belongs_to_one_coordinator() {
    let lab = Lab::with_cache(1 << 20).await;
    let error = lab.try_another().await.unwrap_err();
    assert_eq!(error.code, ErrorCode::BadConfig);
    assert!(error.message.contains("in use by another process"), "{error}");
}

#[tokio::test]
async fn files_of_the_coordinator_are_not_read_for_it() {
    let lab = Lab::with_cache(1 << 20).await;
    let secret = lab.image("a.raw", b"content").display().to_string();
    let of_file = image(&format!("file://{secret}"), b"content");
    let mut by_file = image("http://127.0.0.1:1/image", b"content");
    by_file.checksum = Some(format!("file://{secret}").parse().unwrap());
    let mut mirrored = image("http://127.0.0.1:1/image", b"content");
    mirrored.mirrors = vec![of_file.source.clone()];
    for image in [of_file, by_file, mirrored] {
        assert_eq!(fetch(&lab, &image).await.unwrap_err().code, ErrorCode::PathNotAllowed);
    }
    let without = Lab::start().await;
    let error = fetch(&without, &image("http://127.0.0.1:1/image", b"")).await.unwrap_err();
    assert!(error.message.contains("`image_cache_dir`"), "{error}");
}
