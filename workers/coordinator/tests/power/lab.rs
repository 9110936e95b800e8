//! Machines with their controllers, and a double of a Redfish service for what a real one cannot be made to do.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use farrier::wire::{Coded as _, NodeId};
use farrier_coordinator::driver_info::DriverInfo;
use farrier_coordinator::power::{IpmiSettings, Machine, Power, PowerError, PowerSettings, RedfishSettings};
use farrier_testbed::http::{Asked, Said, ScriptedServer};
use serde_json::{Value, json};

/// The bound on waits for what real parts do.
pub(crate) const SOON: Duration = Duration::from_secs(60);
/// The password of every controller: it must be in no error.
pub(crate) const PASSWORD: &str = "hunter2";
/// The path of the system of [`Service`].
pub(crate) const SYSTEM: &str = "/redfish/v1/Systems/1";
/// Where its power is changed.
pub(crate) const RESET: &str = "/redfish/v1/Systems/1/Actions/ComputerSystem.Reset";

/// Bounds of a test with a double: what fails has failed soon.
pub(crate) fn short() -> PowerSettings {
    PowerSettings {
        state_change: Duration::from_millis(500),
        soft_off: Duration::from_millis(500),
        redfish: RedfishSettings {
            connection_attempts: 3,
            connection_retry_interval: Duration::from_millis(20),
            connect: Duration::from_secs(5),
            read: Duration::from_secs(3),
            power_on_attempts: 3,
            power_on_retry_interval: Duration::from_millis(20),
            look_again_after: Duration::from_millis(20),
        },
        ipmi: IpmiSettings {
            command_retry_timeout: Duration::from_secs(5),
            min_command_interval: Duration::from_secs(1),
        },
        ..PowerSettings::default()
    }
}

/// A machine with this driver info.
pub(crate) fn machine(power: &Power, info: Value) -> Machine {
    let info = DriverInfo::read(info.as_object().unwrap()).unwrap();
    power.of(NodeId::new(), &info).unwrap()
}

/// A driver info for a Redfish service.
pub(crate) fn redfish(url: &str) -> Value {
    json!({"redfish_address": url, "redfish_username": "root", "redfish_password": PASSWORD})
}

/// The code of an error, which shows the password nowhere.
pub(crate) fn code<T: std::fmt::Debug>(result: Result<T, PowerError>) -> (&'static str, String) {
    let report = result.unwrap_err().report();
    assert!(!report.message.contains(PASSWORD), "{report:?}");
    (report.code.as_str(), report.message)
}

/// A service with one system, which does what it is asked at once.
#[derive(Debug)]
pub(crate) struct Service {
    pub(crate) server: ScriptedServer,
    state: Arc<Mutex<String>>,
}

impl Service {
    /// One that is off. Where `twist` says something, that is the answer.
    pub(crate) async fn start(twist: impl Fn(&Asked) -> Option<Said> + Send + Sync + 'static) -> Self {
        let state = Arc::new(Mutex::new("Off".to_owned()));
        let held = Arc::clone(&state);
        let server = ScriptedServer::start(move |asked| {
            twist(asked).unwrap_or_else(|| answer(asked, &mut held.lock().unwrap()))
        });
        Self { server: server.await.unwrap(), state }
    }

    pub(crate) fn machine(&self, power: &Power) -> Machine {
        machine(power, redfish(&self.server.url()))
    }

    pub(crate) fn set_state(&self, state: &str) {
        state.clone_into(&mut self.state.lock().unwrap());
    }

    pub(crate) fn state(&self) -> String {
        self.state.lock().unwrap().clone()
    }

    /// What was asked for, without the questions.
    pub(crate) fn resets(&self) -> Vec<String> {
        let asked = self.server.asked();
        let resets = asked.iter().filter(|asked| asked.path == RESET);
        resets.map(|asked| asked.body["ResetType"].as_str().unwrap().to_owned()).collect()
    }
}

fn answer(asked: &Asked, state: &mut String) -> Said {
    match (asked.method.as_str(), asked.path.as_str()) {
        ("GET", "/redfish/v1/") => Said::json(200, &json!({"Systems": {"@odata.id": "/redfish/v1/Systems"}})),
        ("GET", "/redfish/v1/Systems") => Said::json(200, &json!({"Members": [{"@odata.id": SYSTEM}]})),
        ("GET", SYSTEM) => Said::json(200, &system(state)),
        ("POST", RESET) => {
            match asked.body["ResetType"].as_str().unwrap() {
                "On" | "ForceRestart" => "On".clone_into(state),
                _ => "Off".clone_into(state),
            }
            Said::status(204)
        }
        ("PATCH", SYSTEM) => Said::status(204),
        _ => Said::status(404),
    }
}

pub(crate) fn system(state: &str) -> Value {
    json!({
        "PowerState": state,
        "Boot": {"BootSourceOverrideTarget": "Pxe", "BootSourceOverrideEnabled": "Once", "BootSourceOverrideMode": "UEFI"},
        "Actions": {"#ComputerSystem.Reset": {"target": RESET}},
    })
}

/// An error as services tell it.
pub(crate) fn error(status: u16, message: &str) -> Said {
    Said::json(
        status,
        &json!({"error": {"message": "see below", "@Message.ExtendedInfo": [{"Message": message}]}}),
    )
}
