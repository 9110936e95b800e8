//! `cargo xtask schemas`: writes what is generated from the code, or checks that it is up to date.

mod asyncapi;
mod examples;
mod message;
mod readme;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use serde::Serialize;

/// Where all but the pages of `docs/` is, and nothing else may be.
const FOLDER: &str = "schemas";

/// What `cargo xtask schemas` takes.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct SchemasArgs {
    /// Change nothing; fail when a file is not what the code says
    #[arg(long)]
    check: bool,
}

/// Writes or checks the files below `root`, the root of the repository.
pub(crate) fn run(args: SchemasArgs, root: &Path) -> Result<()> {
    if args.check { check(root) } else { write(root) }
}

/// Fails when a generated file differs, is missing, or should not be there.
pub(crate) fn check(root: &Path) -> Result<()> {
    let files = generate()?;
    let mut wrong: Vec<_> = files
        .iter()
        .filter(|(path, text)| {
            std::fs::read_to_string(root.join(path)).ok().as_deref() != Some(text.as_str())
        })
        .map(|(path, _)| format!("{} is not what the code says", path.display()))
        .collect();
    wrong.extend(
        strangers(root, &files)?.iter().map(|path| format!("{} is not generated any more", path.display())),
    );
    if !wrong.is_empty() {
        bail!("{}\nrun `cargo xtask schemas` and look at the difference", wrong.join("\n"));
    }
    Ok(())
}

fn write(root: &Path) -> Result<()> {
    let files = generate()?;
    for path in strangers(root, &files)? {
        std::fs::remove_file(root.join(&path)).with_context(|| format!("remove {}", path.display()))?;
    }
    for (path, text) in &files {
        let path = root.join(path);
        let folder = path.parent().context("every generated file is in a folder")?;
        std::fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
        std::fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
    }
    println!("{} files are up to date", files.len());
    Ok(())
}

/// Every generated file, by its path below the root of the repository.
fn generate() -> Result<BTreeMap<PathBuf, String>> {
    let folder = Path::new(FOLDER);
    let messages = message::all()?;
    let mut files = BTreeMap::new();
    for message in &messages {
        files.insert(folder.join(message.schema_file()), pretty(&message.schema)?);
        for (name, event) in &message.examples {
            // A message with one example needs no second name for it.
            let file = match message.examples.len() {
                1 => format!("{}.json", message.kind),
                _ => format!("{}.{name}.json", message.kind),
            };
            files.insert(folder.join("examples").join(file), pretty(event)?);
        }
    }
    files.insert(folder.join("asyncapi.json"), pretty(&asyncapi::document(&messages)?)?);
    files.insert(folder.join("openapi.json"), pretty(&farrier_coordinator::api::openapi())?);
    files.insert(folder.join("README.md"), readme::text(&messages)?);
    files.insert(PathBuf::from("docs/states.md"), farrier_coordinator::states::states_markdown());
    Ok(files)
}

fn pretty(value: &impl Serialize) -> Result<String> {
    Ok(serde_json::to_string_pretty(value)? + "\n")
}

/// Files in the folder that are not generated.
fn strangers(root: &Path, files: &BTreeMap<PathBuf, String>) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![PathBuf::from(FOLDER)];
    while let Some(folder) = folders.pop() {
        let entries = match std::fs::read_dir(root.join(&folder)) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error).with_context(|| format!("read {}", folder.display())),
        };
        for entry in entries {
            let entry = entry?;
            let path = folder.join(entry.file_name());
            if entry.file_type()?.is_dir() {
                folders.push(path);
            } else if !files.contains_key(&path) {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests;
