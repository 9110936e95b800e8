//! Python packages, each in an environment of its own that is kept.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, anyhow, ensure};
use nix::fcntl::{Flock, FlockArg};

/// Debian's, as an operator has it.
const PYTHON: &str = "/usr/bin/python3";
/// Seconds that an installation may take.
const INSTALLED_WITHIN: &str = "300";

/// Installs a release of a package below `dir`, unless it is there already, and gives the interpreter that has it. Blocks, also while
/// another process does the same.
///
/// # Errors
/// What `venv` or `pip` said.
pub fn install(dir: &Path, package: &str, version: &str) -> anyhow::Result<PathBuf> {
    fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let venv = dir.join(package);
    let python = venv.join("bin/python");
    let lock = File::create(dir.join(format!("{package}.lock"))).context("cannot make the lock of a venv")?;
    // Let go when it is dropped, and when this process dies.
    let _lock = Flock::lock(lock, FlockArg::LockExclusive)
        .map_err(|(_, error)| anyhow!("cannot lock {}: {error}", venv.display()))?;
    if !has_it(&python, package, version) {
        run(Command::new(PYTHON).args(["-m", "venv", "--clear"]).arg(&venv))?;
        let release = format!("{package}=={version}");
        let mut pip = Command::new("timeout");
        pip.args(["--kill-after=5", INSTALLED_WITHIN]).arg(&python);
        run(pip.args(["-m", "pip", "install", "--quiet", &release]))?;
        ensure!(
            has_it(&python, package, version),
            "{release} is installed, and {} does not find it",
            python.display()
        );
    }
    Ok(python)
}

/// The directory for what is kept from one run of tests to the next: `testbed` beside the binaries.
///
/// # Errors
/// When it is not known where the running program is.
pub fn kept() -> anyhow::Result<PathBuf> {
    let program = std::env::current_exe().context("cannot tell where this program is")?;
    let dir = program.parent().context("a program is in a directory")?;
    // Tests run in `target/<profile>/deps`.
    let profile = if dir.ends_with("deps") { dir.parent().unwrap_or(dir) } else { dir };
    Ok(profile.join("testbed"))
}

fn has_it(python: &Path, package: &str, version: &str) -> bool {
    let ask = format!("from importlib.metadata import version; assert version('{package}') == '{version}'");
    Command::new(python).args(["-c", &ask]).output().is_ok_and(|output| output.status.success())
}

fn run(command: &mut Command) -> anyhow::Result<()> {
    let shown = format!("{command:?}");
    let output = command.output().with_context(|| format!("cannot start {shown}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{shown} has failed ({}): {}", output.status, said.trim());
    Ok(())
}
