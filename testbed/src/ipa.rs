//! The agent of OpenStack Ironic, from the Python package index, so that its own code writes images beside ours.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};

/// The release that is compared with.
pub const VERSION: &str = "13.0.0";
/// Debian's: what an operator's image of the agent is built with.
const PYTHON: &str = "/usr/bin/python3";
/// Seconds that the installation may take.
const INSTALLED_WITHIN: &str = "300";
const DRIVER: &str = include_str!("ipa.py");

/// An installed agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ipa {
    /// The interpreter that has it.
    pub python: PathBuf,
    /// The script that calls its code: `stream` or `convert`, URL, SHA-256 in hex, device.
    pub driver: PathBuf,
}

impl Ipa {
    /// Installs it below `dir`, unless it is there already. Blocks.
    ///
    /// # Errors
    /// What `venv` or `pip` said.
    pub fn install(dir: &Path) -> anyhow::Result<Self> {
        fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
        let venv = dir.join("ironic-python-agent");
        let python = venv.join("bin/python");
        let driver = dir.join("ipa.py");
        fs::write(&driver, DRIVER).with_context(|| format!("cannot write {}", driver.display()))?;
        if !has_it(&python) {
            run(Command::new(PYTHON).args(["-m", "venv", "--clear"]).arg(&venv))?;
            let package = format!("ironic-python-agent=={VERSION}");
            let mut pip = Command::new("timeout");
            pip.args(["--kill-after=5", INSTALLED_WITHIN]).arg(&python);
            run(pip.args(["-m", "pip", "install", "--quiet", &package]))?;
            ensure!(has_it(&python), "{package} is installed, and {} does not find it", python.display());
        }
        Ok(Self { python, driver })
    }
}

fn has_it(python: &Path) -> bool {
    let ask = format!(
        "from importlib.metadata import version; assert version('ironic-python-agent') == '{VERSION}'"
    );
    Command::new(python).args(["-c", &ask]).output().is_ok_and(|output| output.status.success())
}

fn run(command: &mut Command) -> anyhow::Result<()> {
    let shown = format!("{command:?}");
    let output = command.output().with_context(|| format!("cannot start {shown}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{shown} has failed ({}): {}", output.status, said.trim());
    Ok(())
}
