//! Counting tests: cargo prints a line for each binary of tests, and nobody else sums them up.

use std::io::{BufRead as _, BufReader};
use std::iter::Sum;
use std::ops::{Add, AddAssign};
use std::process::{Command, Stdio};

use anyhow::Context as _;

/// How many have passed and how many have not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Count {
    pub(super) passed: u64,
    pub(super) failed: u64,
}

impl Add for Count {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { passed: self.passed + other.passed, failed: self.failed + other.failed }
    }
}

impl AddAssign for Count {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Sum for Count {
    fn sum<I: Iterator<Item = Self>>(counts: I) -> Self {
        counts.fold(Self::default(), Add::add)
    }
}

/// Runs `cargo test`, passes what it prints on, and counts. A run that fails without a failed test counts as one: it was not
/// built, or a test has ended its process.
pub(super) fn count_tests(mut command: Command) -> anyhow::Result<Count> {
    let mut child = command.stdout(Stdio::piped()).spawn().context("cannot start cargo")?;
    let stdout = child.stdout.take().context("cargo has no standard output")?;
    let mut count = Count::default();
    for line in BufReader::new(stdout).lines() {
        let line = line.context("cannot read what cargo prints")?;
        count += count_of(&line).unwrap_or_default();
        println!("{line}");
    }
    let status = child.wait().context("cannot wait for cargo")?;
    if !status.success() && count.failed == 0 {
        count.failed = 1;
    }
    Ok(count)
}

/// Reads `test result: ok. 3 passed; 0 failed; 0 ignored; ...`.
fn count_of(line: &str) -> Option<Count> {
    let (_, figures) = line.strip_prefix("test result: ")?.split_once(". ")?;
    let figure =
        |what: &str| figures.split("; ").find_map(|part| part.strip_suffix(what)?.trim().parse().ok());
    Some(Count { passed: figure(" passed")?, failed: figure(" failed")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_lines_of_cargo() {
        let line = "test result: FAILED. 3 passed; 2 failed; 1 ignored; 0 measured; 4 filtered out; finished in 0.01s";
        assert_eq!(count_of(line), Some(Count { passed: 3, failed: 2 }));
        assert_eq!(count_of("test count::tests::reads ... ok"), None);
    }

    #[test]
    fn counts_all_binaries_and_a_death_without_a_failed_test() {
        let run = |script: &str| {
            let mut command = Command::new("sh");
            command.args(["-c", script]);
            count_tests(command).unwrap()
        };
        let two = "echo 'test result: ok. 3 passed; 0 failed; 0 ignored'; echo 'test result: ok. 4 passed; 0 failed; 0 ignored'";
        assert_eq!(run(two), Count { passed: 7, failed: 0 });
        assert_eq!(run(&format!("{two}; exit 101")), Count { passed: 7, failed: 1 });
    }
}
