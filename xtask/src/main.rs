//! The project's own commands: `cargo xtask demo`, `test`, `bench`, `fuzz` and `schemas`.

mod asyncapi;
mod bench;
mod demo;
mod fuzz;
mod schemas;
mod test;
mod workspace;

use std::process::ExitCode;

use clap::Parser;
use farrier_testbed::packages::PackageError;

use workspace::Workspace;

/// Packages are missing that only root can install; clap ends the same way when it is called wrongly.
const NOT_POSSIBLE_SO: u8 = 2;

#[derive(Debug, Parser)]
#[command(name = "cargo xtask", about = "The project's own commands")]
enum Task {
    /// Show a fleet at work: inspect, clean and deploy nodes through a private RabbitMQ
    Demo(demo::DemoArgs),
    /// Run every check and every test, or one suite
    Test(test::TestArgs),
    /// Measure, and write the figures to target/bench/
    #[command(subcommand)]
    Bench(bench::Bench),
    /// Run libFuzzer for a bounded time on what reads what others wrote
    Fuzz(fuzz::FuzzArgs),
    /// Write schemas/ from the code, or check that it is up to date
    Schemas(schemas::SchemasArgs),
    /// Validate schemas/asyncapi.json with the parser of the AsyncAPI project
    Asyncapi,
}

fn main() -> ExitCode {
    let done = Workspace::of_this_program().and_then(|workspace| Task::parse().run(&workspace));
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            match error.downcast_ref::<PackageError>() {
                Some(PackageError::NotRoot { .. }) => ExitCode::from(NOT_POSSIBLE_SO),
                _ => ExitCode::FAILURE,
            }
        }
    }
}

impl Task {
    /// Whether everything was good.
    fn run(self, workspace: &Workspace) -> anyhow::Result<bool> {
        match self {
            Self::Demo(args) => demo::run(&args, workspace),
            Self::Test(args) => test::run(&args, workspace),
            Self::Bench(bench) => bench::run(&bench, workspace),
            Self::Fuzz(args) => fuzz::run(&args, workspace),
            Self::Schemas(args) => schemas::run(args, workspace.root()).map(|()| true),
            Self::Asyncapi => asyncapi::validate(workspace.root()).map(|validation| {
                println!("{validation:?}");
                true
            }),
        }
    }
}
