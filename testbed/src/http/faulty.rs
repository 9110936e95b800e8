//! A double of an HTTP server that breaks where it is told to. Only for faults that a real server cannot be made to show.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context as _;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

const PIECE_BYTES: usize = 64 << 10;

/// What goes wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing: but the length of the body is not told, it ends with the connection.
    NoContentLength,
    /// The connection ends after so many bytes of the body.
    CutAfter(usize),
    /// Nothing more comes after so many bytes of the body, and the connection stays open.
    StallAfter(usize),
    /// The connection is accepted and nothing ever comes.
    Silence,
    /// So many bytes are announced, whatever the body has.
    ContentLength(u64),
    /// The answer has this status and no body.
    Status(u16),
    /// The answer leads to there.
    RedirectTo(String),
}

/// A server on a random port of the loopback that answers every request with the same body and the same fault. It ends when
/// dropped.
#[derive(Debug)]
pub struct FaultyServer {
    address: SocketAddr,
    sent: watch::Receiver<usize>,
    task: JoinHandle<()>,
}

impl FaultyServer {
    /// Starts it.
    ///
    /// # Errors
    /// When no port can be bound.
    pub async fn start(body: Vec<u8>, fault: Fault) -> anyhow::Result<Self> {
        let listener =
            TcpListener::bind(("127.0.0.1", 0)).await.context("cannot bind a port of the loopback")?;
        let address = listener.local_addr()?;
        let (sender, sent) = watch::channel(0);
        let task = tokio::spawn(serve(listener, body.into(), fault, sender));
        Ok(Self { address, sent, task })
    }

    /// The URL of `path`; every path is the same.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("http://{}/{path}", self.address)
    }

    /// Waits until at least `bytes` of a body have been sent.
    ///
    /// # Errors
    /// When the server has ended.
    pub async fn has_sent(&self, bytes: usize) -> anyhow::Result<()> {
        self.sent.clone().wait_for(|sent| *sent >= bytes).await.context("the server has ended")?;
        Ok(())
    }
}

impl Drop for FaultyServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(listener: TcpListener, body: Arc<[u8]>, fault: Fault, sent: watch::Sender<usize>) {
    // Aborted with its connections when the server is dropped.
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let (body, fault, sent) = (Arc::clone(&body), fault.clone(), sent.clone());
        // A client that goes away is no fault of this server, and is what some tests are about.
        connections.spawn(async move {
            let _ = answer(stream, &body, &fault, &sent).await;
        });
    }
}

async fn answer(
    stream: TcpStream,
    body: &[u8],
    fault: &Fault,
    sent: &watch::Sender<usize>,
) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    while stream.read_line(&mut line).await? > 2 {
        line.clear();
    }
    let head = match fault {
        Fault::NoContentLength => "HTTP/1.1 200 OK\r\n".to_owned(),
        Fault::ContentLength(length) => format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n"),
        Fault::CutAfter(_) | Fault::StallAfter(_) => {
            format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n", body.len())
        }
        Fault::Status(status) => format!("HTTP/1.1 {status} Fault\r\nContent-Length: 0\r\n"),
        Fault::RedirectTo(url) => format!("HTTP/1.1 302 Found\r\nLocation: {url}\r\nContent-Length: 0\r\n"),
        Fault::Silence => return hold(stream).await,
    };
    let body = match fault {
        Fault::Status(_) | Fault::RedirectTo(_) => &[],
        Fault::CutAfter(bytes) | Fault::StallAfter(bytes) => &body[..body.len().min(*bytes)],
        _ => body,
    };
    stream.write_all(format!("{head}Connection: close\r\n\r\n").as_bytes()).await?;
    for piece in body.chunks(PIECE_BYTES) {
        stream.write_all(piece).await?;
        sent.send_modify(|sent| *sent += piece.len());
    }
    match fault {
        Fault::StallAfter(_) => hold(stream).await,
        _ => stream.shutdown().await,
    }
}

/// Says nothing until the client goes away.
async fn hold(mut stream: BufReader<TcpStream>) -> std::io::Result<()> {
    let mut ignored = [0; 64];
    while stream.read(&mut ignored).await? > 0 {}
    Ok(())
}
