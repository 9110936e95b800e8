//! Where the binaries of the workspace are.

use std::path::PathBuf;

use anyhow::{Context as _, bail};

/// Names the directory that holds the binaries, where they are not beside the running program.
pub const BIN_DIR_VARIABLE: &str = "FARRIER_BIN_DIR";

/// The path of a binary of the workspace: in the directory that `FARRIER_BIN_DIR` names, else where the running program is
/// (`target/<profile>`), else above it (tests run in `target/<profile>/deps`).
///
/// # Errors
/// When it was not built: says how to build it.
pub fn find(name: &str) -> anyhow::Result<PathBuf> {
    let mut places = Vec::new();
    if let Some(dir) = std::env::var_os(BIN_DIR_VARIABLE) {
        places.push(PathBuf::from(dir));
    } else {
        let program = std::env::current_exe().context("cannot tell where this program is")?;
        places.extend(program.ancestors().skip(1).take(2).map(PathBuf::from));
    }
    for place in &places {
        let path = place.join(name);
        if path.is_file() {
            return Ok(path);
        }
    }
    let places: Vec<_> = places.iter().map(|place| place.display().to_string()).collect();
    bail!(
        "{name} is not in {}; build it by `cargo build --workspace`, or name its directory in {BIN_DIR_VARIABLE}",
        places.join(" or ")
    )
}
