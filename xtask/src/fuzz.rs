//! `cargo xtask fuzz`: libFuzzer, for a bounded time, on everything that reads what others wrote.
//!
//! The targets in `fuzz/` are built with the coverage instrumentation of LLVM, which the stable compiler passes on. There is no
//! address sanitizer: the code has no unsafe parts, and what counts are panics, overflows, endless loops and memory.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};
use clap::Args;
use clap::builder::PossibleValuesParser;
use farrier_testbed::packages;

use crate::workspace::Workspace;

/// What `fuzz/targets` has.
const TARGETS: &[&str] = &["qcow2", "checksum_file", "no_proxy", "gpt"];

/// What `cargo fuzz` of the Rust fuzzing authority sets, but for the sanitizer.
const INSTRUMENTED: &str = "--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
                            -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
                            -Cllvm-args=-sanitizer-coverage-pc-table \
                            -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1";
/// Bytes of the longest input.
const MAX_INPUT: u32 = 256 << 10;
/// MiB that a target may hold: more is a fault of what it tests.
const MAX_MEMORY: u32 = 512;
/// Seconds for one input.
const MAX_SECONDS: u32 = 10;

/// What is fuzzed and for how long.
#[derive(Debug, Args)]
pub(crate) struct FuzzArgs {
    /// Only this; may be repeated
    #[arg(value_name = "TARGET", value_parser = PossibleValuesParser::new(TARGETS.iter().copied()))]
    only: Vec<String>,
    /// Seconds for each target
    #[arg(long, default_value_t = 60)]
    seconds: u32,
    /// Add what was found, as far as it reaches new code, to the inputs that the ordinary tests replay
    #[arg(long)]
    keep: bool,
}

/// Fuzzes, and says whether nothing was found.
pub(crate) fn run(args: &FuzzArgs, workspace: &Workspace) -> anyhow::Result<bool> {
    packages::ensure(&[packages::FUZZ])?;
    let binaries = build(workspace)?;
    let mut found = Vec::new();
    for target in TARGETS {
        if args.only.is_empty() || args.only.iter().any(|only| only == target) {
            let fuzzed = Fuzzed::new(workspace, &binaries, target)?;
            println!("\n{target}: {} s", args.seconds);
            if !fuzzed.run(args.seconds)? {
                found.push(*target);
            }
            if args.keep {
                fuzzed.keep()?;
            }
        }
    }
    if found.is_empty() {
        println!("\nnothing was found");
    } else {
        println!("\nfound something: {}; the inputs are in fuzz/artifacts", found.join(", "));
    }
    Ok(found.is_empty())
}

fn build(workspace: &Workspace) -> anyhow::Result<PathBuf> {
    let target = workspace.target().join("fuzz");
    let mut cargo =
        workspace.cargo(&["build", "--release", "--locked", "--manifest-path", "fuzz/Cargo.toml"]);
    // With a target of its own the flags do not reach build scripts.
    cargo.args(["--target", "x86_64-unknown-linux-gnu"]);
    let status = cargo.env("CARGO_TARGET_DIR", &target).env("RUSTFLAGS", INSTRUMENTED).status();
    ensure!(status.context("cannot start cargo")?.success(), "the fuzz targets do not build");
    Ok(target.join("x86_64-unknown-linux-gnu/release"))
}

/// One target with its inputs.
struct Fuzzed {
    binary: PathBuf,
    /// What libFuzzer finds.
    finds: PathBuf,
    /// What is committed.
    corpus: PathBuf,
    artifacts: PathBuf,
}

impl Fuzzed {
    fn new(workspace: &Workspace, binaries: &Path, target: &str) -> anyhow::Result<Self> {
        let fuzzed = Self {
            binary: binaries.join(target),
            finds: workspace.target().join("fuzz/corpus").join(target),
            corpus: workspace.root().join("fuzz/corpus").join(target),
            artifacts: workspace.root().join("fuzz/artifacts").join(target),
        };
        for dir in [&fuzzed.finds, &fuzzed.artifacts] {
            fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
        }
        Ok(fuzzed)
    }

    fn run(&self, seconds: u32) -> anyhow::Result<bool> {
        let mut fuzzer = self.fuzzer();
        fuzzer.arg(format!("-max_total_time={seconds}")).arg("-print_final_stats=1");
        fuzzer.arg(format!("-artifact_prefix={}/", self.artifacts.display()));
        let status = fuzzer.arg(&self.finds).arg(&self.corpus).status();
        Ok(status.with_context(|| format!("cannot start {}", self.binary.display()))?.success())
    }

    fn keep(&self) -> anyhow::Result<()> {
        let status = self.fuzzer().arg("-merge=1").arg(&self.corpus).arg(&self.finds).status();
        ensure!(status.context("cannot start the fuzzer")?.success(), "cannot merge what was found");
        Ok(())
    }

    fn fuzzer(&self) -> Command {
        let mut fuzzer = Command::new(&self.binary);
        fuzzer.arg(format!("-max_len={MAX_INPUT}")).arg(format!("-rss_limit_mb={MAX_MEMORY}"));
        fuzzer.arg(format!("-timeout={MAX_SECONDS}"));
        fuzzer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_target_of_the_crate_is_run() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz");
        let mut files: Vec<_> = fs::read_dir(root.join("targets"))
            .unwrap()
            .map(|file| file.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned())
            .collect();
        files.sort_unstable();
        let mut targets = TARGETS.to_vec();
        targets.sort_unstable();
        assert_eq!(files, targets);
        for target in TARGETS {
            assert!(root.join("corpus").join(target).is_dir(), "{target} has no corpus");
        }
    }
}
