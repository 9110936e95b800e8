//! Ports of the loopback.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use anyhow::Context as _;

/// An address of the loopback with a port that was free just now. Another program may take it before it is used: give port 0 to
/// whatever can tell which one it has got.
///
/// # Errors
/// When none can be bound.
pub fn free_address() -> anyhow::Result<SocketAddr> {
    let listener =
        TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("cannot bind a port of the loopback")?;
    Ok(listener.local_addr()?)
}
