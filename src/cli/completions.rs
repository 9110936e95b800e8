//! `farrier completions`.

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use super::error::Failure;
use super::exit::Exit;
use super::output::Output;

#[derive(Debug, Args)]
pub(crate) struct CompletionsCommand {
    /// The shell
    shell: Shell,
}

pub(crate) fn run(command: &CompletionsCommand, output: &mut Output) -> Result<Exit, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(command.shell, &mut super::Cli::command(), "farrier", &mut script);
    output.raw(&script)?;
    Ok(Exit::Success)
}
