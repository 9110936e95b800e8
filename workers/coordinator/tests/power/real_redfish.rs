//! A real Redfish service: sushy-tools' emulator.

use farrier::wire::{BootDevice, PowerAction, PowerState};
use farrier_coordinator::power::{Persistence, Power, PowerSettings};
use farrier_testbed::redfish::{RedfishEmulator, RedfishOptions};
use farrier_testbed::tls::Authority;
use serde_json::json;

use crate::lab::{PASSWORD, code, machine, redfish};

fn changes(service: &RedfishEmulator) -> Vec<String> {
    let requests = service.requests().unwrap();
    let change =
        |line: &String| line.starts_with("POST").then(|| line.rsplit_once(' ').unwrap().1.to_owned());
    requests.iter().filter_map(change).collect()
}

#[tokio::test]
async fn a_machine_is_switched_on_off_and_told_what_to_boot_from() {
    let dir = tempfile::tempdir().unwrap();
    let service = RedfishEmulator::start(dir.path(), RedfishOptions::default()).await.unwrap();
    let power = Power::new(PowerSettings::default());
    let machine = machine(&power, json!({"redfish_address": service.url()}));
    assert_eq!(machine.state().await.unwrap(), PowerState::Off);
    let boot = Some((BootDevice::Pxe, Persistence::Persistent));
    machine.carry_out(PowerAction::On, boot).await.unwrap();
    assert_eq!(machine.state().await.unwrap(), PowerState::On);
    assert_eq!(machine.boot_device().await.unwrap().as_deref(), Some("pxe"));
    machine.power_on().await.unwrap();
    assert_eq!(changes(&service), ["204"], "it was on already");
    machine.soft_off().await.unwrap();
    assert_eq!(machine.state().await.unwrap(), PowerState::Off);
    machine.set_boot_device(BootDevice::Disk, Persistence::Persistent).await.unwrap();
    assert_eq!(machine.boot_device().await.unwrap().as_deref(), Some("disk"));
    assert_eq!(changes(&service), ["204", "204"]);
}

#[tokio::test]
async fn tls_is_checked_by_the_authority_that_is_named_and_a_password_is_needed() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::create(&dir.path().join("ca")).unwrap();
    let options = RedfishOptions { systems: 2, credentials: Some(("root", PASSWORD)), tls: Some(&authority) };
    let service = RedfishEmulator::start(&dir.path().join("bmc"), options).await.unwrap();
    let power = Power::new(crate::lab::short());
    let with = |verify: serde_json::Value| {
        let mut info = redfish(&service.url());
        info["redfish_system_id"] = service.system(1).into();
        info["redfish_verify_ca"] = verify;
        info
    };
    let ca = authority.ca_pem_path().display().to_string();
    for verify in [json!(ca), json!(false)] {
        assert_eq!(machine(&power, with(verify)).state().await.unwrap(), PowerState::Off);
    }
    let (unknown, message) = code(machine(&power, with(json!(true))).state().await);
    assert_eq!(unknown, "bmc-unreachable", "{message}");
    assert!(message.to_lowercase().contains("certificate"), "{message}");
    let (missing, message) = code(machine(&power, with(json!("/nonexistent/ca.pem"))).state().await);
    assert_eq!(missing, "bad-config", "{message}");
    assert!(message.contains("/nonexistent/ca.pem"), "{message}");

    let mut wrong = with(json!(ca));
    wrong["redfish_password"] = json!("another");
    assert_eq!(code(machine(&power, wrong).state().await).0, "bmc-unauthorized");
    let mut which = with(json!(ca));
    which["redfish_system_id"] = json!("no-such-system");
    assert_eq!(code(machine(&power, which).state().await).0, "bmc-refused");
}
