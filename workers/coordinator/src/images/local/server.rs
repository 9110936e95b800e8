//! The listener of the image server. Whoever reaches it may ask: it has no token, so it has bounds.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use farrier::wire::HttpUrl;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_io_timeout::TimeoutStream;
use tokio_util::sync::CancellationToken;

use super::routes::{Images, router};
use super::{Local, ServerConfig};
use crate::listen::{self, BindError};
use crate::store::Store;

/// Connections at a time. Others wait in the queue of the kernel.
const CONNECTIONS: usize = 512;
/// How long a client may take for the head of a request, and be idle between two.
const HEAD_WITHIN: Duration = Duration::from_secs(20);
/// How long a client may take nothing of what is sent.
const TAKEN_WITHIN: Duration = Duration::from_secs(60);
/// Bytes of the head of a request, at most.
const LARGEST_HEAD: usize = 16 << 10;
/// How long images that are being sent may take after the server was told to stop.
const DRAIN: Duration = Duration::from_secs(5);
/// How long to rest when no connection can be taken, for want of file descriptors or the like.
const REST: Duration = Duration::from_secs(1);

/// The image server: bound, and ready to serve.
#[derive(Debug)]
pub struct ImageServer {
    listener: TcpListener,
    images: Images,
    patience: Patience,
}

/// How long clients are waited for.
#[derive(Clone, Copy, Debug)]
struct Patience {
    head: Duration,
    taken: Duration,
    drain: Duration,
}

/// Binds the listener, and says what nodes reach it by.
pub(super) async fn bind(config: &ServerConfig) -> Result<(TcpListener, HttpUrl), BindError> {
    let (listener, bound) =
        listen::bind("deploy.http_listen", config.listen, config.listen_file.as_deref()).await?;
    let of_address = || BindError::NoUrl { address: bound };
    let url = match &config.url {
        Some(url) => url.clone(),
        None => format!("http://{bound}").parse().map_err(|_| of_address())?,
    };
    tracing::info!("images are served on http://{bound}; nodes are told {url}");
    Ok((listener, url))
}

impl ImageServer {
    pub(super) fn new(listener: TcpListener, local: Local, store: Store) -> Self {
        let patience = Patience { head: HEAD_WITHIN, taken: TAKEN_WITHIN, drain: DRAIN };
        Self { listener, images: Images { local, store }, patience }
    }

    /// Serves until `shutdown`, then sends what is being sent for at most five seconds more.
    pub async fn run(self, shutdown: CancellationToken) {
        let router = router(self.images);
        let room = Arc::new(Semaphore::new(CONNECTIONS));
        let graceful = GracefulShutdown::new();
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                () = shutdown.cancelled() => break,
                Some(_) = connections.join_next() => {}
                (permit, stream) = next(&self.listener, &room) => {
                    let connection = connection(stream, router.clone(), self.patience);
                    let serving = graceful.watch(connection);
                    connections.spawn(async move {
                        // A client that goes away, or is too slow, is no fault of this server.
                        let _ = serving.await;
                        drop(permit);
                    });
                }
            }
        }
        drop(self.listener);
        tokio::select! {
            () = graceful.shutdown() => {}
            () = sleep(self.patience.drain) => {
                tracing::warn!("images were still being sent {:?} after the shutdown began; they are cut off", self.patience.drain);
            }
        }
    }
}

/// The next connection, once there is room for it.
async fn next(listener: &TcpListener, room: &Arc<Semaphore>) -> (Option<OwnedSemaphorePermit>, TcpStream) {
    // Fails only for one that was closed, and nobody does that.
    let permit = Arc::clone(room).acquire_owned().await.ok();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return (permit, stream),
            Err(error) => {
                tracing::warn!(%error, "the image server cannot take a connection");
                sleep(REST).await;
            }
        }
    }
}

type Connection = http1::Connection<TokioIo<Pin<Box<TimeoutStream<TcpStream>>>>, TowerToHyperService<Router>>;

fn connection(stream: TcpStream, router: Router, patience: Patience) -> Connection {
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(patience.taken));
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(patience.head)
        .max_buf_size(LARGEST_HEAD)
        .serve_connection(TokioIo::new(Box::pin(stream)), TowerToHyperService::new(router))
}

#[cfg(test)]
mod tests;
