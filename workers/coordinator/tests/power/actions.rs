//! What actions ask for, in which order, and what they leave out.

use farrier::wire::{BootDevice, NodeId, PowerAction};
use farrier_coordinator::driver_info::DriverInfo;
use farrier_coordinator::power::{Persistence, Power};
use farrier_testbed::http::Said;
use farrier_testbed::wait::wait_for;
use serde_json::{Value, json};

use crate::lab::{RESET, SOON, SYSTEM, Service, code, machine, redfish, short};

#[tokio::test]
async fn what_is_so_already_is_not_asked_for() {
    let service = Service::start(|_| None).await;
    let machine = service.machine(&Power::new(short()));
    machine.power_off().await.unwrap();
    machine.soft_off().await.unwrap();
    service.set_state("On");
    machine.power_on().await.unwrap();
    assert_eq!(service.resets(), [""; 0]);
}

#[tokio::test]
async fn a_cycle_is_off_and_on_and_a_machine_that_is_off_is_switched_on() {
    let service = Service::start(|_| None).await;
    let machine = service.machine(&Power::new(short()));
    machine.cycle().await.unwrap();
    assert_eq!(service.resets(), ["On"]);
    machine.cycle().await.unwrap();
    assert_eq!(service.resets(), ["On", "ForceOff", "On"]);
}

#[tokio::test]
async fn an_operating_system_that_does_not_shut_down_is_switched_off() {
    let power = Power::new(short());
    let willing = Service::start(|_| None).await;
    willing.set_state("On");
    willing.machine(&power).soft_off().await.unwrap();
    assert_eq!(willing.resets(), ["GracefulShutdown"]);

    for said in [204, 400, 409] {
        let deaf = Service::start(move |asked| {
            (asked.body["ResetType"] == "GracefulShutdown").then(|| Said::status(said))
        })
        .await;
        deaf.set_state("On");
        deaf.machine(&power).soft_off().await.unwrap();
        assert_eq!(deaf.resets(), ["GracefulShutdown", "ForceOff"], "{said}");
    }
}

#[tokio::test]
async fn a_machine_is_given_time_to_switch_itself_off() {
    let power = Power::new(short());
    let service = Service::start(|_| None).await;
    service.set_state("On");
    let machine = service.machine(&power);
    let (by_itself, ()) = tokio::join!(machine.off_by_itself(SOON), async {
        wait_for("it is looked at", SOON, async || Ok((service.server.asked().len() > 4).then_some(())))
            .await
            .unwrap();
        service.set_state("Off");
    });
    assert!(by_itself.unwrap());
    assert_eq!(service.resets(), [""; 0]);

    service.set_state("On");
    assert!(!machine.off_by_itself(std::time::Duration::from_millis(100)).await.unwrap());
    assert_eq!(service.resets(), ["ForceOff"]);
}

#[tokio::test]
async fn a_node_that_may_not_be_off_is_reset() {
    let power = Power::new(short());
    let service = Service::start(|_| None).await;
    service.set_state("On");
    let mut info = redfish(&service.server.url());
    info["disable_power_off"] = json!("yes");
    let machine = machine(&power, info);
    assert_eq!(code(machine.power_off().await).0, "power-off-disabled");
    assert_eq!(code(machine.soft_off().await).0, "power-off-disabled");
    assert_eq!(
        code(machine.off_by_itself(std::time::Duration::from_millis(50)).await).0,
        "power-off-disabled"
    );
    assert_eq!(service.resets(), [""; 0]);
    machine.cycle().await.unwrap();
    assert_eq!(service.resets(), ["ForceRestart"]);
    service.set_state("Off");
    machine.cycle().await.unwrap();
    assert_eq!(service.resets(), ["ForceRestart", "On"]);
}

#[tokio::test]
async fn a_reset_type_that_is_not_known_is_refused_before_it_is_sent() {
    let service = Service::start(|asked| {
        let system = json!({
            "PowerState": "Off",
            "Actions": {"#ComputerSystem.Reset": {"target": RESET, "ResetType@Redfish.AllowableValues": ["ForceOff", "Nmi"]}},
        });
        (asked.path == SYSTEM).then(|| Said::json(200, &system))
    })
    .await;
    let (code, message) = code(service.machine(&Power::new(short())).power_on().await);
    assert_eq!(code, "bmc-refused");
    assert!(message.contains("ForceOff, Nmi"), "{message}");
    assert_eq!(service.resets(), [""; 0]);
}

#[tokio::test]
async fn a_boot_device_is_set_before_the_action_with_the_tag_of_the_system() {
    let power = Power::new(short());
    let service = Service::start(|asked| {
        let system = crate::lab::system("Off");
        (asked.method == "GET" && asked.path == SYSTEM && !asked.path.is_empty())
            .then(|| Said::json(200, &system).with("ETag", "W/\"7\""))
    })
    .await;
    let boot = Some((BootDevice::Disk, Persistence::Persistent));
    // It stays off for the double: that is not what this is about.
    let _ = service.machine(&power).carry_out(PowerAction::On, boot).await;
    let asked = service.server.asked();
    let changes: Vec<_> = asked.iter().filter(|asked| asked.method != "GET").collect();
    assert_eq!((changes[0].method.as_str(), changes[1].path.as_str()), ("PATCH", RESET));
    assert_eq!(changes[0].header("if-match"), Some("W/\"7\""));
    assert_eq!(
        changes[0].body,
        json!({"Boot": {"BootSourceOverrideTarget": "Hdd", "BootSourceOverrideEnabled": "Continuous"}})
    );
    assert_eq!(service.machine(&power).boot_device().await.unwrap().as_deref(), Some("pxe"));
}

#[tokio::test]
async fn a_service_that_wants_the_boot_mode_gets_it_and_a_tag_that_is_old_is_read_again() {
    let power = Power::new(short());
    let picky = Service::start(|asked| {
        let bare = asked.method == "PATCH" && asked.body["Boot"]["BootSourceOverrideMode"] != "UEFI";
        bare.then(|| Said::status(400))
    })
    .await;
    picky.machine(&power).set_boot_device(BootDevice::Cd, Persistence::Once).await.unwrap();

    let patches = std::sync::atomic::AtomicUsize::new(0);
    let busy = Service::start(move |asked| {
        let patch = usize::from(asked.method == "PATCH");
        let before = patches.fetch_add(patch, std::sync::atomic::Ordering::SeqCst);
        (patch == 1 && before == 0).then(|| Said::status(412))
    })
    .await;
    busy.machine(&power).set_boot_device(BootDevice::Pxe, Persistence::Once).await.unwrap();
}

#[tokio::test]
async fn actions_on_one_node_come_one_after_the_other() {
    let power = Power::new(short());
    let service = Service::start(|_| None).await;
    service.set_state("On");
    let info = redfish(&service.server.url());
    let info = DriverInfo::read(info.as_object().unwrap()).unwrap();
    let node = NodeId::new();
    let machines: Vec<_> = (0..4).map(|_| power.of(node, &info).unwrap()).collect();
    let cycles = machines.iter().map(|machine| machine.cycle());
    for cycle in futures_util::future::join_all(cycles).await {
        cycle.unwrap();
    }
    assert_eq!(service.resets(), ["ForceOff", "On"].repeat(4));
}

#[tokio::test]
async fn an_action_goes_on_when_whoever_asked_goes_away() {
    let power = Power::new(short());
    let service = Service::start(|_| None).await;
    service.set_state("On");
    let machine = service.machine(&power);
    let asking = power.clone();
    let asker = tokio::spawn(async move { asking.to_its_end(async move { machine.cycle().await }).await });
    wait_for("it is off", SOON, async || Ok((!service.resets().is_empty()).then_some(()))).await.unwrap();
    asker.abort();
    wait_for("it is on again", SOON, async || Ok((service.resets() == ["ForceOff", "On"]).then_some(())))
        .await
        .unwrap();
    power.close().await;
    assert_eq!(service.state(), "On");
}

#[test]
fn a_node_without_a_controller_has_no_machine() {
    let power = Power::new(short());
    let of = |info: Value| {
        let info = DriverInfo::read(info.as_object().unwrap()).unwrap();
        assert!(power.find(NodeId::new(), &info).is_none());
        code(power.of(NodeId::new(), &info))
    };
    for info in [json!({}), json!({"power_interface": "agent"}), json!({"power_interface": "noop"})] {
        let (code, message) = of(info.clone());
        assert_eq!(code, "no-power-driver", "{info}");
        assert!(message.contains("redfish_address"), "{message}");
    }
}
