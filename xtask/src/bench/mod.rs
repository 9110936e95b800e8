//! `cargo xtask bench`: measurements. No test is timed; these are, and each has its own command.

mod direct;
mod fleet;
mod image;
mod observer;
mod report;

use clap::Subcommand;
use farrier_testbed::packages;
use tokio::runtime::Runtime;

use crate::workspace::{PRODUCTS, Workspace};

/// What is measured.
#[derive(Debug, Subcommand)]
pub(crate) enum Bench {
    /// Nodes that deploy one image from Swift, with and without the cache of their rack
    Direct(direct::DirectArgs),
    /// Dispatch of no-op jobs, memory of agents, start to hello, sizes of binaries
    Fleet(fleet::FleetArgs),
    /// Writing images, side by side with others who do
    Image(image::ImageArgs),
}

/// Builds, measures, writes and prints. Says whether all limits are met.
pub(crate) fn run(bench: &Bench, workspace: &Workspace) -> anyhow::Result<bool> {
    packages::ensure(&[packages::FLEET])?;
    match bench {
        Bench::Direct(args) => {
            packages::ensure(&[packages::SWIFT])?;
            workspace.build_release(&["farrier"])?;
            runtime()?.block_on(direct::measure(args, workspace))
        }
        Bench::Fleet(args) => {
            workspace.build_release(PRODUCTS)?;
            runtime()?.block_on(fleet::measure(args, workspace))
        }
        Bench::Image(args) => {
            packages::ensure(&[packages::BENCH])?;
            if args.bin_dir().is_none() {
                workspace.build_release(&["farrier", "farrier-testbed"])?;
            }
            runtime()?.block_on(image::measure(args, workspace))
        }
    }
}

fn runtime() -> std::io::Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()
}
