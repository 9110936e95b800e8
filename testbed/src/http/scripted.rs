//! A double of an HTTP server that answers as it is told, request by request. Only for what a real server cannot be made to do.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context as _;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

use super::faulty::{hold, read_request};

/// The largest body of a request that is read, in bytes.
const LARGEST_BODY: usize = 1 << 20;

/// A request that came.
#[derive(Clone, Debug)]
pub struct Asked {
    /// The method.
    pub method: String,
    /// The path.
    pub path: String,
    /// Names in lower case, and values.
    pub headers: Vec<(String, String)>,
    /// The body, where it is JSON.
    pub body: Value,
}

impl Asked {
    /// The value of a header; `name` is in lower case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }
}

/// An answer.
#[derive(Clone, Debug)]
pub enum Said {
    /// One of HTTP: status, more headers, body.
    Answer(u16, Vec<(&'static str, String)>, String),
    /// These bytes, and then the connection ends.
    Bytes(Vec<u8>),
    /// These bytes again and again, for as long as somebody reads them, behind the head of an answer without an end.
    Endless(Vec<u8>),
    /// Nothing, and the connection stays open.
    Silence,
}

impl Said {
    /// JSON with a status.
    #[must_use]
    pub fn json(status: u16, body: &Value) -> Self {
        Self::Answer(status, vec![("Content-Type", "application/json".to_owned())], body.to_string())
    }

    /// A status with nothing.
    #[must_use]
    pub fn status(status: u16) -> Self {
        Self::Answer(status, Vec::new(), String::new())
    }

    /// The same with another header.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: &str) -> Self {
        if let Self::Answer(_, headers, _) = &mut self {
            headers.push((name, value.to_owned()));
        }
        self
    }
}

/// A server on a random port of the loopback. It ends when dropped.
#[derive(Debug)]
pub struct ScriptedServer {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
    task: JoinHandle<()>,
}

impl ScriptedServer {
    /// Starts one that answers as `script` says.
    ///
    /// # Errors
    /// When no port can be bound.
    pub async fn start(script: impl Fn(&Asked) -> Said + Send + Sync + 'static) -> anyhow::Result<Self> {
        let listener =
            TcpListener::bind(("127.0.0.1", 0)).await.context("cannot bind a port of the loopback")?;
        let address = listener.local_addr()?;
        let asked = Arc::default();
        let task = tokio::spawn(serve(listener, Arc::new(script), Arc::clone(&asked)));
        Ok(Self { address, asked, task })
    }

    /// Its URL, without a slash at the end.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The requests that came, in their order.
    #[must_use]
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for ScriptedServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve<S>(listener: TcpListener, script: Arc<S>, asked: Arc<Mutex<Vec<Asked>>>)
where
    S: Fn(&Asked) -> Said + Send + Sync + 'static,
{
    // Aborted with its connections when the server is dropped.
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let (script, asked) = (Arc::clone(&script), Arc::clone(&asked));
        // A client that goes away is no fault of this server, and is what some tests are about.
        connections.spawn(async move {
            let _ = converse(stream, &*script, &asked).await;
        });
    }
}

async fn converse(
    stream: TcpStream,
    script: &(dyn Fn(&Asked) -> Said + Send + Sync),
    asked: &Mutex<Vec<Asked>>,
) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    let request = read_request(&mut stream).await?;
    let mut words = request.line.split(' ').map(str::to_owned);
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let length = request.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    let mut body = vec![0; LARGEST_BODY.min(length)];
    stream.read_exact(&mut body).await?;
    let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
    let request = Asked { method, path, headers: request.headers, body };
    asked.lock().unwrap_or_else(PoisonError::into_inner).push(request.clone());
    match script(&request) {
        Said::Silence => hold(stream).await,
        Said::Bytes(bytes) => {
            stream.write_all(&bytes).await?;
            stream.shutdown().await
        }
        Said::Endless(bytes) => {
            stream.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n").await?;
            loop {
                stream.write_all(&bytes).await?;
            }
        }
        Said::Answer(status, headers, body) => {
            let mut head = format!("HTTP/1.1 {status} Scripted\r\nConnection: close\r\n");
            for (name, value) in headers {
                head.push_str(&format!("{name}: {value}\r\n"));
            }
            head.push_str(&format!("Content-Length: {}\r\n\r\n", body.len()));
            if request.method != "HEAD" {
                head.push_str(&body);
            }
            stream.write_all(head.as_bytes()).await?;
            stream.shutdown().await
        }
    }
}
