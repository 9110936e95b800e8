//! The project's own commands: `cargo xtask schemas`.

mod asyncapi;
mod schemas;

use std::path::Path;

use anyhow::{Context as _, Result};
use clap::Parser;

#[derive(Debug, Parser)]
#[command(name = "cargo xtask", about = "The project's own commands")]
enum Task {
    /// Write schemas/ from the code, or check that it is up to date
    Schemas(schemas::SchemasArgs),
    /// Validate schemas/asyncapi.json with the parser of the AsyncAPI project
    Asyncapi,
}

fn main() -> Result<()> {
    let root =
        Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask is a folder of the repository")?;
    match Task::parse() {
        Task::Schemas(args) => schemas::run(args, root),
        Task::Asyncapi => asyncapi::validate(root).map(|validation| println!("{validation:?}")),
    }
}
