//! A machine with a management controller. While it is on and boots from the network, an agent runs on it; when it boots from its
//! disk, nothing of ours does.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use farrier_testbed::api::Api;
use farrier_testbed::disk_image::{self, DiskImage};
use farrier_testbed::fleet::Fleet;
use farrier_testbed::ipmi_sim::{IpmiSim, USER};
use serde_json::{Map, Value, json};
use tempfile::TempDir;

/// The bound on every wait: what takes seconds on a busy machine is not late yet.
pub(crate) const SOON: Duration = Duration::from_secs(180);
/// The password of the controller.
pub(crate) const PASSWORD: &str = "open-sesame";
/// What the agent's power command does on a machine that obeys: the power goes, and the agent with it.
pub(crate) const OBEYS: &str = "echo 0 > {bmc}/power; kill -KILL $PPID";
/// What it does on one that does not.
pub(crate) const DOES_NOTHING: &str = "true";

/// How controllers are waited for: shortly.
pub(crate) const PATIENCE: &str = "[power]\npower_state_change_timeout = 5\nsoft_power_off_timeout = 5\n\
     [power.ipmi]\ncommand_retry_timeout = 5\nmin_command_interval = 1\n\
     [agent]\npost_deploy_get_power_state_retries = 5\npost_deploy_get_power_state_retry_interval = 1\n";

pub(crate) struct Machine {
    // Dropped in this order: what depends on the broker goes before it, and the agent with the controller that has started it.
    pub(crate) bmc: IpmiSim,
    pub(crate) fleet: Fleet,
    pub(crate) api: Api,
    pub(crate) image: DiskImage,
    dir: TempDir,
}

impl Machine {
    /// One that is off. Its agent powers it off by these lines of shell, and the coordinator has these in its configuration.
    pub(crate) async fn start(power_command: &str, configuration: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let images = dir.path().join("images");
        fs::create_dir(&images).unwrap();
        let image = disk_image::build(&images, 32).unwrap();
        let bmc = IpmiSim::start(&dir.path().join("bmc"), PASSWORD).await.unwrap();
        let config = configured(dir.path(), configuration, "");
        let fleet =
            Fleet::builder().agents(1).coordinator_arguments(["--config".into(), config.into_os_string()]);
        let mut fleet = fleet.prepare(&dir.path().join("fleet")).await.unwrap();
        let api = fleet.coordinator.start().await.unwrap();
        api.is_ready(SOON).await.unwrap();
        let machine = Self { bmc, fleet, api, image, dir };
        machine.wire_up(power_command);
        machine.enrol(&json!({})).await;
        machine
    }

    /// What happens when the controller switches the machine.
    fn wire_up(&self, power_command: &str) {
        let bmc = self.dir.path().join("bmc");
        let pid = self.dir.path().join("agent.pid");
        let told = self.dir.path().join("told");
        let then = power_command.replace("{bmc}", &bmc.display().to_string());
        let power = self.script("power", &format!("echo \"$1\" >> {}\n{then}\n", told.display()));
        let agent = self.fleet.agents[0].spec();
        let mut boot =
            format!("[ \"$(cat {}/boot)\" = pxe ] || exit 0\necho $$ > {}\n", bmc.display(), pid.display());
        let _ = write!(
            boot,
            "export FARRIER_BROKER='{}'\nexec {} --node {} --site {} --rack {} --heartbeat-seconds 1 --power-command {}",
            agent.broker,
            agent.program.display(),
            agent.node,
            agent.site,
            agent.rack,
            power.display()
        );
        for disk in &agent.lab_disks {
            let _ = write!(boot, " --lab-disk {}", disk.display());
        }
        let log = self.dir.path().join("agent.log");
        let _ = writeln!(boot, " >> {} 2>&1", log.display());
        self.bmc.on_power_on(&self.script("boot", &boot)).unwrap();
        let halt = format!("[ ! -e {pid} ] || kill -KILL \"$(cat {pid})\"\n", pid = pid.display());
        self.bmc.on_power_off(&self.script("halt", &halt)).unwrap();
    }

    fn script(&self, name: &str, text: &str) -> PathBuf {
        let path = self.dir.path().join(name);
        fs::write(&path, format!("#!/bin/sh\n{text}")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    async fn enrol(&self, more: &Value) {
        let mut driver_info: Map<String, Value> = Map::from_iter([
            ("ipmi_address".to_owned(), json!("127.0.0.1")),
            ("ipmi_port".to_owned(), json!(self.bmc.port())),
            ("ipmi_username".to_owned(), json!(USER)),
            ("ipmi_password".to_owned(), json!(PASSWORD)),
            ("ipmi_cipher_suite".to_owned(), json!("3")),
        ]);
        driver_info.extend(more.as_object().unwrap().clone());
        let node = json!({"id": self.node(), "name": "r12-u07", "site": "iad1", "rack": "r12", "driver_info": driver_info});
        self.api.post("v1/nodes", &node).await.unwrap();
    }

    pub(crate) async fn set_driver_info(&self, change: &Value) {
        let change = json!({"driver_info": change});
        let path = format!("v1/nodes/{}", self.node());
        self.api.request(reqwest::Method::PATCH, &path, Some(&change)).await.unwrap().success().unwrap();
    }

    pub(crate) fn node(&self) -> String {
        self.fleet.agents[0].node()
    }

    pub(crate) fn disk(&self) -> &Path {
        self.fleet.agents[0].lab_disk(0)
    }

    /// A job that deploys the image from there to the first disk.
    pub(crate) fn deploy(&self, source: &str) -> Value {
        let serial = self.disk().file_name().unwrap().to_str().unwrap();
        json!({
            "node": self.node(),
            "verb": "deploy",
            "spec": {
                "image_source": source,
                "image_checksum": self.image.sha256_hex,
                "root_device": {"serial": serial},
            },
            "retry": {"max_attempts": 2, "backoff_seconds": 0},
        })
    }

    /// The image as a file of the coordinator.
    pub(crate) fn image_file(&self) -> String {
        format!("file://{}", self.image.path.display())
    }

    /// Submits a job and waits for its end.
    pub(crate) async fn ends(&self, job: &Value) -> Value {
        let id = self.api.submit(job).await.unwrap();
        self.api.job_ends(&id, SOON).await.unwrap()
    }

    /// What the power command of the agent was told.
    pub(crate) fn told(&self) -> String {
        fs::read_to_string(self.dir.path().join("told")).unwrap_or_default()
    }

    /// What was asked of the machine beside its state.
    pub(crate) fn switched(&self) -> Vec<String> {
        let calls = self.bmc.calls().unwrap();
        calls
            .into_iter()
            .filter(|call| call.starts_with("set power") || call.starts_with("set boot"))
            .collect()
    }

    pub(crate) fn holds_image(&self) -> bool {
        holds_image(self.disk(), &self.image)
    }

    /// The logs, for when something is not as it should be.
    pub(crate) fn logs(&self) -> String {
        let read = |path: &Path| fs::read_to_string(path).unwrap_or_default();
        let (agent, coordinator) =
            (read(&self.dir.path().join("agent.log")), read(self.fleet.coordinator.log()));
        format!("calls: {:#?}\nagent:\n{agent}\ncoordinator:\n{coordinator}", self.bmc.calls())
    }
}

/// Whether a disk has the image, with the copy of its partition table at the end.
pub(crate) fn holds_image(disk: &Path, image: &DiskImage) -> bool {
    let found = fs::read(disk).unwrap();
    let wanted = disk_image::fitted(&image.path, found.len() as u64).unwrap();
    let (length, end) = (fs::read(&image.path).unwrap().len(), found.len() - (1 << 20));
    found[..length] == wanted[..length] && found[end..] == wanted[end..]
}

/// The configuration of a coordinator with a key for secrets, that serves the images beside it; with more tables, and more of `[deploy]`.
pub(crate) fn configured(dir: &Path, more: &str, deploy: &str) -> PathBuf {
    let key = dir.join("secret.key");
    fs::write(&key, format!("{}\n", "5c".repeat(32))).unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    let path = dir.join("coordinator.toml");
    let images = dir.join("images");
    let text = format!(
        "secret_key_file = {key:?}\n{PATIENCE}{more}\n[conductor]\nfile_url_allowed_paths = [{images:?}]\n\
         [deploy]\nhttp_listen = \"127.0.0.1:0\"\n{deploy}"
    );
    fs::write(&path, text).unwrap();
    path
}
