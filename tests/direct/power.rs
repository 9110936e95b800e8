//! The power of nodes over the API and the command line, through real management controllers.

use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use farrier_testbed::api::Api;
use farrier_testbed::fleet::Fleet;
use farrier_testbed::http::{Said, ScriptedServer};
use farrier_testbed::ipmi_sim::{self, IpmiSim};
use farrier_testbed::ports::free_address;
use farrier_testbed::redfish::{RedfishEmulator, RedfishOptions};
use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::Command;
use tokio::time::timeout;
use uuid::Uuid;

/// The bound on every wait: a machine of the Redfish service may take 11 seconds for each change.
const SOON: Duration = Duration::from_secs(120);
const PASSWORD: &str = "zu9Ohd5Ieth7uKae";

/// A coordinator that is soon done with a bad controller, and nodes of which it is told.
struct Lab {
    fleet: Fleet,
    api: Api,
    dir: TempDir,
}

impl Lab {
    async fn start(agents: usize) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (config, keys) = (dir.path().join("coordinator.toml"), dir.path().join("keys"));
        std::fs::write(&config, SETTINGS).unwrap();
        std::fs::write(&keys, "ab".repeat(32)).unwrap();
        std::fs::set_permissions(&keys, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        let arguments =
            [format!("--config={}", config.display()), format!("--secret-key-file={}", keys.display())];
        let fleet = Fleet::builder().agents(agents).coordinator_arguments(arguments);
        let (fleet, api) = fleet.start(&dir.path().join("fleet")).await.unwrap();
        Self { fleet, api, dir }
    }

    /// Enrols a node with this driver info.
    async fn node(&self, name: &str, info: Value) {
        let node = json!({"id": Uuid::now_v7(), "name": name, "driver_info": info});
        self.api.post("v1/nodes", &node).await.unwrap();
    }

    async fn farrier(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_farrier"));
        command.args(arguments).env("FARRIER_API", self.api.url()).kill_on_drop(true);
        timeout(SOON, command.output()).await.unwrap().unwrap()
    }

    /// What the command says of the power of a node, after it has done something with it.
    async fn power(&self, arguments: &[&str]) -> Value {
        let output = self.farrier(&[&["node", "power", "--json"], arguments].concat()).await;
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {said}");
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// The status, the code and the detail of what is wrong with a request.
    async fn refused(&self, node: &str, request: Value) -> (u16, String, String) {
        let path = format!("v1/nodes/{node}/power");
        let answer = self.api.request(Method::POST, &path, Some(&request)).await.unwrap();
        let text = |key: &str| answer.body[key].as_str().unwrap_or_default().to_owned();
        (answer.status.as_u16(), text("code"), text("detail"))
    }

    fn log(&self) -> PathBuf {
        self.fleet.logs().join("coordinator.log")
    }
}

/// Short enough that a bad controller does not hold a test up, and long enough for the good ones.
const SETTINGS: &str = "[power]\npower_state_change_timeout = 60\nsoft_power_off_timeout = 60\n\
                        [power.redfish]\nconnection_attempts = 2\nconnection_retry_interval = 1\nread_timeout = 3\n\
                        [power.ipmi]\ncommand_retry_timeout = 5\nmin_command_interval = 1\n";

fn ipmi(sim: &IpmiSim) -> Value {
    json!({
        "ipmi_address": "127.0.0.1", "ipmi_port": sim.port(), "ipmi_username": ipmi_sim::USER, "ipmi_password": PASSWORD,
    })
}

async fn sim(dir: &Path) -> IpmiSim {
    IpmiSim::start(&dir.join("ipmi"), PASSWORD).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_with_ipmi_is_switched_from_the_command_line_and_no_secret_is_shown() {
    let lab = Lab::start(0).await;
    let sim = sim(lab.dir.path()).await;
    lab.node("n1", ipmi(&sim)).await;
    assert_eq!(lab.power(&["n1", "status"]).await, json!({"state": "off", "driver": "ipmitool"}));
    let on = lab.power(&["n1", "on", "--boot-device=disk", "--persistent"]).await;
    assert_eq!(on["state"], "on");
    assert_eq!((sim.is_on().unwrap(), sim.boot_device().unwrap().as_str()), (true, "default"));
    assert_eq!(lab.power(&["n1", "cycle", "--boot-device=pxe"]).await["state"], "on");
    assert_eq!(sim.boot_device().unwrap(), "pxe");
    assert_eq!(lab.power(&["n1", "soft-off"]).await["state"], "off");
    assert_eq!(lab.power(&["n1", "on"]).await["state"], "on");
    assert_eq!(lab.power(&["n1", "off"]).await["state"], "off");
    assert!(!sim.is_on().unwrap());
    let calls = sim.calls().unwrap();
    let power: Vec<_> =
        calls.iter().filter(|call| call.starts_with("set") && !call.contains("boot")).collect();
    assert_eq!(
        power,
        ["set power 1", "set power 0", "set power 1", "set shutdown 1", "set power 1", "set power 0"]
    );

    let table = lab.farrier(&["node", "power", "n1", "status"]).await;
    let table = String::from_utf8(table.stdout).unwrap();
    assert!(table.contains("ipmitool") && table.contains("off"), "{table}");

    let mut shown = std::fs::read_to_string(lab.log()).unwrap();
    assert!(shown.contains("power: on through 127.0.0.1 port"), "{shown}");
    shown += &lab.api.get("v1/nodes/n1").await.unwrap().to_string();
    assert!(!shown.contains(PASSWORD), "{shown}");
    let usage = lab.farrier(&["node", "power", "n1", "status", "--force"]).await;
    assert_eq!(usage.status.code(), Some(2));
    assert_eq!(lab.farrier(&["node", "power", "n1", "on", "--persistent"]).await.status.code(), Some(2));
    assert_eq!(lab.farrier(&["node", "power", "n9", "status"]).await.status.code(), Some(4));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_with_redfish_is_switched() {
    let lab = Lab::start(0).await;
    let options = RedfishOptions { systems: 2, credentials: Some(("root", PASSWORD)), tls: None };
    let bmc = RedfishEmulator::start(&lab.dir.path().join("bmc"), options).await.unwrap();
    let info = json!({
        "redfish_address": bmc.url(), "redfish_system_id": bmc.system(1), "redfish_username": "root", "redfish_password": PASSWORD,
    });
    lab.node("n1", info.clone()).await;
    assert_eq!(lab.power(&["n1", "status"]).await["state"], "off");
    let on = lab.power(&["n1", "on", "--boot-device=cd"]).await;
    assert_eq!(on, json!({"state": "on", "driver": "redfish", "boot_device": "cd"}));
    assert_eq!(
        lab.power(&["n1", "cycle", "--boot-device=disk", "--persistent"]).await["boot_device"],
        "disk"
    );
    assert_eq!(lab.power(&["n1", "off"]).await["state"], "off");
    let mut other = info;
    other["redfish_system_id"] = bmc.system(0).into();
    lab.node("n2", other).await;
    let untouched = lab.api.get("v1/nodes/n2/power").await.unwrap();
    assert_eq!((&untouched["state"], &untouched["boot_device"]), (&json!("off"), &json!("disk")));
    assert!(!std::fs::read_to_string(lab.log()).unwrap().contains(PASSWORD));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_a_job_is_busy_with_is_not_switched_off_unless_that_is_meant() {
    let lab = Lab::start(1).await;
    let sim = sim(lab.dir.path()).await;
    let node = lab.fleet.agents[0].node();
    let change = json!({"driver_info": ipmi(&sim)});
    let path = format!("v1/nodes/{node}");
    lab.api.request(Method::PATCH, &path, Some(&change)).await.unwrap().success().unwrap();
    // It is there, and does not come: the job is busy with it for a while.
    let image = ScriptedServer::start(|asked| match asked.method.as_str() {
        "HEAD" => Said::Answer(200, Vec::new(), "x".repeat(4096)),
        _ => Said::Silence,
    });
    let image = image.await.unwrap();
    let serial = lab.fleet.agents[0].lab_disk(0).file_name().unwrap().to_str().unwrap().to_owned();
    let job = json!({
        "node": node, "verb": "deploy",
        "spec": {"image_source": format!("{}/image", image.url()), "image_checksum": "0".repeat(64), "root_device": {"serial": serial}},
    });
    let job = lab.api.submit(&job).await.unwrap();
    let busy = lab.api.job_becomes(&job, "is with its agent", SOON, |job| {
        ["dispatched", "running"].iter().any(|state| job["state"] == *state)
    });
    busy.await.unwrap();

    for action in ["off", "soft_off", "cycle"] {
        let (status, code, detail) = lab.refused(&node, json!({"action": action})).await;
        assert_eq!((status, code.as_str()), (409, "conflict"), "{detail}");
        assert!(detail.contains(&job) && detail.contains("force"), "{detail}");
    }
    assert_eq!(lab.power(&[&node, "on"]).await["state"], "on", "switching on ends nothing");
    assert_eq!(lab.power(&[&node, "cycle", "--force"]).await["state"], "on");
    let calls = sim.calls().unwrap();
    let power: Vec<_> = calls.iter().filter(|call| call.starts_with("set power")).collect();
    assert_eq!(power, ["set power 1", "set power 0", "set power 1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_switched_is_told_with_its_status_and_code() {
    let lab = Lab::start(0).await;
    let answers = |status: u16| ScriptedServer::start(move |_| Said::status(status));
    let (strange, failing, nonsense) =
        (answers(401).await.unwrap(), answers(500).await.unwrap(), answers(204).await.unwrap());
    let silent = ScriptedServer::start(|_| Said::Silence).await.unwrap();
    let nobody = format!("http://{}", free_address().unwrap());
    let redfish = |url: &str| json!({"redfish_address": url});
    let mut never_off = redfish(&nobody);
    never_off["disable_power_off"] = json!(true);
    for (name, info, status, expected, names) in [
        ("bare", json!({}), 409, "no-power-driver", "redfish_address"),
        ("agent", json!({"power_interface": "agent"}), 409, "no-power-driver", "power_interface=agent"),
        ("never-off", never_off, 409, "power-off-disabled", "disable_power_off"),
        ("nobody", redfish(&nobody), 502, "bmc-unreachable", nobody.as_str()),
        ("silent", redfish(&silent.url()), 502, "bmc-unreachable", "in time"),
        ("strange", redfish(&strange.url()), 502, "bmc-unauthorized", "401"),
        ("failing", redfish(&failing.url()), 502, "bmc-failed", "500"),
        ("nonsense", redfish(&nonsense.url()), 502, "bmc-bad-answer", "no JSON"),
    ] {
        lab.node(name, info).await;
        let (found, code, detail) = lab.refused(name, json!({"action": "off"})).await;
        assert_eq!((found, code.as_str()), (status, expected), "{name}: {detail}");
        assert!(detail.contains(names), "{name}: {detail}");
    }
    for (request, field) in [
        (json!({"action": "explode"}), "action"),
        (json!({}), "action"),
        (json!({"action": "on", "boot_device": "floppy"}), "boot_device"),
        (json!({"action": "on", "persistent": true}), "persistent"),
        (json!({"action": "on", "forse": true}), "forse"),
    ] {
        let path = "v1/nodes/bare/power";
        let answer = lab.api.request(Method::POST, path, Some(&request)).await.unwrap();
        let found = (answer.status.as_u16(), &answer.body["code"], &answer.body["field"]);
        assert_eq!(found, (400, &json!("bad-schema"), &json!(field)), "{request}: {}", answer.body);
    }
    let sim = sim(lab.dir.path()).await;
    sim.lie().unwrap();
    let mut info = ipmi(&sim);
    info["ipmi_password"] = json!("another");
    lab.node("wrong", info).await;
    let output = lab.farrier(&["node", "power", "wrong", "on", "--json"]).await;
    let error: Value = serde_json::from_slice(&output.stderr).unwrap();
    assert_eq!((error["code"].as_str(), output.status.code()), (Some("bmc-unauthorized"), Some(3)));
}
