//! A fleet with an image server, and what tests ask about it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use farrier_testbed::api::Api;
use farrier_testbed::disk_image::{self, DiskImage};
use farrier_testbed::fleet::{Builder, Fleet};
use farrier_testbed::http::Nginx;
use farrier_testbed::wait::wait_for;
use serde_json::{Value, json};
use tempfile::TempDir;

/// The bound on every wait: what takes seconds on a busy machine is not late yet.
pub(crate) const SOON: Duration = Duration::from_secs(120);
const MIB: usize = 1 << 20;
/// Takes a few seconds for the image below: long enough to do something to it meanwhile.
const SLOWLY: u64 = 4 << 20;

pub(crate) struct Lab {
    pub(crate) fleet: Fleet,
    pub(crate) api: Api,
    pub(crate) image: DiskImage,
    pub(crate) nginx: Nginx,
    image_bytes: Vec<u8>,
    _dir: TempDir,
}

impl Lab {
    pub(crate) async fn start(fleet: Builder) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let docroot = dir.path().join("images");
        std::fs::create_dir(&docroot).unwrap();
        let image = disk_image::build(&docroot, 32).unwrap();
        let nginx = Nginx::start(&dir.path().join("nginx"), &docroot).unwrap();
        let (fleet, api) = fleet.start(&dir.path().join("fleet")).await.unwrap();
        let image_bytes = std::fs::read(&image.path).unwrap();
        Self { fleet, api, image, nginx, image_bytes, _dir: dir }
    }

    fn image_name(&self) -> String {
        self.image.path.file_name().unwrap().to_str().unwrap().to_owned()
    }

    /// The node of the first agent.
    pub(crate) fn node(&self) -> String {
        self.fleet.agents[0].node()
    }

    /// A job that deploys the image to the first lab disk of a node, at full speed.
    pub(crate) fn deploy(&self, agent: usize) -> Value {
        self.deploy_from(agent, &self.nginx.url(&self.image_name()))
    }

    /// The same, over some seconds.
    pub(crate) fn deploy_slowly(&self, agent: usize) -> Value {
        self.deploy_from(agent, &self.nginx.slow_url(&self.image_name(), SLOWLY))
    }

    pub(crate) fn deploy_from(&self, agent: usize, url: &str) -> Value {
        let serial = self.disk(agent, 0).file_name().unwrap().to_str().unwrap().to_owned();
        json!({
            "node": self.fleet.agents[agent].node(),
            "verb": "deploy",
            "spec": {
                "image_source": url,
                "image_checksum": self.image.sha256_hex,
                "root_device": {"serial": serial},
            },
            "retry": {"max_attempts": 3, "backoff_seconds": 0},
        })
    }

    /// A lab disk of an agent.
    pub(crate) fn disk(&self, agent: usize, place: usize) -> PathBuf {
        self.fleet.agents[agent].lab_disk(place).to_owned()
    }

    /// Waits until some of the image is on the disk.
    pub(crate) async fn is_writing(&self, job: &str) -> Value {
        let some = |job: &Value| {
            job["state"] == "running"
                && job["progress"]["step"] == "write_image"
                && job["progress"]["bytes_done"].as_u64() > Some(0)
        };
        self.api.job_becomes(job, "writes the image", SOON, some).await.unwrap()
    }

    /// Waits until a message with this body has been put aside, and gives its entry in the list.
    pub(crate) async fn dead_letter(&self, body: &str) -> Value {
        wait_for(&format!("the message is put aside: {body}"), SOON, async || {
            let dead = self.api.get("v1/dead").await?;
            Ok(dead["items"].as_array().into_iter().flatten().find(|letter| letter["body"] == body).cloned())
        })
        .await
        .unwrap()
    }

    pub(crate) async fn succeeds(&self, job: &str) -> Value {
        self.api.job_is(job, "succeeded", SOON).await.unwrap()
    }

    /// Whether a disk holds exactly the image, as far as that reaches, with the copy of its partition table at the end.
    pub(crate) fn assert_holds_image(&self, disk: &Path) {
        let found = std::fs::read(disk).unwrap();
        let wanted = disk_image::fitted(&self.image.path, found.len() as u64).unwrap();
        let (image, end) = (self.image_bytes.len(), found.len() - (1 << 20));
        let same = |place: std::ops::Range<usize>| found[place.clone()] == wanted[place];
        assert!(same(0..image), "{} differs from the image", disk.display());
        assert!(image > end || same(end..found.len()), "{} has another end", disk.display());
    }
}

/// Whether a disk cannot boot: there is nothing at either end of it.
pub(crate) fn assert_not_bootable(disk: &Path) {
    let found = std::fs::read(disk).unwrap();
    let ends = [&found[..MIB], &found[found.len() - MIB..]];
    assert!(ends.iter().all(|end| end.iter().all(|byte| *byte == 0)), "{} may boot", disk.display());
}

pub(crate) fn assert_all_zero(disk: &Path) {
    let found = std::fs::read(disk).unwrap();
    assert_eq!(found.iter().position(|byte| *byte != 0), None, "{} holds old data", disk.display());
}

/// The code of what went wrong with a job.
pub(crate) fn code(job: &Value) -> &str {
    job["error"]["code"].as_str().unwrap_or("none")
}
