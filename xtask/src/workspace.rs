//! The workspace: where it is, and how it is built.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};

/// The packages whose binaries operators run.
pub(crate) const PRODUCTS: &[&str] = &["farrier", "farrier-agent", "farrier-coordinator"];

/// Where the sources are and where the binaries go.
#[derive(Clone, Debug)]
pub(crate) struct Workspace {
    root: PathBuf,
    target: PathBuf,
}

impl Workspace {
    /// The one that this program was built from.
    pub(crate) fn of_this_program() -> anyhow::Result<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask has no parent directory")?;
        // It runs as target/<profile>/xtask, wherever the target directory may be.
        let program = std::env::current_exe().context("cannot tell where this program is")?;
        let target = program.ancestors().nth(2).context("this program is not in a target directory")?;
        Ok(Self { root: root.to_owned(), target: target.to_owned() })
    }

    /// The root of the repository.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// The target directory.
    pub(crate) fn target(&self) -> &Path {
        &self.target
    }

    /// Where the release binaries are, once they are built.
    pub(crate) fn release_dir(&self) -> PathBuf {
        self.target.join("release")
    }

    /// A call of the same cargo that has called us, in the root.
    pub(crate) fn cargo(&self, arguments: &[&str]) -> Command {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut command = Command::new(cargo);
        command.args(arguments).current_dir(&self.root).env("CARGO_TARGET_DIR", &self.target);
        command
    }

    /// Builds the release binaries of these packages. Cargo shows how far it is.
    pub(crate) fn build_release(&self, packages: &[&str]) -> anyhow::Result<()> {
        let mut cargo = self.cargo(&["build", "--release", "--locked", "--bins"]);
        for package in packages {
            cargo.args(["-p", package]);
        }
        let status = cargo.status().context("cannot start cargo")?;
        ensure!(status.success(), "the release build has failed");
        Ok(())
    }
}
