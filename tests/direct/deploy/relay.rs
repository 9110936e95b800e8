//! A road to a server that is cut once, and opened again when the test says so.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Passes connections on to a port of the loopback. The first one is cut after some bytes of the answer; later ones wait.
pub(crate) struct Relay {
    port: u16,
    cut: watch::Receiver<bool>,
    open: watch::Sender<bool>,
    _accepting: JoinSet<()>,
}

impl Relay {
    pub(crate) async fn start(to: u16, cut_after: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (was_cut, cut) = watch::channel(false);
        let (open, opened) = watch::channel(false);
        let first = Arc::new(AtomicBool::new(true));
        let mut accepting = JoinSet::new();
        accepting.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let is_first = first.swap(false, Ordering::Relaxed);
                let (was_cut, mut opened) = (was_cut.clone(), opened.clone());
                connections.spawn(async move {
                    if is_first {
                        pass(client, to, Some(cut_after)).await;
                        was_cut.send_replace(true);
                    } else if opened.wait_for(|open| *open).await.is_ok() {
                        pass(client, to, None).await;
                    }
                });
            }
        });
        Self { port, cut, open, _accepting: accepting }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub(crate) async fn was_cut(&mut self) {
        self.cut.wait_for(|cut| *cut).await.unwrap();
    }

    pub(crate) fn open(&self) {
        self.open.send_replace(true);
    }
}

async fn pass(client: TcpStream, to: u16, most: Option<usize>) {
    let Ok(server) = TcpStream::connect(("127.0.0.1", to)).await else { return };
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let asking = async { copy(&mut from_client, &mut to_server).await.map(drop) };
    let answering = async {
        let mut left = most.unwrap_or(usize::MAX);
        let mut buffer = vec![0; 1 << 16];
        while left > 0 {
            let count = from_server.read(&mut buffer[..left.min(1 << 16)]).await?;
            if count == 0 {
                break;
            }
            to_client.write_all(&buffer[..count]).await?;
            left -= count;
        }
        Ok(())
    };
    let _: Result<(), std::io::Error> = tokio::select! { done = asking => done, done = answering => done };
}
