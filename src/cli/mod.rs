//! The command line: one file for each noun, and what they share.

mod client;
mod completions;
mod dead;
mod error;
mod events;
mod exit;
mod image;
mod job;
mod node;
mod output;
mod page;
mod power;
mod report;
mod run;
mod spec;
mod watch;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use farrier::wire::HttpUrl;

use client::Client;
use error::Failure;
pub(crate) use exit::Exit;
use output::Output;

/// Prepares bare-metal servers: inspects, cleans and deploys nodes through a coordinator.
#[derive(Debug, Parser)]
#[command(name = "farrier", version, after_help = Exit::help())]
pub(crate) struct Cli {
    #[command(flatten)]
    globals: Globals,
    #[command(subcommand)]
    noun: Noun,
}

/// What every noun takes.
#[derive(Debug, Args)]
#[command(next_help_heading = "Everywhere")]
struct Globals {
    /// The coordinator
    #[arg(
        long,
        global = true,
        value_name = "URL",
        env = "FARRIER_API",
        default_value = "http://127.0.0.1:8470"
    )]
    api: HttpUrl,
    /// A file that holds the coordinator's token; without it, the token itself is taken from FARRIER_TOKEN
    #[arg(long, global = true, value_name = "FILE", env = "FARRIER_TOKEN_FILE")]
    token_file: Option<PathBuf>,
    /// Print JSON for programs: what the API says, one document a line where there are several
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Noun {
    /// Nodes: enrol, list, show, change, delete
    #[command(subcommand)]
    Node(node::NodeCommand),
    /// Jobs: submit, list, show, watch, cancel
    #[command(subcommand)]
    Job(job::JobCommand),
    /// Images that jobs name by their UUID: register, list, show, delete
    #[command(subcommand)]
    Image(image::ImageCommand),
    /// Follow what happens, as it happens
    Events(events::EventsCommand),
    /// Messages that nobody could process: list, send again
    #[command(subcommand)]
    Dead(dead::DeadCommand),
    /// Carry a verb out on this machine, without a coordinator or a broker
    Run(Box<run::RunCommand>),
    /// Print a completion script for a shell
    Completions(completions::CompletionsCommand),
}

/// Carries out what was asked, says what went wrong, and returns how to end.
pub(crate) async fn run(cli: Cli) -> Exit {
    // Logs are for finding faults: they are shown when they are asked for, and never among the progress bars otherwise.
    if std::env::var_os("RUST_LOG").is_some()
        && let Err(error) = farrier::telemetry::log::init(farrier::telemetry::log::Format::Text)
    {
        eprintln!("warning: no logs: {error}");
    }
    let mut output = Output::new(cli.globals.json);
    match dispatch(cli, &mut output).await {
        Ok(exit) => exit,
        Err(failure) if failure.is_closed_pipe() => Exit::Success,
        Err(failure) => {
            output.failure(&failure);
            failure.exit()
        }
    }
}

async fn dispatch(cli: Cli, output: &mut Output) -> Result<Exit, Failure> {
    let globals = cli.globals;
    match cli.noun {
        Noun::Node(command) => Box::pin(node::run(command, &globals.client().await?, output)).await,
        Noun::Job(command) => Box::pin(job::run(command, &globals.client().await?, output)).await,
        Noun::Image(command) => Box::pin(image::run(command, &globals.client().await?, output)).await,
        Noun::Events(command) => Box::pin(events::run(command, &globals.client().await?, output)).await,
        Noun::Dead(command) => Box::pin(dead::run(command, &globals.client().await?, output)).await,
        Noun::Run(command) => Box::pin(run::run(*command, output)).await,
        Noun::Completions(command) => completions::run(&command, output),
    }
}

impl Globals {
    async fn client(&self) -> Result<Client, Failure> {
        Ok(Client::new(self.api.clone(), client::token(self.token_file.as_deref()).await?)?)
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        super::Cli::command().debug_assert();
    }
}
