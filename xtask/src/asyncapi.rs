//! Validates `schemas/asyncapi.json` with the parser of the AsyncAPI project, which npm installs below `target/`.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

/// The version that is installed: a validator that changes by itself would fail builds by itself.
const PARSER: &str = "@asyncapi/parser@3.6.6";
const SCRIPT: &str = include_str!("asyncapi.cjs");

/// What became of the validation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Validation {
    /// The document is a valid one.
    Valid,
    /// There is no npm or Node.js here, so it was not looked at.
    Skipped,
}

/// Validates the document; `root` is the root of the repository.
///
/// # Errors
/// When the document is not valid (each fault is in the message), or the parser cannot be installed or run.
pub(crate) fn validate(root: &Path) -> Result<Validation> {
    if !is_there("npm") || !is_there("node") {
        println!("schemas/asyncapi.json is not validated: npm and Node.js are not installed");
        return Ok(Validation::Skipped);
    }
    let folder = root.join("target/asyncapi");
    install(&folder)?;
    let script = folder.join("validate.cjs");
    std::fs::write(&script, SCRIPT).with_context(|| format!("write {}", script.display()))?;
    let output = Command::new("node")
        .arg(&script)
        .arg(root.join("schemas/asyncapi.json"))
        .output()
        .context("run node")?;
    if !output.status.success() {
        bail!(
            "schemas/asyncapi.json is not a valid AsyncAPI document:\n{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(Validation::Valid)
}

fn is_there(program: &str) -> bool {
    Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success())
}

fn install(folder: &Path) -> Result<()> {
    let stamp = folder.join("installed");
    if std::fs::read_to_string(&stamp).is_ok_and(|installed| installed == PARSER) {
        return Ok(());
    }
    println!("installing {PARSER} below {}, to validate schemas/asyncapi.json", folder.display());
    std::fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
    let output = Command::new("npm")
        .args(["install", "--prefix"])
        .arg(folder)
        .args(["--no-save", "--no-audit", "--no-fund", "--ignore-scripts", PARSER])
        .output()
        .context("run npm")?;
    if !output.status.success() {
        bail!("npm cannot install {PARSER}:\n{}", String::from_utf8_lossy(&output.stderr));
    }
    std::fs::write(&stamp, PARSER).with_context(|| format!("write {}", stamp.display()))
}
