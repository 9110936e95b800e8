//! `cargo xtask test`: every check and every test, suite by suite.

#[cfg(test)]
mod compose;
mod count;
mod suites;

use anyhow::{Context as _, ensure};
use clap::Args;
use clap::builder::PossibleValuesParser;
use farrier_testbed::packages;

use crate::workspace::Workspace;
use count::Count;
use suites::{SUITES, Suite, Work};

/// What is run.
#[derive(Debug, Args)]
pub(crate) struct TestArgs {
    /// Run only this suite; may be repeated
    #[arg(long, value_name = "SUITE", value_parser = PossibleValuesParser::new(SUITES.iter().map(|suite| suite.name)))]
    only: Vec<String>,
    /// Name the suites and run none
    #[arg(long)]
    list: bool,
    /// Only the tests whose names contain this
    #[arg(last = true, value_name = "NAME", requires = "only")]
    filter: Vec<String>,
}

/// Runs the suites one after another, sums up, and says whether everything has passed.
pub(crate) fn run(args: &TestArgs, workspace: &Workspace) -> anyhow::Result<bool> {
    if args.list {
        for Suite { name, what, .. } in SUITES {
            println!("{name:<12} {what}");
        }
        return Ok(true);
    }
    packages::ensure(&[packages::FLEET, packages::TESTS, packages::SWIFT])?;
    let chosen: Vec<_> = SUITES
        .iter()
        .filter(|suite| args.only.is_empty() || args.only.iter().any(|name| name == suite.name))
        .collect();
    if chosen.iter().any(|suite| matches!(suite.work, Work::Tests(_))) {
        heading("build", "the binaries and the tests");
        build(workspace)?;
    }
    let mut total = Count::default();
    let mut failed = Vec::new();
    for suite in chosen {
        heading(suite.name, suite.what);
        let count = suite.run(workspace, &args.filter);
        if count.failed > 0 {
            failed.push(suite.name);
        }
        total += count;
    }
    if !failed.is_empty() {
        println!("\nfailed: {}", failed.join(", "));
        println!("Run one alone by `cargo xtask test --only SUITE`.");
    }
    println!("\n{} passed, {} failed", total.passed, total.failed);
    Ok(failed.is_empty())
}

fn heading(name: &str, what: &str) {
    println!("\n== {name}: {what}");
}

/// End-to-end tests start the workers, which cargo does not build for the tests of another package.
fn build(workspace: &Workspace) -> anyhow::Result<()> {
    for arguments in [
        &["build", "--workspace", "--bins", "--locked"][..],
        &["test", "--workspace", "--no-run", "--locked", "--quiet"],
    ] {
        let status = workspace.cargo(arguments).status().context("cannot start cargo")?;
        ensure!(status.success(), "`cargo {}` has failed", arguments.join(" "));
    }
    Ok(())
}
