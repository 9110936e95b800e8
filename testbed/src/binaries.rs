//! Where the binaries of the workspace are.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

/// Names the directory that holds the binaries, where they are not beside the running program.
pub const BIN_DIR_VARIABLE: &str = "FARRIER_BIN_DIR";

/// The path of a binary of the workspace: in the directory that `FARRIER_BIN_DIR` names, else where the running program is
/// (`target/<profile>`), else above it (tests run in `target/<profile>/deps`).
///
/// # Errors
/// When it was not built: says how to build it.
pub fn find(name: &str) -> anyhow::Result<PathBuf> {
    if let Some(dir) = std::env::var_os(BIN_DIR_VARIABLE) {
        return find_in(&[Path::new(&dir)], name);
    }
    let program = std::env::current_exe().context("cannot tell where this program is")?;
    find_in(&program.ancestors().skip(1).take(2).collect::<Vec<_>>(), name)
}

/// The path of a binary in the first of these directories that has it.
///
/// # Errors
/// As [`find`].
pub fn find_in(dirs: &[&Path], name: &str) -> anyhow::Result<PathBuf> {
    if let Some(path) = dirs.iter().map(|dir| dir.join(name)).find(|path| path.is_file()) {
        return Ok(path);
    }
    let dirs: Vec<_> = dirs.iter().map(|dir| dir.display().to_string()).collect();
    bail!(
        "{name} is not in {}; build it by `cargo build --workspace`, or name its directory in {BIN_DIR_VARIABLE}",
        dirs.join(" or ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_directory_that_has_it_counts() {
        let (empty, full) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::fs::write(full.path().join("tool"), "").unwrap();
        assert_eq!(find_in(&[empty.path(), full.path()], "tool").unwrap(), full.path().join("tool"));
        let error = find_in(&[empty.path()], "tool").unwrap_err().to_string();
        assert!(error.contains("cargo build --workspace"), "{error}");
    }
}
