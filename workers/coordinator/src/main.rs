//! `farrier-coordinator`: reads the configuration, starts the coordinator, and waits for a signal.

use std::process::ExitCode;

use farrier::wire::Coded as _;
use farrier_coordinator::config::Config;
use farrier_coordinator::coordinator;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// The exit code for a configuration that cannot be used; clap ends with the same.
const BAD_CONFIGURATION: u8 = 2;

fn main() -> ExitCode {
    let config = match Config::read() {
        Ok(config) => config,
        Err(error) => {
            eprintln!("farrier-coordinator: {}", error.report().message);
            return ExitCode::from(BAD_CONFIGURATION);
        }
    };
    match run(config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("farrier-coordinator: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(config: Config) -> anyhow::Result<()> {
    farrier::telemetry::log::init(config.log_format)?;
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(async {
        let shutdown = CancellationToken::new();
        let (mut terminate, mut interrupt) =
            (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let asked = shutdown.clone();
        let watch = tokio::spawn(async move {
            tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
            asked.cancel();
        });
        let result = coordinator::run(config, shutdown).await;
        watch.abort();
        result
    })
}
