//! Runs one stage of the image pipeline alone and prints the seconds that it took: for `cargo xtask bench image`.

use std::fs::OpenOptions;
use std::io::{Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Parser;
use farrier::image::{Target, stage};
use farrier::wire::ImageUrl;

/// Of every disk that the benchmark writes to.
const SECTOR: u32 = 512;

#[derive(Debug, Parser)]
#[command(name = "farrier-stage", about = "Runs one stage of the image pipeline alone")]
enum Stage {
    /// Fetch an image
    Download { image: ImageUrl },
    /// Hash an image
    Digest { image: ImageUrl },
    /// Decode an image
    Decode { image: ImageUrl },
    /// Write a raw image to a disk, which loses what is on it
    Write { image: ImageUrl, disk: PathBuf },
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let staged = match Stage::parse() {
        Stage::Download { image } => stage::download(&image).await?,
        Stage::Digest { image } => stage::digest(&image).await?,
        Stage::Decode { image } => stage::decode(&image).await?,
        Stage::Write { image, disk } => stage::write(&image, target(&disk)?).await?,
    };
    println!("{}", staged.took.as_secs_f64());
    Ok(())
}

fn target(path: &Path) -> anyhow::Result<Target> {
    let open = || {
        let mut disk = OpenOptions::new().read(true).write(true).open(path)?;
        let capacity = disk.seek(SeekFrom::End(0))?;
        anyhow::Ok(Target::of(path.display().to_string(), &disk, capacity, SECTOR)?)
    };
    open().with_context(|| format!("cannot open {}", path.display()))
}
