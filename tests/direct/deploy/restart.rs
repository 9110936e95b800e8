//! Power at both ends of a deploy.

use serde_json::{Value, json};

use super::machine::{DOES_NOTHING, Machine, OBEYS, SOON};

fn code(job: &Value) -> &str {
    job["error"]["code"].as_str().unwrap_or("none")
}

/// A machine that is off is powered on to the RAM disk; after the deploy its agent powers it off, and the controller powers it on from
/// its disk.
#[tokio::test]
async fn by_default_the_agent_powers_its_machine_off() {
    let machine = Machine::start(OBEYS, "").await;
    assert!(!machine.bmc.is_on().unwrap());
    let job = machine.ends(&machine.deploy(&machine.image_file())).await;
    assert_eq!(job["state"], "succeeded", "{job:#}\n{}", machine.logs());
    assert_eq!(machine.told(), "off\n");
    assert_eq!(machine.switched(), ["set boot pxe", "set power 1", "set boot default", "set power 1"]);
    assert!(machine.bmc.is_on().unwrap() && machine.holds_image());
    let steps: Vec<_> =
        job["attempts"][0]["steps"].as_array().unwrap().iter().map(|step| &step["name"]).collect();
    assert_eq!(steps.last().unwrap(), &"flush", "{steps:?}");
}

/// `farrier node set NODE --driver-info deploy_forces_oob_reboot=True`, as the specification has it.
#[tokio::test]
async fn a_node_may_have_its_power_switched_out_of_band() {
    let machine = Machine::start(OBEYS, "").await;
    let farrier = env!("CARGO_BIN_EXE_farrier");
    let mut command = tokio::process::Command::new(farrier);
    command.args(["--api", machine.api.url(), "node", "set", "r12-u07"]);
    command.args(["--driver-info", "deploy_forces_oob_reboot=True"]);
    let done = command.output().await.unwrap();
    assert!(done.status.success(), "{done:?}");
    let job = machine.ends(&machine.deploy(&machine.image_file())).await;
    assert_eq!(job["state"], "succeeded", "{job:#}\n{}", machine.logs());
    assert_eq!(machine.told(), "", "the agent only flushes");
    assert_eq!(
        machine.switched(),
        ["set boot pxe", "set power 1", "set power 0", "set boot default", "set power 1"]
    );
    assert!(machine.bmc.is_on().unwrap() && machine.holds_image());
}

#[tokio::test]
async fn a_machine_that_does_not_power_itself_off_is_forced() {
    let machine = Machine::start(DOES_NOTHING, "").await;
    let job = machine.ends(&machine.deploy(&machine.image_file())).await;
    assert_eq!(job["state"], "succeeded", "{job:#}\n{}", machine.logs());
    assert_eq!(machine.told(), "off\n");
    assert!(machine.switched().contains(&"set power 0".to_owned()), "{:?}", machine.switched());
    assert!(machine.bmc.is_on().unwrap() && machine.holds_image());
}

#[tokio::test]
async fn a_machine_that_may_not_be_off_is_reset() {
    let machine = Machine::start(OBEYS, "").await;
    machine.set_driver_info(&json!({"disable_power_off": "yes"})).await;
    let job = machine.ends(&machine.deploy(&machine.image_file())).await;
    assert_eq!(job["state"], "succeeded", "{job:#}\n{}", machine.logs());
    assert_eq!(
        (machine.told().as_str(), machine.switched().contains(&"set power 0".to_owned())),
        ("", false)
    );
    assert!(
        machine.bmc.calls().unwrap().iter().any(|call| call.starts_with("set reset")),
        "{}",
        machine.logs()
    );
    assert!(machine.bmc.is_on().unwrap() && machine.holds_image());
}

/// A controller that says yes and does nothing: the job ends, and says what is on the disk.
#[tokio::test]
async fn a_controller_that_lies_ends_the_job() {
    let machine = Machine::start(DOES_NOTHING, "").await;
    let id = machine.api.submit(&machine.deploy(&machine.image_file())).await.unwrap();
    machine.api.node_is_alive(&machine.node(), SOON).await.unwrap();
    machine.bmc.lie().unwrap();
    let job = machine.api.job_ends(&id, SOON).await.unwrap();
    assert_eq!((job["state"].as_str().unwrap(), code(&job)), ("failed", "power-timeout"), "{job:#}");
    let message = job["error"]["message"].as_str().unwrap();
    assert!(
        message.starts_with("the image is written and verified, and the machine was not restarted"),
        "{message}"
    );
    assert!(!message.contains(super::machine::PASSWORD) && machine.holds_image());
    assert!(!job["output"].is_null());
}

/// A job whose machine cannot be powered on ends with the reason, and its command is never sent.
#[tokio::test]
async fn a_machine_that_cannot_be_powered_on_fails_its_job() {
    let machine = Machine::start(OBEYS, "").await;
    machine.set_driver_info(&json!({"ipmi_password": "wrong"})).await;
    let job = machine.ends(&machine.deploy(&machine.image_file())).await;
    assert_eq!(
        (job["state"].as_str().unwrap(), code(&job), job["attempt"].as_u64()),
        ("failed", "bmc-unauthorized", Some(0)),
        "{job:#}"
    );
}

/// A coordinator that dies between off and on goes on where it stopped.
#[tokio::test]
async fn a_coordinator_that_dies_meanwhile_finishes_the_restart() {
    let mut machine = Machine::start(DOES_NOTHING, "").await;
    let id = machine.api.submit(&machine.deploy(&machine.image_file())).await.unwrap();
    let finishing = |job: &Value| job["state"] == "finishing";
    machine.api.job_becomes(&id, "is finishing", SOON, finishing).await.unwrap();
    machine.fleet.coordinator.kill();
    machine.api = machine.fleet.coordinator.start().await.unwrap();
    let job = machine.api.job_ends(&id, SOON).await.unwrap();
    assert_eq!(job["state"], "succeeded", "{job:#}\n{}", machine.logs());
    assert!(machine.bmc.is_on().unwrap());
    let on = machine.switched().iter().filter(|call| *call == "set power 1").count();
    assert_eq!(on, 2, "{:?}", machine.switched());
}
