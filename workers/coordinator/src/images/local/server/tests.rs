//! Clients that are slow, or do nothing at all.

use std::fs;

use farrier::image::Settings;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::*;
use crate::feed::Feed;
use crate::images::local::{AllowedPaths, LocalConfig};
use crate::vault::Vault;

/// No test waits longer.
const SOON: Duration = Duration::from_secs(20);
const LONG: Duration = Duration::from_secs(3600);
const SHORT: Duration = Duration::from_millis(100);
/// More than the buffers of two sockets.
const LARGE: usize = 48 << 20;

/// A server that waits for nobody but as it is told, with a large image.
struct Served {
    stream: TcpStream,
    request: String,
    shutdown: CancellationToken,
    serving: JoinHandle<()>,
    _directory: TempDir,
}

async fn served(patience: Patience) -> Served {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("image");
    fs::write(&path, vec![1; LARGE]).unwrap();
    let store = directory.path().join("farrier.db");
    let store = Store::open(&store, Feed::new(), Vault::default()).await.unwrap();
    let server = ServerConfig { listen: "127.0.0.1:0".parse().unwrap(), listen_file: None, url: None };
    let allowed = AllowedPaths::open(&[directory.path().to_owned()]).unwrap();
    let config = LocalConfig { allowed: Arc::new(allowed), server: Some(server), cache: None };
    let (local, server) = Local::start(config, Settings::default(), &store).await.unwrap();
    let mut server = server.unwrap();
    server.patience = patience;
    let url = format!("file://{}", path.display()).parse().unwrap();
    let published = local.publish(&store, &url).await.unwrap();
    let stream = TcpStream::connect(server.listener.local_addr().unwrap()).await.unwrap();
    let shutdown = CancellationToken::new();
    let serving = tokio::spawn(server.run(shutdown.clone()));
    let request = format!("GET {} HTTP/1.1\r\nHost: h\r\n\r\n", published.url.expose().path());
    Served { stream, request, shutdown, serving, _directory: directory }
}

impl Served {
    async fn send(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).await.unwrap();
    }

    /// Reads until the server closes the connection.
    async fn received(&mut self) -> usize {
        let mut received = Vec::new();
        // One that was reset is closed as well.
        let _ = timeout(SOON, self.stream.read_to_end(&mut received)).await.expect("it stays open");
        received.len()
    }
}

#[tokio::test]
async fn a_client_that_does_not_ask_loses_its_connection() {
    for begun in ["", "GET /images/ab HTTP/1.1\r\nHost:"] {
        let mut served = served(Patience { head: SHORT, taken: LONG, drain: LONG }).await;
        served.send(begun).await;
        assert!(served.received().await < 1000);
    }
}

#[tokio::test]
async fn a_client_that_is_idle_after_an_answer_loses_its_connection() {
    let mut served = served(Patience { head: SHORT, taken: LONG, drain: LONG }).await;
    served.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n").await;
    assert!(served.received().await > 0);
}

#[tokio::test]
async fn a_client_that_takes_nothing_loses_its_connection_and_one_that_does_has_its_time() {
    let mut served = served(Patience { head: SHORT, taken: LONG, drain: LONG }).await;
    let request = served.request.clone();
    served.send(&request).await;
    assert!(served.received().await > LARGE, "the head and the whole image");

    let mut served = self::served(Patience { head: LONG, taken: SHORT, drain: LONG }).await;
    served.send(&request).await;
    // Reading now would be taking: what is left to see is that the server lets go.
    served.shutdown.cancel();
    timeout(SOON, &mut served.serving).await.expect("it still waits for the client").unwrap();
    assert!(served.received().await < LARGE);
}

#[tokio::test]
async fn a_shutdown_waits_for_nobody_for_long() {
    let mut served = served(Patience { head: LONG, taken: LONG, drain: SHORT }).await;
    let request = served.request.clone();
    served.send(&request).await;
    served.stream.readable().await.unwrap();
    served.shutdown.cancel();
    timeout(SOON, &mut served.serving).await.expect("it waits for the client").unwrap();
    assert!(served.received().await < LARGE);
}

#[tokio::test]
async fn a_head_that_is_too_large_is_not_taken() {
    let mut served = served(Patience { head: LONG, taken: LONG, drain: LONG }).await;
    let head = format!("GET / HTTP/1.1\r\nX: {}\r\n", "x".repeat(2 * LARGEST_HEAD));
    // The server may have closed the connection before all of it is sent.
    let _ = served.stream.write_all(head.as_bytes()).await;
    assert!(served.received().await < 1000);
}
