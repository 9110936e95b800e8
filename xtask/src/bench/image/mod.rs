//! `cargo xtask bench image`: Farrier writes images side by side with others, all of them to the same disk in memory, and every
//! disk is compared with what it must hold.

mod contenders;
mod content;
mod images;
mod runs;
mod usage;
mod verdict;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context as _, ensure};
use clap::Args;
use farrier::terminal::bytes;
use farrier_testbed::http::Nginx;
use farrier_testbed::ipa::Ipa;
use farrier_testbed::packages::{self, PEERS};
use farrier_testbed::ram_disk::RamDisk;
use farrier_testbed::{binaries, wait};
use nix::sys::statvfs::statvfs;
use tokio::signal::unix::{SignalKind, signal};

use self::contenders::{CONTENDERS, Contender, NEEDS_IPA};
use self::images::{Case, Image};
use self::runs::{Entry, Stand};
use super::report::publish;
use crate::workspace::Workspace;

const MIB: u64 = 1 << 20;
/// What the images and a download take, in images.
const ROOM: u64 = 6;

/// What is measured.
#[derive(Clone, Debug, Args)]
pub(crate) struct ImageArgs {
    /// How often each contender writes each image
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..))]
    runs: u16,
    /// The size of the disk and of the images on it
    #[arg(long, value_name = "MIB", default_value_t = 1024, value_parser = clap::value_parser!(u64).range(64..))]
    mib: u64,
    /// These images alone
    #[arg(long, value_name = "IMAGE", value_delimiter = ',')]
    only: Vec<Case>,
    /// Those contenders alone whose names have one of these in them; stages have `stage`
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    contender: Vec<String>,
    /// Where images are made and downloaded to: a tmpfs
    #[arg(long, value_name = "DIR", default_value = "/dev/shm")]
    dir: PathBuf,
    /// Binaries that are there, instead of a release build
    #[arg(long, value_name = "DIR")]
    bin_dir: Option<PathBuf>,
}

impl ImageArgs {
    /// Where binaries are that are not to be built.
    pub(super) fn bin_dir(&self) -> Option<&Path> {
        self.bin_dir.as_deref()
    }

    fn cases(&self) -> Vec<Case> {
        Case::ALL.into_iter().filter(|case| self.only.is_empty() || self.only.contains(case)).collect()
    }

    fn asks_for(&self, contender: &Contender) -> bool {
        self.contender.is_empty() || self.contender.iter().any(|part| contender.name.contains(part.as_str()))
    }
}

/// Measures, prints, writes `target/bench/image.json`, and says whether the limits are met.
pub(super) async fn measure(args: &ImageArgs, workspace: &Workspace) -> anyhow::Result<bool> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let stop = Arc::new(AtomicBool::new(false));
    let (args, workspace, stopped) = (args.clone(), workspace.clone(), Arc::clone(&stop));
    let mut work = std::pin::pin!(wait::blocking(move || work(&args, &workspace, &stopped)));
    // Told to stop, it ends in good order: what it has made goes with it.
    tokio::select! {
        done = &mut work => return done,
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    stop.store(true, Ordering::Relaxed);
    work.await
}

fn work(args: &ImageArgs, workspace: &Workspace, stop: &AtomicBool) -> anyhow::Result<bool> {
    let peers = Peers::install(&workspace.target().join("bench/peers"));
    check_room(&args.dir, ROOM * args.mib * MIB)?;
    let scratch = tempfile::Builder::new()
        .prefix("farrier-bench-")
        .tempdir_in(&args.dir)
        .with_context(|| format!("no directory in {}", args.dir.display()))?;
    let served = scratch.path().join("images");
    std::fs::create_dir(&served)?;
    let images = images::make(&served, &args.cases(), args.mib)?;
    let mut entries = entries(args, &images, &peers);
    let bin_dir = args.bin_dir.clone().unwrap_or_else(|| workspace.release_dir());
    let bin_dir = bin_dir.canonicalize().with_context(|| format!("cannot find {}", bin_dir.display()))?;
    let mut stand = Stand {
        farrier: binaries::find_in(&[&bin_dir], "farrier")?,
        stage: binaries::find_in(&[&bin_dir], "farrier-stage")?,
        ipa: peers.ipa_command(),
        nginx: Nginx::start(&scratch.path().join("nginx"), &served)?,
        disk: RamDisk::new(args.mib * MIB)?,
        scratch: scratch.path(),
        stop,
    };
    stand.run_all(&mut entries, args.runs.into())?;
    let dir = workspace.target().join("bench");
    publish(&dir, "image", &verdict::rows(&entries), &verdict::limits(&entries))
}

/// Who takes part, image by image.
fn entries(args: &ImageArgs, images: &[Image], peers: &Peers) -> Vec<Entry> {
    let mut entries = Vec::new();
    for image in images {
        for contender in CONTENDERS {
            if contender.takes(image.case) && args.asks_for(contender) {
                let out = peers.absence_of(contender);
                entries.push(Entry { image: image.clone(), contender, runs: Vec::new(), out });
            }
        }
    }
    entries
}

fn check_room(dir: &Path, needed: u64) -> anyhow::Result<()> {
    let stat = statvfs(dir).with_context(|| format!("cannot look at {}", dir.display()))?;
    let free = stat.blocks_available() * stat.fragment_size();
    ensure!(
        free >= needed,
        "{} has {} free, and the images need {}; name a tmpfs with room by --dir, or make them smaller by --mib",
        dir.display(),
        bytes(free),
        bytes(needed)
    );
    Ok(())
}

/// What of others could be installed.
struct Peers {
    ipa: anyhow::Result<Ipa>,
    /// Why some packages may be missing.
    packages: Option<String>,
}

impl Peers {
    fn install(dir: &Path) -> Self {
        let packages = packages::ensure(&[PEERS]).err().map(|error| error.to_string());
        println!("installing ironic-python-agent, unless it is there");
        Self { ipa: Ipa::install(dir), packages }
    }

    fn ipa_command(&self) -> String {
        self.ipa.as_ref().map_or_else(
            |_| String::new(),
            |ipa| format!("{} {}", ipa.python.display(), ipa.driver.display()),
        )
    }

    /// Why a contender cannot take part.
    fn absence_of(&self, contender: &Contender) -> Option<String> {
        contender.needs.iter().find_map(|&program| match (program, &self.ipa) {
            (NEEDS_IPA, Err(error)) => Some(format!("absent: {error:#}")),
            (NEEDS_IPA, Ok(_)) => None,
            _ if is_on_path(program) => None,
            _ => {
                let why = self.packages.as_deref().unwrap_or("no package has brought it");
                Some(format!("absent: no {program}: {why}"))
            }
        })
    }
}

fn is_on_path(program: &str) -> bool {
    usage::PATH.split(':').any(|dir| Path::new(dir).join(program).is_file())
}
