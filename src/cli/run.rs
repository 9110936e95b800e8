//! `farrier run`: carries a verb out on this machine, without a coordinator or a broker.

use std::path::PathBuf;

use clap::Args;
use farrier::wire::Verb;

use super::error::Failure;
use super::exit::Exit;
use super::output::Output;
use super::spec::{SpecArgs, verb_parser};

#[derive(Debug, Args)]
pub(crate) struct RunCommand {
    #[arg(value_parser = verb_parser())]
    verb: Verb,
    #[command(flatten)]
    spec: SpecArgs,
    #[arg(long)]
    lab_disk: Vec<PathBuf>,
}

pub(crate) async fn run(command: RunCommand, _output: &mut Output) -> Result<Exit, Failure> {
    let RunCommand { verb, spec, lab_disk } = command;
    let _work = spec.work(verb).await?;
    Err(Failure::flag("farrier run", format!("{verb} {lab_disk:?}"), "the handlers are not in this build"))
}
