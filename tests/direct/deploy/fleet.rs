//! Agents whose power nobody switches, and a coordinator that hands images out.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use farrier_testbed::api::Api;
use farrier_testbed::disk_image::{self, DiskImage};
use farrier_testbed::fleet::Fleet;
use farrier_testbed::swift::Swift;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::machine::{configured, holds_image};

/// The bound on every wait: what takes seconds on a busy machine is not late yet.
pub(crate) const SOON: Duration = Duration::from_secs(180);

pub(crate) struct Station {
    pub(crate) fleet: Fleet,
    pub(crate) api: Api,
    pub(crate) image: DiskImage,
    /// The directory whose files the coordinator may serve.
    pub(crate) images: PathBuf,
    _dir: TempDir,
}

impl Station {
    pub(crate) async fn start(agents: usize, configuration: &str) -> Self {
        Self::start_caching(agents, configuration, "").await
    }

    /// The same with more lines of `[deploy]`.
    pub(crate) async fn start_caching(agents: usize, configuration: &str, deploy: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let images = dir.path().join("images");
        fs::create_dir(&images).unwrap();
        let image = disk_image::build(&images, 32).unwrap();
        let config = configured(dir.path(), configuration, deploy);
        let fleet = Fleet::builder()
            .agents(agents)
            .lease_seconds(60)
            .agent_arguments(["--image-tries", "2"])
            .coordinator_arguments(["--config".into(), config.into_os_string()]);
        let (fleet, api) = fleet.start(&dir.path().join("fleet")).await.unwrap();
        Self { fleet, api, image, images, _dir: dir }
    }

    /// A job that deploys an image with the content of ours to the first disk of a node.
    pub(crate) fn deploy(&self, agent: usize, source: &str) -> Value {
        let disk = self.fleet.agents[agent].lab_disk(0);
        let serial = disk.file_name().unwrap().to_str().unwrap();
        json!({
            "node": self.fleet.agents[agent].node(),
            "verb": "deploy",
            "spec": {
                "image_source": source,
                "image_checksum": self.image.sha256_hex,
                "root_device": {"serial": serial},
            },
            "retry": {"max_attempts": 1},
        })
    }

    pub(crate) async fn ends(&self, job: &Value) -> Value {
        let id = self.api.submit(job).await.unwrap();
        self.api.job_ends(&id, SOON).await.unwrap()
    }

    pub(crate) fn holds_image(&self, agent: usize) -> bool {
        holds_image(self.fleet.agents[agent].lab_disk(0), &self.image)
    }
}

/// The table `[glance]` for a Swift, with more lines.
pub(crate) fn glance(swift: &Swift, more: &str) -> String {
    format!(
        "[glance]\nswift_endpoint_url = \"{}\"\nswift_account = \"{}\"\nswift_temp_url_key = \"{}\"\n{more}",
        swift.url(),
        Swift::ACCOUNT,
        Swift::KEY
    )
}
