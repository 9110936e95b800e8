//! One connection: names, TCP, TLS and the AMQP handshake, all of it bounded.

use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream};
use std::os::fd::AsFd as _;
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use hickory_resolver::TokioResolver;
use lapin::tcp::{RustlsConnector, RustlsConnectorConfig};
use lapin::{AsyncTcpStream, Connection, ConnectionProperties};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use tokio::time::timeout;

use super::config::BrokerConfig;
use super::error::{ConnectError, reason};

/// Bound on one address: the rest of [`HANDSHAKE_TIMEOUT`] is for the next one.
const TCP_TIMEOUT: Duration = Duration::from_secs(5);
/// Bound on names, TCP, TLS and the AMQP handshake together.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(15);
/// Bound on saying good-bye.
const GOODBYE_TIMEOUT: Duration = Duration::from_secs(2);

/// A connection and the socket under it.
///
/// lapin drives the socket on a thread of its own and waits there for as long as the peer keeps it open. Shutting the socket
/// down is what ends that thread for certain.
pub(super) struct Link {
    pub(super) connection: Connection,
    socket: Socket,
}

impl Link {
    /// Ends the connection in order, or else by force.
    pub(super) async fn close(&self) {
        let goodbye = self.connection.close(200, "OK".into());
        if !matches!(timeout(GOODBYE_TIMEOUT, goodbye).await, Ok(Ok(()))) {
            tracing::debug!("the broker did not say good-bye");
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.socket.shut();
    }
}

/// A second handle on the socket of a connection, once there is one.
#[derive(Clone, Default)]
struct Socket(Arc<Mutex<Option<TcpStream>>>);

impl Socket {
    fn set(&self, stream: TcpStream) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(stream);
    }

    fn shut(&self) {
        if let Some(stream) = self.0.lock().unwrap_or_else(PoisonError::into_inner).take() {
            // Fails only where the peer was faster.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

/// Connects and logs in.
pub(super) async fn dial(config: &BrokerConfig) -> Result<Link, ConnectError> {
    let socket = Socket::default();
    let dialled = timeout(HANDSHAKE_TIMEOUT, handshake(config, socket.clone())).await;
    let failed = match dialled {
        Ok(Ok(connection)) => return Ok(Link { connection, socket }),
        Ok(Err(error)) => error,
        Err(_) => ConnectError::TimedOut { broker: config.url.to_string(), after: HANDSHAKE_TIMEOUT },
    };
    socket.shut();
    Err(failed)
}

async fn handshake(config: &BrokerConfig, socket: Socket) -> Result<Connection, ConnectError> {
    let url = &config.url;
    let addresses = addresses(url.host(), url.port()).await?;
    let tls = if url.is_tls() { Some(tls(config.ca.as_deref()).await?) } else { None };
    let runtime = lapin::runtime::default_runtime()
        .map_err(|error| ConnectError::from_lapin(&error, url.to_string(), url.login()))?;
    let properties =
        ConnectionProperties::default().with_connection_name(config.connection_name.as_str().into());
    Connection::connector(
        url.expose().clone(),
        runtime,
        async move |uri, runtime| {
            let connecting = AsyncTcpStream::connect(&runtime, addresses.clone());
            let stream = timeout(TCP_TIMEOUT, connecting).await.map_err(std::io::Error::from)??;
            if let AsyncTcpStream::Plain(plain) = &stream {
                socket.set(plain.get_ref().as_fd().try_clone_to_owned()?.into());
            }
            match &tls {
                None => Ok(stream),
                Some(tls) => stream.into_rustls(tls, &uri.authority.host).await.map_err(|error| {
                    std::io::Error::other(format!("TLS was not agreed upon: {error}")).into()
                }),
            }
        },
        properties,
    )
    .await
    .map_err(|error| ConnectError::from_lapin(&error, url.to_string(), url.login()))
}

/// The addresses of the host. Asked for at each connection: the broker may have moved, and a node may have got its name
/// servers late.
async fn addresses(host: &str, port: u16) -> Result<Vec<SocketAddr>, ConnectError> {
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    let none = |reason: String| ConnectError::NoAddress { host: host.to_owned(), reason };
    let resolver = TokioResolver::builder_tokio()
        .and_then(|builder| builder.build())
        .map_err(|error| none(error.to_string()))?;
    let found = resolver.lookup_ip(host).await.map_err(|error| none(error.to_string()))?;
    Ok(found.iter().map(|address| SocketAddr::new(address, port)).collect())
}

/// What checks the certificate of the broker: the authorities in `ca` and no others, or those of the system.
async fn tls(ca: Option<&Path>) -> Result<RustlsConnector, ConnectError> {
    install_crypto();
    let Some(path) = ca else {
        return RustlsConnectorConfig::new_with_platform_verifier()
            .connector_with_no_client_auth()
            .map_err(|error| ConnectError::NoAuthorities { reason: error.to_string() });
    };
    let bad = |reason: String| ConnectError::BadCa { path: path.to_owned(), reason };
    let pem = tokio::fs::read(path).await.map_err(|error| bad(error.to_string()))?;
    let certificates = CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| bad(error.to_string()))?;
    if certificates.is_empty() {
        return Err(bad("there is no certificate in it".into()));
    }
    RustlsConnectorConfig::default()
        .with_parsable_certificates(certificates)
        .connector_with_no_client_auth()
        .map_err(|error| bad(error.to_string()))
}

/// Makes ring the cryptography of the process, unless it has one already.
fn install_crypto() {
    static ONCE: OnceLock<()> = OnceLock::new();
    // Fails only where another part of the process chose first, which is as good.
    ONCE.get_or_init(|| drop(rustls::crypto::ring::default_provider().install_default()));
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Link").field("connection", self.connection.status()).finish_non_exhaustive()
    }
}

/// The last error that the connection spoke of, in one sentence.
pub(super) fn lost_because(error: Option<&lapin::Error>) -> String {
    error.map_or_else(|| "the connection was closed".into(), reason)
}
