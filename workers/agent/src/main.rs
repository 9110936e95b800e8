//! `farrier-agent`: reads the configuration, starts the agent, and waits for it.

use std::process::ExitCode;

use clap::Parser as _;
use farrier::wire::Coded as _;
use farrier_agent::config::{Config, Flags};
use farrier_agent::session;

fn main() -> ExitCode {
    let config = match Config::load(Flags::parse()) {
        Ok(config) => config,
        Err(error) => {
            eprintln!("farrier-agent: {}", error.report().message);
            return ExitCode::from(2);
        }
    };
    match run(config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error = format!("{error:#}"), "The agent ends.");
            ExitCode::FAILURE
        }
    }
}

fn run(config: Config) -> anyhow::Result<()> {
    farrier::telemetry::log::init(config.log_format)?;
    // An agent waits for the network and for disks, which have threads of their own: two workers are enough.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(session::run(config))
}
