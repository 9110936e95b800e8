//! A double of an HTTP server that breaks where it is told to. Only for faults that a real server cannot be made to show.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use anyhow::Context as _;
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use super::fault::{Answer, Fault, Validator, answer};

const PIECE_BYTES: usize = 64 << 10;

/// What a server does.
#[derive(Clone, Debug)]
pub struct Script {
    /// The object, at every path.
    pub body: Vec<u8>,
    /// What tells its versions apart.
    pub validator: Validator,
    /// What goes wrong with the first answer, the second, and so on; the last one goes on.
    pub faults: Vec<Fault>,
}

impl Script {
    /// For an object whose entity tag is made from its content.
    #[must_use]
    pub fn new(body: Vec<u8>, faults: Vec<Fault>) -> Self {
        let tag = format!("\"{}\"", hex::encode(&Sha256::digest(&body)[..8]));
        Self { body, validator: Validator::Tag(tag), faults }
    }

    /// With another validator.
    #[must_use]
    pub fn with(self, validator: Validator) -> Self {
        Self { validator, ..self }
    }
}

/// A request that came.
#[derive(Clone, Debug)]
pub struct Request {
    /// The first line, without its end.
    pub line: String,
    /// Names in lower case, and values.
    pub headers: Vec<(String, String)>,
    /// When it came.
    pub at: Instant,
}

impl Request {
    /// The value of a header; `name` is in lower case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }
}

/// A server on a random port of the loopback that follows a script, one request in a connection. It ends when dropped.
#[derive(Debug)]
pub struct FaultyServer {
    address: SocketAddr,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    script: Script,
    requests: Mutex<Vec<Request>>,
    sent: watch::Sender<usize>,
}

impl FaultyServer {
    /// Starts one that answers every request with the same body and the same fault.
    ///
    /// # Errors
    /// When no port can be bound.
    pub async fn start(body: Vec<u8>, fault: Fault) -> anyhow::Result<Self> {
        Self::run(Script::new(body, vec![fault])).await
    }

    /// Starts one that follows a script.
    ///
    /// # Errors
    /// When no port can be bound.
    pub async fn run(script: Script) -> anyhow::Result<Self> {
        let listener =
            TcpListener::bind(("127.0.0.1", 0)).await.context("cannot bind a port of the loopback")?;
        let address = listener.local_addr()?;
        let (requests, sent) = (Mutex::default(), watch::Sender::new(0));
        let shared = Arc::new(Shared { script, requests, sent });
        let task = tokio::spawn(serve(listener, Arc::clone(&shared)));
        Ok(Self { address, shared, task })
    }

    /// The URL of `path`; every path is the same.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("http://{}/{path}", self.address)
    }

    /// The port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// The requests that came, in their order.
    #[must_use]
    pub fn requests(&self) -> Vec<Request> {
        self.shared.requests.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until at least `bytes` of the body have been sent, all answers together.
    ///
    /// # Errors
    /// When the server has ended.
    pub async fn has_sent(&self, bytes: usize) -> anyhow::Result<()> {
        let mut sent = self.shared.sent.subscribe();
        sent.wait_for(|sent| *sent >= bytes).await.context("the server has ended")?;
        Ok(())
    }
}

impl Drop for FaultyServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    // Aborted with its connections when the server is dropped.
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let shared = Arc::clone(&shared);
        // A client that goes away is no fault of this server, and is what some tests are about.
        connections.spawn(async move {
            let _ = shared.converse(stream).await;
        });
    }
}

impl Shared {
    async fn converse(&self, stream: TcpStream) -> std::io::Result<()> {
        let mut stream = BufReader::new(stream);
        let request = read_request(&mut stream).await?;
        let fault = self.next_fault(&request);
        if fault == Fault::Silence {
            return hold(stream).await;
        }
        let Script { body, validator, .. } = &self.script;
        let Answer { head, from, to } = answer(&request, &fault, validator, body.len());
        stream.write_all(format!("{head}Connection: close\r\n\r\n").as_bytes()).await?;
        let (bytes, pause) = match fault {
            Fault::Trickle(bytes, pause) => (bytes, Some(pause)),
            _ => (PIECE_BYTES, None),
        };
        for piece in body[from..to].chunks(bytes) {
            stream.write_all(piece).await?;
            self.sent.send_modify(|sent| *sent += piece.len());
            if let Some(pause) = pause {
                // This is what a slow server does, and waits for nothing.
                tokio::time::sleep(pause).await;
            }
        }
        match fault {
            Fault::StallAfter(_) => hold(stream).await,
            _ => stream.shutdown().await,
        }
    }

    /// Notes the request, and says what shall go wrong with the answer.
    fn next_fault(&self, request: &Request) -> Fault {
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        let faults = &self.script.faults;
        let fault = faults.get(requests.len()).or_else(|| faults.last()).cloned();
        requests.push(request.clone());
        fault.unwrap_or(Fault::Nothing)
    }
}

pub(super) async fn read_request(stream: &mut BufReader<TcpStream>) -> std::io::Result<Request> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await? <= 2 {
            break;
        }
        lines.push(line.trim_end().to_owned());
    }
    let mut lines = lines.into_iter();
    let line = lines.next().unwrap_or_default();
    let header = |line: String| {
        let (name, value) = line.split_once(':')?;
        Some((name.to_ascii_lowercase(), value.trim().to_owned()))
    };
    Ok(Request { line, headers: lines.filter_map(header).collect(), at: Instant::now() })
}

/// Says nothing until the client goes away.
pub(super) async fn hold(mut stream: BufReader<TcpStream>) -> std::io::Result<()> {
    let mut ignored = [0; 64];
    while stream.read(&mut ignored).await? > 0 {}
    Ok(())
}
