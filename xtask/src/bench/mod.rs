//! `cargo xtask bench`: measurements. No test is timed; these are, and each has its own command.

mod fleet;
mod observer;
mod report;

use clap::Subcommand;
use farrier_testbed::packages;

use crate::workspace::Workspace;

/// What is measured.
#[derive(Debug, Subcommand)]
pub(crate) enum Bench {
    /// Dispatch of no-op jobs, memory of agents, start to hello, sizes of binaries
    Fleet(fleet::FleetArgs),
}

/// Builds, measures, writes and prints. Says whether all limits are met.
pub(crate) fn run(bench: &Bench, workspace: &Workspace) -> anyhow::Result<bool> {
    packages::ensure(&[packages::FLEET])?;
    workspace.build_release()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    match bench {
        Bench::Fleet(args) => runtime.block_on(fleet::measure(args, workspace)),
    }
}
