//! An image, a file to write it to, and the pipeline between them.

use std::fs::{self, OpenOptions};
use std::path::Path;
use std::time::Duration;

use farrier::image::{self, Connection, Image, ImageError, Limits, Settings, Target};
use farrier::meter::Meter;
use farrier::wire::{Checksum, Coded as _, Digest, ErrorReport};
pub(crate) use farrier_testbed::disk_image::disk_like as body;
use farrier_testbed::http::{FaultyServer, Nginx, Tls};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

/// No test waits longer for anything that must happen.
pub(crate) const BOUND: Duration = Duration::from_secs(30);
pub(crate) const DISK: u64 = 4 << 20;

/// Impatient, for servers on the loopback.
pub(crate) fn limits() -> Limits {
    Limits {
        stall: Duration::from_secs(5),
        tries: 3,
        backoff: Duration::from_millis(1),
        backoff_max: Duration::from_secs(2),
        ..Limits::default()
    }
}

pub(crate) fn settings() -> Settings {
    Settings { limits: limits(), ..Settings::default() }
}

/// What most tests serve.
pub(crate) fn image_body() -> Vec<u8> {
    body(1_500_000)
}

pub(crate) fn digest_of(bytes: &[u8]) -> Checksum {
    Checksum::Digest(Digest::Sha256(Sha256::digest(bytes).into()))
}

/// The image at these URLs, reached by `connection`.
pub(crate) fn image_at<U: AsRef<str>>(urls: &[U], connection: Connection) -> Image {
    let mut urls = urls.iter().map(|url| url.as_ref().parse().unwrap());
    let mut image = Image::new(urls.next().unwrap(), Some(digest_of(&image_body())));
    image.mirrors = urls.collect();
    image.connection = connection;
    image
}

/// Writes an image to a file and returns as much of that as the image has.
pub(crate) async fn fetch(image: &Image, settings: &Settings) -> Result<Vec<u8>, ImageError> {
    let dir = tempfile::tempdir().unwrap();
    let disk = dir.path().join("disk");
    let file = OpenOptions::new().read(true).write(true).create_new(true).open(&disk).unwrap();
    file.set_len(DISK).unwrap();
    let target = Target { name: "the disk".to_owned(), file, capacity: DISK, sector: 512 };
    let meter = Meter::unobserved();
    let writing = image::write(image, target, settings, &meter);
    let written = tokio::time::timeout(BOUND, writing).await.expect("it neither ends nor fails")?;
    let mut content = fs::read(&disk).unwrap();
    content.truncate(usize::try_from(written.bytes).unwrap());
    Ok(content)
}

/// Fetches [`image_body`].
pub(crate) async fn fetch_well<U: AsRef<str>>(urls: &[U], connection: Connection) {
    let content = fetch(&image_at(urls, connection), &settings()).await;
    assert!(content.unwrap_or_else(|error| panic!("{}", error.report())) == image_body());
}

/// Why it cannot be fetched.
pub(crate) async fn fetch_badly<U: AsRef<str>>(urls: &[U], connection: Connection) -> ErrorReport {
    fetch(&image_at(urls, connection), &settings()).await.unwrap_err().report()
}

/// An nginx with [`image_body`] at `image`.
pub(crate) struct Origin {
    pub(crate) nginx: Nginx,
    _dir: TempDir,
}

impl Origin {
    pub(crate) fn start() -> Self {
        Self::start_maybe_tls(None)
    }

    pub(crate) fn start_tls(tls: &Tls<'_>) -> Self {
        Self::start_maybe_tls(Some(tls))
    }

    fn start_maybe_tls(tls: Option<&Tls<'_>>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (docroot, nginx) = (dir.path().join("files"), dir.path().join("nginx"));
        fs::create_dir(&docroot).unwrap();
        fs::write(docroot.join("image"), image_body()).unwrap();
        let nginx = match tls {
            None => Nginx::start(&nginx, &docroot),
            Some(tls) => Nginx::start_tls(&nginx, &docroot, tls),
        };
        Self { nginx: nginx.unwrap(), _dir: dir }
    }

    pub(crate) fn url(&self) -> String {
        self.nginx.url("image")
    }
}

/// The values of a header, request by request.
pub(crate) fn sent<'a>(
    requests: &'a [farrier_testbed::http::Request],
    name: &'a str,
) -> Vec<Option<&'a str>> {
    requests.iter().map(|request| request.header(name)).collect()
}

/// A server of [`image_body`] with one fault after another.
pub(crate) async fn faulty(faults: &[farrier_testbed::http::Fault]) -> FaultyServer {
    FaultyServer::run(farrier_testbed::http::Script::new(image_body(), faults.to_vec())).await.unwrap()
}

pub(crate) fn file_url(path: &Path) -> String {
    format!("file://{}", path.display())
}
