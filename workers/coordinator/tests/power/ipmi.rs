//! IPMI: a real controller, OpenIPMI's simulator, and bad ones.

use std::path::Path;
use std::time::Duration;

use farrier::wire::{BootDevice, PowerAction, PowerState};
use farrier_coordinator::power::{Machine, Persistence, Power, PowerSettings};
use farrier_testbed::ipmi_sim::{self, IpmiSim};
use farrier_testbed::wait::wait_for;
use serde_json::{Value, json};
use tokio::net::UdpSocket;

use crate::lab::{PASSWORD, SOON, code, machine, short};

fn info(port: u16) -> Value {
    json!({"ipmi_address": "127.0.0.1", "ipmi_port": port, "ipmi_username": ipmi_sim::USER, "ipmi_password": PASSWORD})
}

/// Bounds for a real controller that does what it is asked at once.
fn patient() -> PowerSettings {
    PowerSettings { state_change: SOON, soft_off: Duration::from_secs(3), ..short() }
}

async fn start(dir: &Path) -> (IpmiSim, Machine) {
    let sim = IpmiSim::start(dir, PASSWORD).await.unwrap();
    let machine = machine(&Power::new(patient()), info(sim.port()));
    (sim, machine)
}

fn changes(sim: &IpmiSim) -> Vec<String> {
    let calls = sim.calls().unwrap();
    calls.into_iter().filter_map(|call| call.strip_prefix("set ").map(str::to_owned)).collect()
}

#[tokio::test]
async fn a_machine_is_switched_on_off_reset_and_told_what_to_boot_from() {
    let dir = tempfile::tempdir().unwrap();
    let (sim, machine) = start(dir.path()).await;
    assert_eq!(machine.state().await.unwrap(), PowerState::Off);
    let boot = Some((BootDevice::Pxe, Persistence::Once));
    machine.carry_out(PowerAction::On, boot).await.unwrap();
    assert!(sim.is_on().unwrap());
    assert_eq!(sim.boot_device().unwrap(), "pxe");
    machine.power_on().await.unwrap();
    machine.set_boot_device(BootDevice::Disk, Persistence::Persistent).await.unwrap();
    assert_eq!(sim.boot_device().unwrap(), "default", "the simulator's word for a disk");
    machine.set_boot_device(BootDevice::Cd, Persistence::Persistent).await.unwrap();
    assert_eq!(sim.boot_device().unwrap(), "cdrom");
    machine.cycle().await.unwrap();
    machine.soft_off().await.unwrap();
    assert!(!sim.is_on().unwrap());
    let power: Vec<_> = changes(&sim).into_iter().filter(|change| !change.starts_with("boot")).collect();
    assert_eq!(power, ["power 1", "power 0", "power 1", "shutdown 1"]);
    // The simulator does not say that the flags are valid.
    assert_eq!(machine.boot_device().await.unwrap(), None);
}

#[tokio::test]
async fn a_node_that_may_not_be_off_is_reset_and_hooks_see_the_power() {
    let dir = tempfile::tempdir().unwrap();
    let sim = IpmiSim::start(dir.path(), PASSWORD).await.unwrap();
    let mut info = info(sim.port());
    info["disable_power_off"] = json!(true);
    let machine = machine(&Power::new(patient()), info);
    let (hook, trace) = (dir.path().join("hook"), dir.path().join("trace"));
    std::fs::write(&hook, format!("#!/bin/sh\necho on >> {}\n", trace.display())).unwrap();
    std::fs::set_permissions(&hook, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    sim.on_power_on(&hook).unwrap();
    machine.power_on().await.unwrap();
    wait_for("the hook has run", SOON, async || {
        Ok(std::fs::read_to_string(&trace).is_ok_and(|trace| trace == "on\n").then_some(()))
    })
    .await
    .unwrap();
    assert_eq!(code(machine.power_off().await).0, "power-off-disabled");
    machine.cycle().await.unwrap();
    assert_eq!(changes(&sim), ["power 1", "reset 1"]);
}

#[tokio::test]
async fn an_operating_system_that_is_deaf_is_switched_off_and_a_controller_that_lies_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let sim = IpmiSim::start(dir.path(), PASSWORD).await.unwrap();
    let hasty = PowerSettings { state_change: Duration::from_secs(3), ..patient() };
    let machine = machine(&Power::new(hasty), info(sim.port()));
    sim.set_on(true).unwrap();
    sim.be_deaf().unwrap();
    machine.soft_off().await.unwrap();
    assert_eq!(changes(&sim), ["shutdown 1", "power 0"]);
    sim.lie().unwrap();
    let (code, message) = code(machine.power_on().await);
    assert_eq!(code, "power-timeout", "{message}");
    assert!(message.contains("still says off") && message.contains("127.0.0.1 port"), "{message}");
}

#[tokio::test]
async fn wrong_credentials_and_a_suite_that_is_not_taken_are_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    let sim = IpmiSim::start(dir.path(), PASSWORD).await.unwrap();
    let power = Power::new(short());
    let with = |key: &str, value: Value| {
        let mut info = info(sim.port());
        info[key] = value;
        machine(&power, info)
    };
    for (key, value) in [("ipmi_password", json!("another")), ("ipmi_username", json!("nobody"))] {
        let (code, message) = code(with(key, value).state().await);
        assert_eq!(code, "bmc-unauthorized", "{key}: {message}");
    }
    let (refused, message) = code(with("ipmi_cipher_suite", json!(17)).state().await);
    assert_eq!(refused, "bmc-refused", "{message}");
    assert!(message.contains("ipmi_cipher_suite"), "{message}");
    assert_eq!(with("ipmi_cipher_suite", json!(3)).state().await.unwrap(), PowerState::Off);
    assert_eq!(with("ipmi_protocol_version", json!("1.5")).state().await.unwrap(), PowerState::Off);
}

#[tokio::test]
async fn nobody_silence_nonsense_and_no_such_name_end_as_unreachable() {
    let power = Power::new(short());
    let deaf = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let nonsense = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let closed = UdpSocket::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let (deaf_port, nonsense_port) =
        (deaf.local_addr().unwrap().port(), nonsense.local_addr().unwrap().port());
    let babbling = tokio::spawn(async move {
        let mut packet = [0; 512];
        while let Ok((_, from)) = nonsense.recv_from(&mut packet).await {
            let _ = nonsense.send_to(&[0xa5; 64], from).await;
        }
    });
    for port in [deaf_port, nonsense_port, closed] {
        let (code, message) = code(machine(&power, info(port)).state().await);
        assert_eq!(code, "bmc-unreachable", "{message}");
        assert!(message.contains(&format!("127.0.0.1 port {port}")), "{message}");
    }
    babbling.abort();
    let mut unknown = info(623);
    unknown["ipmi_address"] = json!("bmc.invalid");
    let (code, message) = code(machine(&power, unknown).state().await);
    assert_eq!(code, "bmc-unreachable", "{message}");
    assert!(message.contains("bmc.invalid"), "{message}");
}

#[tokio::test]
async fn the_password_is_on_no_command_line_and_in_no_environment() {
    let dir = tempfile::tempdir().unwrap();
    // Long enough to be found in a memory of a process, if it were there by chance.
    let password = "zu9Ohd5Ieth7uKae1";
    let sim = IpmiSim::start(dir.path(), password).await.unwrap();
    sim.be_slow(2).unwrap();
    let mut info = info(sim.port());
    info["ipmi_password"] = json!(password);
    let mut slow = patient();
    slow.ipmi.min_command_interval = Duration::from_secs(10);
    slow.ipmi.command_retry_timeout = SOON;
    let machine = machine(&Power::new(slow), info);
    let asking = tokio::spawn(async move { machine.state().await });
    let port = sim.port().to_string();
    let (mut seen, mut shown) = (0, Vec::new());
    while !asking.is_finished() {
        for process in std::fs::read_dir("/proc").unwrap().flatten() {
            let text = |name| std::fs::read(process.path().join(name)).unwrap_or_default();
            let (line, environment) = (text("cmdline"), text("environ"));
            let has =
                |text: &[u8], word: &str| text.windows(word.len()).any(|found| found == word.as_bytes());
            if has(&line, "ipmitool") && has(&line, &port) {
                seen += 1;
            }
            if has(&line, password) || has(&environment, password) {
                shown.push(String::from_utf8_lossy(&line).into_owned());
            }
        }
        tokio::task::yield_now().await;
    }
    assert_eq!(asking.await.unwrap().unwrap(), PowerState::Off);
    assert!(seen > 0, "ipmitool was never seen at work");
    assert_eq!(shown, [""; 0], "the password is for all to see");
}
