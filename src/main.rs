//! The `farrier` command: nodes, jobs and events of a coordinator, and handlers run on this machine.

mod cli;

use std::process::ExitCode;

use clap::Parser as _;

#[tokio::main]
async fn main() -> ExitCode {
    cli::run(cli::Cli::parse()).await.into()
}
