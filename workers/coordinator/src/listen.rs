//! Binding the addresses that are listened on.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use farrier::wire::{Coded, ErrorCode};
use tokio::net::TcpListener;

/// Why an address could not be bound.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The address cannot be had.
    #[error("cannot listen on {address}, as `{setting}` asks")]
    Address {
        /// The address.
        address: SocketAddr,
        /// The setting that has it.
        setting: &'static str,
        /// Why.
        source: io::Error,
    },
    /// The address that was bound is not one for a URL.
    #[error("cannot make a URL of {address}; set `http_url`")]
    NoUrl {
        /// The address.
        address: SocketAddr,
    },
    /// The file for the address cannot be written.
    #[error("cannot write the address that was bound to {}", path.display())]
    ListenFile {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl Coded for BindError {
    fn code(&self) -> ErrorCode {
        ErrorCode::BadConfig
    }
}

/// Binds the address that `setting` has, and writes the one that was bound to `listen_file`, whole or not at all.
///
/// # Errors
/// [`BindError`].
pub(crate) async fn bind(
    setting: &'static str,
    address: SocketAddr,
    listen_file: Option<&Path>,
) -> Result<(TcpListener, SocketAddr), BindError> {
    let of_address = |source| BindError::Address { address, setting, source };
    let listener = TcpListener::bind(address).await.map_err(of_address)?;
    let bound = listener.local_addr().map_err(of_address)?;
    if let Some(path) = listen_file {
        let unfinished = path.with_added_extension("unfinished");
        let written = async {
            tokio::fs::write(&unfinished, format!("{bound}\n")).await?;
            tokio::fs::rename(&unfinished, path).await
        };
        written.await.map_err(|source| BindError::ListenFile { path: path.to_owned(), source })?;
    }
    Ok((listener, bound))
}
