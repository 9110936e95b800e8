//! `cargo xtask bench direct`: what the cache of a rack saves.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use clap::Args;
use farrier::wire::{ImageUrl, SwiftObject};
use farrier_coordinator::feed::Feed;
use farrier_coordinator::images::swift::{GlanceSettings, Swift as Urls, Want};
use farrier_coordinator::store::Store;
use farrier_coordinator::vault::Vault;
use farrier_testbed::disk_image::{self, DiskImage};
use farrier_testbed::lab_disk;
use farrier_testbed::process::Process;
use farrier_testbed::squid::{RackCache, Squid, SquidOptions};
use farrier_testbed::swift::{Served, Swift};
use farrier_testbed::wait::{blocking, wait_for};
use serde_json::json;

use super::report::{Bound, Limit, Row, publish};
use crate::workspace::Workspace;

const MIB: u64 = 1 << 20;
const CONTAINER: &str = "glance";
const OBJECT: &str = "image";
const DEPLOYED_WITHIN: Duration = Duration::from_secs(600);
const LOGGED_WITHIN: Duration = Duration::from_secs(30);

/// How much is measured.
#[derive(Debug, Args)]
pub(crate) struct DirectArgs {
    /// How many nodes deploy at once
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..))]
    nodes: u16,
    /// The size of the image
    #[arg(long, value_name = "MIB", default_value_t = 256, value_parser = clap::value_parser!(u16).range(64..))]
    image_mib: u16,
    /// How often each case is run, in turns
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..))]
    runs: u16,
}

/// Measures, prints, writes `target/bench/direct.json`, and says whether the limit is met.
pub(super) async fn measure(args: &DirectArgs, workspace: &Workspace) -> anyhow::Result<bool> {
    let scratch = tempfile::tempdir_in(workspace.target())?;
    let rack = Rack::start(args, workspace, scratch.path()).await?;
    let mut cases = [
        Case::new("every node from Swift"),
        Case::new("through the cache, empty"),
        Case::new("through the cache, which has it"),
    ];
    for run in 1..=args.runs {
        let squid = rack.squid().await?;
        let proxies = [None, Some(squid.url()), Some(squid.url())];
        // An empty cache has seen no URL, and one that has been used has seen this one.
        let (direct, cached) =
            (rack.url(&rack.swift.url()).await?, rack.url(&rack.cache().swift_url()).await?);
        for ((case, proxy), url) in cases.iter_mut().zip(proxies).zip([&direct, &cached, &cached]) {
            let (wall, fetches) = rack.deploy(url, proxy.as_deref()).await?;
            let bytes = fetches.iter().map(|fetch| fetch.bytes).sum();
            println!(
                "run {run} of {}, {}: {:.2} s, {bytes} bytes from Swift",
                args.runs,
                case.name,
                wall.as_secs_f64()
            );
            case.walls.push(wall);
            case.bytes = case.bytes.max(bytes);
            case.fetches = case.fetches.max(fetches.len());
        }
    }
    let limit = Limit::Ratio {
        what: format!("fetches from Swift by {} nodes behind an empty cache", args.nodes),
        found: Some(f64::from(u32::try_from(cases[1].fetches)?)),
        bound: Bound::AtMost(1.0),
    };
    let rows: Vec<_> = cases.into_iter().map(|case| case.row(args, &rack.image)).collect();
    publish(&workspace.target().join("bench"), "direct", &rows, &[limit])
}

/// What came of one way to deploy.
struct Case {
    name: &'static str,
    walls: Vec<Duration>,
    /// The most that Swift has sent in a run.
    bytes: u64,
    /// In how many answers.
    fetches: usize,
}

impl Case {
    fn new(name: &'static str) -> Self {
        Self { name, walls: Vec::new(), bytes: 0, fetches: 0 }
    }

    fn row(self, args: &DirectArgs, image: &DiskImage) -> Row {
        Row::new(self.name, "farrier")
            .with("nodes", args.nodes)
            .with("image_bytes", image.size)
            .with("origin_bytes", self.bytes)
            .with("origin_fetches", self.fetches)
            .with_times(self.walls)
    }
}

/// Nodes with a disk each, and a Swift with an image for them.
struct Rack {
    swift: Swift,
    image: DiskImage,
    farrier: PathBuf,
    nodes: Vec<PathBuf>,
    dir: PathBuf,
}

impl Rack {
    async fn start(args: &DirectArgs, workspace: &Workspace, dir: &Path) -> anyhow::Result<Self> {
        println!("starting Swift, and {} nodes with an image of {} MiB", args.nodes, args.image_mib);
        let swift = Swift::start(None).await?;
        let (dir, count, image_mib) = (dir.to_owned(), args.nodes, u64::from(args.image_mib));
        let (nodes, image, content) = {
            let dir = dir.clone();
            blocking(move || {
                let mut nodes = Vec::new();
                for number in 1..=count {
                    let node = dir.join(format!("node-{number}"));
                    fs::create_dir_all(&node)?;
                    lab_disk::create(&node.join("disk"), (image_mib + 16) * MIB)?;
                    nodes.push(node);
                }
                let image = disk_image::build(&dir, image_mib)?;
                let content = fs::read(&image.path)?;
                Ok((nodes, image, content))
            })
            .await?
        };
        swift.put(CONTAINER, OBJECT, content).await?;
        Ok(Self { swift, image, farrier: workspace.release_dir().join("farrier"), nodes, dir })
    }

    fn cache(&self) -> RackCache<'static> {
        RackCache { tls: None, swift_port: self.swift.port(), in_memory: true }
    }

    async fn squid(&self) -> anyhow::Result<Squid> {
        let cache = self.cache();
        blocking(move || Squid::start(SquidOptions { cache: Some(cache), ..SquidOptions::default() })).await
    }

    /// The URL that a coordinator hands out to nodes that find Swift at `endpoint`.
    async fn url(&self, endpoint: &str) -> anyhow::Result<ImageUrl> {
        let settings: GlanceSettings = serde_json::from_value(json!({
            "swift_temp_url_key": Swift::KEY,
            "swift_account": Swift::ACCOUNT,
            "swift_endpoint_url": self.swift.url(),
            "swift_temp_url_endpoint_url": endpoint,
            "swift_temp_url_cache_enabled": true,
        }))?;
        let urls = Urls::new(settings.check()?)?;
        let store = Store::open(&self.dir.join("farrier.db"), Feed::new(), Vault::default()).await?;
        let made = urls.url(&store, &SwiftObject::new(CONTAINER, OBJECT)?, Want::Reused).await?;
        store.close().await;
        Ok(made.url)
    }

    /// Lets all nodes deploy at once. Gives the time until the last has ended, and what Swift has sent for that.
    async fn deploy(&self, url: &ImageUrl, proxy: Option<&str>) -> anyhow::Result<(Duration, Vec<Served>)> {
        let before = self.swift.fetches(CONTAINER, OBJECT)?.len();
        let began = Instant::now();
        let mut running = Vec::new();
        for node in &self.nodes {
            running.push((node, self.start_deploy(node, url, proxy)?));
        }
        // One that has failed ends the wait.
        let ended = async || {
            let mut all = true;
            for (node, process) in &mut running {
                match process.ended()? {
                    Some(status) if !status.success() => return Ok(Some(Err(node.join("log")))),
                    Some(_) => {}
                    None => all = false,
                }
            }
            Ok(all.then_some(Ok(())))
        };
        if let Err(log) = wait_for("all nodes have deployed", DEPLOYED_WITHIN, ended).await? {
            bail!("a node has failed: {}", fs::read_to_string(log)?);
        }
        let wall = began.elapsed();
        let at_least = if proxy.is_none() { self.nodes.len() } else { 0 };
        let sent = wait_for("Swift has logged what it sent", LOGGED_WITHIN, async || {
            let fetches = self.swift.fetches(CONTAINER, OBJECT)?.split_off(before);
            Ok((fetches.len() >= at_least).then_some(fetches))
        });
        Ok((wall, sent.await?))
    }

    /// What an agent does with a job, by itself.
    fn start_deploy(&self, node: &Path, url: &ImageUrl, proxy: Option<&str>) -> anyhow::Result<Process> {
        let spec = node.join("spec.json");
        let mut fields = json!({ "image_source": url, "image_checksum": self.image.sha256_hex });
        if let Some(proxy) = proxy {
            fields["image_http_proxy"] = proxy.into();
        }
        fs::write(&spec, fields.to_string()).with_context(|| format!("cannot write {}", spec.display()))?;
        let mut command = Command::new(&self.farrier);
        command.args(["run", "deploy", "--spec"]).arg(&spec).arg("--lab-disk").arg(node.join("disk"));
        Process::spawn_to(&command, &File::create(node.join("log"))?)
    }
}
