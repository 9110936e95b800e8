//! Tracing, to standard error: text for people, JSON for collectors.

use std::io::IsTerminal as _;

use serde::Deserialize;
use tracing_subscriber::EnvFilter;

/// The library for AMQP stays silent: what it has to say is said by our own code, and its warning about a returned message holds
/// the whole body, secrets included.
const DEFAULT: &str = "info,lapin=off";

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// A line for people.
    #[default]
    Text,
    /// A JSON object a line.
    Json,
}

/// Sends logs to standard error. `RUST_LOG` chooses them, else `info`. Call it once, first.
///
/// # Errors
/// When logs are already sent somewhere.
pub fn init(format: Format) -> Result<(), tracing_subscriber::util::TryInitError> {
    use tracing_subscriber::util::SubscriberInitExt as _;
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(DEFAULT));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    match format {
        Format::Text => builder.finish().try_init(),
        Format::Json => builder.json().finish().try_init(),
    }
}
