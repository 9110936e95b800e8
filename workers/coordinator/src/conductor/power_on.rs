//! Powers machines on to the RAM disk, for jobs that need their agents.

use std::time::Duration;

use farrier::wire::{BootDevice, Coded as _, ErrorReport, PowerState};
use tracing::info;

use super::{Conductor, Ended};
use crate::driver_info::DriverInfo;
use crate::power::{Persistence, PowerError};
use crate::store::errands::{Circumstances, Errand, Phase};

/// A machine that was on, or that nobody can power on, is looked at again after this long.
const LOOK_AGAIN: Duration = Duration::from_secs(60);
/// A machine that was powered on may take so long to bring its agent up before it is looked at again.
const BOOTING: Duration = Duration::from_secs(300);

/// Powers the machine on if it is off. One that is on is left alone: what runs on it may be somebody's.
pub(super) async fn power_on(conductor: &Conductor, errand: Errand) -> Ended {
    let store = &conductor.store;
    let Some(circumstances) = store.circumstances(errand).await? else { return Ok(Duration::ZERO) };
    if circumstances.alive {
        return Ok(Duration::ZERO);
    }
    match switch_on(conductor, errand, &circumstances).await {
        Ok(Some(rest)) => {
            store.enter_phase(errand, None, None).await?;
            Ok(rest)
        }
        Ok(None) => Ok(LOOK_AGAIN),
        // Somebody else was faster, or only the controller is down.
        Err(_) if store.circumstances(errand).await?.is_none_or(|now| now.alive) => Ok(Duration::ZERO),
        Err(report) => {
            store.preparation_failed(errand, report).await?;
            Ok(Duration::ZERO)
        }
    }
}

/// How long to wait before the machine is looked at again; `None` when there is nobody who could power it on.
async fn switch_on(
    conductor: &Conductor,
    errand: Errand,
    circumstances: &Circumstances,
) -> Result<Option<Duration>, ErrorReport> {
    let driver = DriverInfo::read(&circumstances.driver_info).map_err(|error| error.report())?;
    let Some(machine) = conductor.power.find(errand.node, &driver) else { return Ok(None) };
    let entered = conductor.store.enter_phase(errand, Some(Phase::PowerOn), None).await;
    if !entered.map_err(|fault| fault.report())? {
        return Ok(None);
    }
    let switched = async {
        if machine.state().await? != PowerState::Off {
            return Ok(LOOK_AGAIN);
        }
        info!(job = %errand.job, node = %errand.node, "the machine is powered on to the RAM disk");
        machine.set_boot_device(BootDevice::Pxe, Persistence::Once).await?;
        machine.power_on().await?;
        Ok(BOOTING)
    };
    switched.await.map(Some).map_err(|error: PowerError| error.report())
}
