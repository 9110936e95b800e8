//! Starts what was deployed: the agent or the management controller switches the machine off, and the controller switches it on
//! again, from its disk.
//!
//! Each phase is noted before it begins. A coordinator that dies goes on with it, and never switches a machine off that it has
//! switched on already.

use std::time::Duration;

use farrier::wire::{BootDevice, Coded as _, ErrorCode, ErrorReport};
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

use super::{Conductor, Ended};
use crate::driver_info::{DriverInfo, PowerDriver};
use crate::power::{Machine, Persistence, PowerError};
use crate::store::StoreError;
use crate::store::errands::{Circumstances, Errand, Phase, Restart};

/// How often it is looked whether an agent has gone.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How a machine is restarted after a deploy; `None` where it is not.
///
/// # Errors
/// The agent is to restart it, and cannot.
pub(super) fn way(driver: &DriverInfo, can_power: bool) -> Result<Option<Restart>, ErrorReport> {
    match &driver.power {
        Some(PowerDriver::Redfish(_) | PowerDriver::Ipmi(_)) if driver.disable_power_off => {
            Ok(Some(Restart::Reset))
        }
        // An agent that cannot power its machine off is not waited for.
        Some(PowerDriver::Redfish(_) | PowerDriver::Ipmi(_)) => {
            let in_band = can_power && !driver.deploy_forces_oob_reboot;
            Ok(Some(if in_band { Restart::InBand } else { Restart::OutOfBand }))
        }
        Some(PowerDriver::Agent) if !can_power => Err(ErrorReport::new(
            ErrorCode::NoPowerDriver,
            "the power interface of the node is `agent`, and its agent cannot restart its machine: it does not run in a RAM disk and has \
             no --power-command; or name a management controller, or set power_interface to noop",
        )),
        Some(PowerDriver::Agent) => Ok(Some(Restart::Agent)),
        None => Ok(can_power.then_some(Restart::Agent)),
        Some(PowerDriver::Noop) => Ok(None),
    }
}

/// Restarts the machine, or notes why it could not be.
pub(super) async fn restart(conductor: &Conductor, errand: Errand) -> Ended {
    let Some(circumstances) = conductor.store.circumstances(errand).await? else {
        return Ok(Duration::ZERO);
    };
    let result = match through(conductor, errand, &circumstances).await {
        Ok(()) => {
            info!(job = %errand.job, node = %errand.node, "the machine was restarted from its disk");
            Ok(())
        }
        Err(Fault::Over) => return Ok(Duration::ZERO),
        Err(Fault::Store(fault)) => return Err(fault),
        Err(Fault::Report(report)) => Err(ErrorReport {
            message: format!(
                "the image is written and verified, and the machine was not restarted: {}. Until it is, its agent takes no more commands",
                report.message
            ),
            ..report
        }),
    };
    if let Err(report) = &result {
        warn!(job = %errand.job, node = %errand.node, error = %report, "the machine was not restarted");
    }
    conductor.store.restarted(errand, result).await?;
    Ok(Duration::ZERO)
}

/// Why a restart has ended early.
enum Fault {
    /// Nobody waits for it any more.
    Over,
    /// It is tried again.
    Store(StoreError),
    /// It has failed.
    Report(ErrorReport),
}

impl From<StoreError> for Fault {
    fn from(fault: StoreError) -> Self {
        Self::Store(fault)
    }
}

impl From<PowerError> for Fault {
    fn from(error: PowerError) -> Self {
        Self::Report(error.report())
    }
}

async fn through(conductor: &Conductor, errand: Errand, circumstances: &Circumstances) -> Result<(), Fault> {
    let restart = circumstances.restart.unwrap_or(Restart::OutOfBand);
    if restart == Restart::Agent {
        return agent_gone(conductor, errand, circumstances).await;
    }
    let driver =
        DriverInfo::read(&circumstances.driver_info).map_err(|error| Fault::Report(error.report()))?;
    let machine = conductor.power.of(errand.node, &driver)?;
    let mut phase = circumstances.phase.unwrap_or_else(|| restart.first_phase());
    loop {
        enter(conductor, errand, phase, None).await?;
        phase = match phase {
            Phase::PowerOff => {
                switch_off(conductor, errand, restart, &machine).await?;
                Phase::BootDevice
            }
            Phase::BootDevice => {
                machine.set_boot_device(BootDevice::Disk, Persistence::Persistent).await?;
                Phase::PowerOn
            }
            _ => {
                // Where the power may not be switched off there is one request for both; made twice, it starts the machine twice.
                match restart {
                    Restart::Reset => machine.cycle().await?,
                    _ => machine.power_on().await?,
                }
                return Ok(());
            }
        };
    }
}

/// Notes what the job is at, unless it was cancelled.
async fn enter(
    conductor: &Conductor,
    errand: Errand,
    phase: Phase,
    within: Option<Duration>,
) -> Result<(), Fault> {
    let waits = conductor.store.enter_phase(errand, Some(phase), within).await?;
    if waits { Ok(()) } else { Err(Fault::Over) }
}

/// Waits until the machine is off, and switches it off where its agent does not.
async fn switch_off(
    conductor: &Conductor,
    errand: Errand,
    restart: Restart,
    machine: &Machine,
) -> Result<(), Fault> {
    if restart != Restart::InBand {
        return Ok(machine.power_off().await?);
    }
    if !machine.off_by_itself(conductor.off_within).await? {
        warn!(job = %errand.job, node = %errand.node, "the agent did not power its machine off in time; it was switched off");
    }
    Ok(())
}

/// Waits until the agent that restarts its machine is no longer heard.
async fn agent_gone(
    conductor: &Conductor,
    errand: Errand,
    circumstances: &Circumstances,
) -> Result<(), Fault> {
    let boot = circumstances.attempt_boot.as_deref();
    let within = conductor.off_within + conductor.bounds.lease * 2;
    enter(conductor, errand, Phase::AgentGone, Some(within)).await?;
    loop {
        match timeout(within, gone(conductor, errand, boot)).await {
            Ok(result) => return Ok(result?),
            // Nobody is heard: that says nothing of this one. When the broker is back, it has the whole time again.
            Err(_) if !conductor.hears() => {}
            Err(_) => return Err(Fault::Report(still_heard(within))),
        }
    }
}

/// Waits until a boot of an agent is no longer heard, or another one is; or nobody waits for that any more.
async fn gone(conductor: &Conductor, errand: Errand, boot: Option<&str>) -> Result<(), StoreError> {
    while let Some(now) = conductor.store.circumstances(errand).await? {
        if !now.alive || now.boot_id.as_deref() != boot {
            break;
        }
        sleep(LOOK_EVERY).await;
    }
    Ok(())
}

fn still_heard(within: Duration) -> ErrorReport {
    let seconds = within.as_secs();
    let message = format!(
        "its agent was to restart it, and is still heard after {seconds} s; look at the console of the machine"
    );
    ErrorReport::new(ErrorCode::PowerTimeout, message)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn way_of(driver_info: &Value, can_power: bool) -> Result<Option<Restart>, ErrorCode> {
        let driver = DriverInfo::read(driver_info.as_object().unwrap()).unwrap();
        way(&driver, can_power).map_err(|report| report.code)
    }

    #[test]
    fn the_agent_powers_off_unless_it_may_not_or_cannot() {
        for bmc in [json!({"redfish_address": "https://bmc"}), json!({"ipmi_address": "bmc"})] {
            let with = |key: &str, value: Value| {
                let mut info = bmc.clone();
                info[key] = value;
                info
            };
            assert_eq!(way_of(&bmc, true), Ok(Some(Restart::InBand)));
            assert_eq!(way_of(&bmc, false), Ok(Some(Restart::OutOfBand)));
            for yes in [json!(true), json!("True"), json!("yes"), json!(1)] {
                assert_eq!(
                    way_of(&with("deploy_forces_oob_reboot", yes), true),
                    Ok(Some(Restart::OutOfBand))
                );
            }
            assert_eq!(
                way_of(&with("deploy_forces_oob_reboot", json!("False")), true),
                Ok(Some(Restart::InBand))
            );
            assert_eq!(way_of(&with("disable_power_off", json!(true)), true), Ok(Some(Restart::Reset)));
            assert_eq!(way_of(&with("power_interface", json!("noop")), true), Ok(None));
        }
    }

    #[test]
    fn without_a_management_controller_the_agent_restarts_its_machine_if_it_can() {
        assert_eq!(way_of(&json!({}), true), Ok(Some(Restart::Agent)));
        assert_eq!(way_of(&json!({}), false), Ok(None));
        assert_eq!(way_of(&json!({"power_interface": "agent"}), true), Ok(Some(Restart::Agent)));
        assert_eq!(way_of(&json!({"power_interface": "agent"}), false), Err(ErrorCode::NoPowerDriver));
    }
}
