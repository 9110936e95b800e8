//! The agent of OpenStack Ironic, from the Python package index, so that its own code writes images beside ours.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::venv;

/// The release that is compared with.
pub const VERSION: &str = "13.0.0";
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
        let driver = dir.join("ipa.py");
        fs::write(&driver, DRIVER).with_context(|| format!("cannot write {}", driver.display()))?;
        let python = venv::install(dir, "ironic-python-agent", VERSION)?;
        Ok(Self { python, driver })
    }
}
