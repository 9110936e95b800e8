//! A management controller, of whichever kind.

use std::sync::Arc;
use std::time::Duration;

use farrier::wire::{BootDevice, PowerState};

use super::error::{Fault, PowerError};
use super::ipmi::Ipmi;
use super::redfish::Redfish;

/// One request that changes the power of a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PowerChange {
    /// Switch it on.
    On,
    /// Take the power away.
    ForceOff,
    /// Ask the operating system to shut down.
    SoftOff,
    /// Reset it, without taking the power away.
    ForceRestart,
}

/// For how long a machine boots from what it is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Persistence {
    /// The next time.
    Once,
    /// From now on.
    Persistent,
}

/// A management controller. Each call is one question or one request with the retries of its kind, bounded in time; dropping the
/// future ends it.
#[derive(Debug)]
pub enum Bmc {
    /// A Redfish service.
    Redfish(Box<Redfish>),
    /// A controller that speaks IPMI.
    Ipmi(Ipmi),
}

impl Bmc {
    /// The address, as errors show it.
    #[must_use]
    pub fn address(&self) -> &Arc<str> {
        match self {
            Self::Redfish(redfish) => redfish.address(),
            Self::Ipmi(ipmi) => ipmi.address(),
        }
    }

    /// How long after one look at the state the next may come.
    pub(super) fn look_again_after(&self) -> Duration {
        match self {
            Self::Redfish(redfish) => redfish.settings().look_again_after,
            Self::Ipmi(ipmi) => ipmi.settings().min_command_interval,
        }
    }

    /// The power of the machine.
    ///
    /// # Errors
    /// [`PowerError::Bmc`].
    pub async fn state(&self) -> Result<PowerState, PowerError> {
        let answer = match self {
            Self::Redfish(redfish) => redfish.state().await,
            Self::Ipmi(ipmi) => ipmi.state().await,
        };
        answer.map_err(|fault| self.error("tell the power state", fault))
    }

    /// Requests a change. That it was taken does not say that it has happened.
    ///
    /// # Errors
    /// [`PowerError::Bmc`].
    pub async fn set_power(&self, change: PowerChange) -> Result<(), PowerError> {
        let answer = match self {
            Self::Redfish(redfish) => redfish.set_power(change).await,
            Self::Ipmi(ipmi) => ipmi.set_power(change).await,
        };
        let asked = match change {
            PowerChange::On => "switch the power on",
            PowerChange::ForceOff => "switch the power off",
            PowerChange::SoftOff => "shut the operating system down",
            PowerChange::ForceRestart => "restart the machine",
        };
        answer.map_err(|fault| self.error(asked, fault))
    }

    /// What the machine is told to boot from; none where it is told nothing.
    ///
    /// # Errors
    /// [`PowerError::Bmc`].
    pub async fn boot_device(&self) -> Result<Option<String>, PowerError> {
        let answer = match self {
            Self::Redfish(redfish) => redfish.boot_device().await,
            Self::Ipmi(ipmi) => ipmi.boot_device().await,
        };
        answer.map_err(|fault| self.error("tell the boot device", fault))
    }

    /// Tells the machine what to boot from.
    ///
    /// # Errors
    /// [`PowerError::Bmc`].
    pub async fn set_boot_device(
        &self,
        device: BootDevice,
        persistence: Persistence,
    ) -> Result<(), PowerError> {
        let answer = match self {
            Self::Redfish(redfish) => redfish.set_boot_device(device, persistence).await,
            Self::Ipmi(ipmi) => ipmi.set_boot_device(device, persistence).await,
        };
        answer.map_err(|fault| self.error("set the boot device", fault))
    }

    fn error(&self, asked: &'static str, fault: Fault) -> PowerError {
        PowerError::Bmc { bmc: Arc::clone(self.address()), asked, fault }
    }
}
