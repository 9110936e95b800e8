//! The suites: one table of what `cargo xtask test` runs, in this order.

use std::process::Command;

use anyhow::{Context as _, ensure};

use super::count::{Count, count_tests};
use crate::workspace::Workspace;
use crate::{asyncapi, schemas};

/// A suite.
pub(super) struct Suite {
    /// For `--only`.
    pub(super) name: &'static str,
    /// What it checks.
    pub(super) what: &'static str,
    /// How.
    pub(super) work: Work,
}

/// How a suite is run.
pub(super) enum Work {
    /// Programs that pass when they exit with zero; each counts once.
    Programs(&'static [&'static [&'static str]]),
    /// Checks of our own, by name.
    Checks(&'static [(&'static str, Check)]),
    /// What `cargo test --workspace` shall run.
    Tests(&'static [&'static str]),
}

/// Fails when something is not as it should be.
pub(super) type Check = fn(&Workspace) -> anyhow::Result<()>;

const fn suite(name: &'static str, what: &'static str, work: Work) -> Suite {
    Suite { name, what, work }
}

const fn tests(name: &'static str, what: &'static str, filter: &'static [&'static str]) -> Suite {
    suite(name, what, Work::Tests(filter))
}

/// All suites. A test below sees to it that no file of tests is forgotten.
pub(super) const SUITES: &[Suite] = &[
    suite("format", "rustfmt", Work::Programs(&[&["cargo", "fmt", "--all", "--check"]])),
    suite(
        "lint",
        "clippy, warnings are errors",
        Work::Programs(&[&[
            "cargo",
            "clippy",
            "--workspace",
            "--all-targets",
            "--locked",
            "--",
            "-D",
            "warnings",
        ]]),
    ),
    suite(
        "documents",
        "schemas/ is what the code says, and AsyncAPI's own parser takes it",
        Work::Checks(&[
            ("schemas are up to date", |workspace| schemas::check(workspace.root())),
            ("AsyncAPI document is valid", |workspace| asyncapi::validate(workspace.root()).map(drop)),
        ]),
    ),
    suite(
        "ops",
        "the parsers of Prometheus and docker-compose take what is in ops/ and docker-compose.yml",
        Work::Programs(&[
            &["promtool", "check", "config", "ops/prometheus.yml"],
            &["promtool", "test", "rules", "ops/rules_test.yml"],
            // The file takes its secrets from the environment and refuses to be without them.
            &["env", "FARRIER_TOKEN=x", "RABBITMQ_PASSWORD=x", "docker-compose", "config", "--quiet"],
        ]),
    ),
    tests("unit", "what stands beside the code that it tests", &["--lib", "--bins"]),
    tests("docs", "the examples in the documentation of the code", &["--doc"]),
    tests("broker", "the AMQP client against a real RabbitMQ", &["--test", "broker"]),
    tests("image", "the image pipeline against real and broken servers", &["--test", "image"]),
    tests(
        "source",
        "where images come from: proxies, mirrors, broken connections, files",
        &["--test", "source"],
    ),
    tests(
        "disk",
        "discovery, hints, erasing, partition tables and duplicates on files and loop devices",
        &["--test", "disk", "--test", "partition_table", "--test", "duplicates"],
    ),
    tests("handlers", "inspect, clean and deploy on lab disks", &["--test", "handlers"]),
    tests("road", "jobs through a whole fleet, whatever happens to its parts", &["--test", "road"]),
    tests(
        "direct",
        "direct deploy: image URLs, proxies and power against real Swift, Squid and management controllers",
        &["--test", "direct", "--test", "power"],
    ),
    tests("readme", "every command of the README", &["--test", "readme"]),
    tests("cli", "the farrier command", &["--test", "cli"]),
    tests(
        "coordinator",
        "the store, the HTTP API over it, the images that are served, and the process",
        &["--test", "store", "--test", "api", "--test", "images", "--test", "process"],
    ),
];

impl Suite {
    /// Runs it, printing what it says; of tests, those alone that `filter` names.
    pub(super) fn run(&self, workspace: &Workspace, filter: &[String]) -> Count {
        match &self.work {
            Work::Programs(programs) => {
                programs.iter().map(|line| checked(&line.join(" "), run_program(workspace, line))).sum()
            }
            Work::Checks(checks) => checks.iter().map(|(name, check)| checked(name, check(workspace))).sum(),
            Work::Tests(which) => {
                let filter: Vec<_> = filter.iter().map(String::as_str).collect();
                let arguments =
                    [&["test", "--workspace", "--no-fail-fast", "--locked"], *which, &filter].concat();
                count_tests(workspace.cargo(&arguments))
                    .unwrap_or_else(|error| checked("cargo test", Err(error)))
            }
        }
    }
}

/// Says how a check has ended, and counts it.
fn checked(name: &str, result: anyhow::Result<()>) -> Count {
    match result {
        Ok(()) => {
            println!("{name} ... ok");
            Count { passed: 1, failed: 0 }
        }
        Err(error) => {
            println!("{name} ... FAILED: {error:#}");
            Count { passed: 0, failed: 1 }
        }
    }
}

fn run_program(workspace: &Workspace, line: &[&str]) -> anyhow::Result<()> {
    let (program, arguments) = line.split_first().context("a program has a name")?;
    let mut command = match *program {
        "cargo" => workspace.cargo(arguments),
        other => {
            let mut command = Command::new(other);
            command.args(arguments).current_dir(workspace.root());
            command
        }
    };
    let status = command.status().with_context(|| format!("cannot start {program}"))?;
    ensure!(status.success(), "{status}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;

    fn files_of_tests(dir: &Path) -> impl Iterator<Item = String> + use<> {
        let entries = std::fs::read_dir(dir).into_iter().flatten();
        entries.filter_map(|entry| {
            let path = entry.unwrap().path();
            let is_test =
                path.extension().is_some_and(|extension| extension == "rs") || path.join("main.rs").is_file();
            is_test.then(|| path.file_stem().unwrap().to_string_lossy().into_owned())
        })
    }

    #[test]
    fn no_file_of_tests_is_forgotten() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let packages = ["", "workers/agent", "workers/coordinator", "testbed", "xtask"];
        let files: BTreeSet<_> =
            packages.iter().flat_map(|package| files_of_tests(&root.join(package).join("tests"))).collect();
        let listed: BTreeSet<_> = SUITES
            .iter()
            .filter_map(|suite| match suite.work {
                Work::Tests(filter) => Some(filter),
                _ => None,
            })
            .flat_map(|filter| filter.windows(2).filter(|pair| pair[0] == "--test"))
            .map(|pair| pair[1].to_owned())
            .collect();
        assert_eq!(files, listed, "the table above names other files than there are");
    }

    #[test]
    fn names_are_unique() {
        let names: BTreeSet<_> = SUITES.iter().map(|suite| suite.name).collect();
        assert_eq!(names.len(), SUITES.len());
    }
}
