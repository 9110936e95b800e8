//! What is done with the power of a machine, each until its controller reports that it is so.

use std::sync::Arc;
use std::time::Duration;

use farrier::wire::{BootDevice, NodeId, PowerAction, PowerState};
use tokio::sync::MutexGuard;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tracing::{info, warn};

use super::bmc::{Bmc, Persistence, PowerChange};
use super::error::{Fault, PowerError};
use super::gate::Gate;
use super::settings::PowerSettings;

/// The machine of a node, with its management controller. Dropping the future of an action ends it where it is; nothing is sent
/// after that.
#[derive(Debug)]
pub struct Machine {
    node: NodeId,
    bmc: Bmc,
    disable_power_off: bool,
    gate: Arc<Gate>,
    settings: PowerSettings,
}

impl Machine {
    pub(super) fn new(
        node: NodeId,
        bmc: Bmc,
        disable_power_off: bool,
        gate: Arc<Gate>,
        settings: PowerSettings,
    ) -> Self {
        Self { node, bmc, disable_power_off, gate, settings }
    }

    /// The address of its controller, as errors show it.
    #[must_use]
    pub fn address(&self) -> &str {
        self.bmc.address()
    }

    /// Whether it may not be switched off.
    #[must_use]
    pub fn disable_power_off(&self) -> bool {
        self.disable_power_off
    }

    /// What its controller says of its power. Does not wait for actions that are under way.
    ///
    /// # Errors
    /// [`PowerError::Bmc`].
    pub async fn state(&self) -> Result<PowerState, PowerError> {
        let _turn = self.gate.request.lock().await;
        self.bmc.state().await
    }

    /// What it is told to boot from; none where it is told nothing.
    ///
    /// # Errors
    /// [`PowerError::Bmc`].
    pub async fn boot_device(&self) -> Result<Option<String>, PowerError> {
        let _turn = self.gate.request.lock().await;
        self.bmc.boot_device().await
    }

    /// Tells it what to boot from.
    ///
    /// # Errors
    /// [`PowerError::Bmc`], or [`PowerError::Busy`].
    pub async fn set_boot_device(
        &self,
        device: BootDevice,
        persistence: Persistence,
    ) -> Result<(), PowerError> {
        let _turn = self.turn().await?;
        self.tell_boot_device(device, persistence).await
    }

    /// Tells it what to boot from where that is given, and carries out an action, with nothing of others in between.
    ///
    /// # Errors
    /// As those of the two.
    pub async fn carry_out(
        &self,
        action: PowerAction,
        boot: Option<(BootDevice, Persistence)>,
    ) -> Result<(), PowerError> {
        let _turn = self.turn().await?;
        if matches!(action, PowerAction::Off | PowerAction::SoftOff) {
            self.may_be_off()?;
        }
        if let Some((device, persistence)) = boot {
            self.tell_boot_device(device, persistence).await?;
        }
        info!(node = %self.node, "power: {} through {}", action.as_str(), self.address());
        match action {
            PowerAction::On => self.reach(PowerChange::On, PowerState::On).await,
            PowerAction::Off => self.reach(PowerChange::ForceOff, PowerState::Off).await,
            PowerAction::SoftOff => self.off_softly().await,
            PowerAction::Cycle => self.off_and_on().await,
        }
    }

    /// Switches it on, and waits until it is. Does nothing when it is on already.
    ///
    /// # Errors
    /// [`PowerError::Bmc`], [`PowerError::Timeout`], or [`PowerError::Busy`].
    pub async fn power_on(&self) -> Result<(), PowerError> {
        self.carry_out(PowerAction::On, None).await
    }

    /// Switches it off, and waits until it is. Does nothing when it is off already.
    ///
    /// # Errors
    /// As [`Machine::power_on`], and [`PowerError::PowerOffDisabled`].
    pub async fn power_off(&self) -> Result<(), PowerError> {
        self.carry_out(PowerAction::Off, None).await
    }

    /// Asks its operating system to shut down, and switches it off where that has not happened within `soft_power_off_timeout`, or
    /// the controller cannot ask.
    ///
    /// # Errors
    /// As [`Machine::power_off`].
    pub async fn soft_off(&self) -> Result<(), PowerError> {
        self.carry_out(PowerAction::SoftOff, None).await
    }

    /// Switches it off and on; where it may not be off, resets it instead.
    ///
    /// # Errors
    /// As [`Machine::power_on`].
    pub async fn cycle(&self) -> Result<(), PowerError> {
        self.carry_out(PowerAction::Cycle, None).await
    }

    /// Waits until it has switched itself off, as an agent does after its last result, and switches it off when it has not
    /// within `within`. Says whether it did so by itself.
    ///
    /// # Errors
    /// As [`Machine::power_off`].
    pub async fn off_by_itself(&self, within: Duration) -> Result<bool, PowerError> {
        let _turn = self.turn().await?;
        match self.becomes(PowerState::Off, within).await {
            Ok(()) => return Ok(true),
            Err(PowerError::Timeout { found, .. }) => {
                warn!(node = %self.node, "power: not off by itself within {within:?}, its controller says {found}; forcing it");
            }
            Err(error) => return Err(error),
        }
        self.may_be_off()?;
        self.reach(PowerChange::ForceOff, PowerState::Off).await.map(|()| false)
    }

    async fn tell_boot_device(&self, device: BootDevice, persistence: Persistence) -> Result<(), PowerError> {
        let _turn = self.gate.request.lock().await;
        info!(node = %self.node, "power: boot from {} ({persistence:?})", device.as_str());
        self.bmc.set_boot_device(device, persistence).await
    }

    async fn off_softly(&self) -> Result<(), PowerError> {
        if self.state().await? == PowerState::Off {
            return Ok(());
        }
        let asked = match self.request(PowerChange::SoftOff).await {
            Ok(()) => self.becomes(PowerState::Off, self.settings.soft_off).await,
            refused => refused,
        };
        match asked {
            Err(
                error @ (PowerError::Timeout { .. }
                | PowerError::Bmc { fault: Fault::Refused(_) | Fault::Conflict(_), .. }),
            ) => {
                warn!(node = %self.node, "power: forcing it off: {error}");
                self.reach(PowerChange::ForceOff, PowerState::Off).await
            }
            other => other,
        }
    }

    async fn off_and_on(&self) -> Result<(), PowerError> {
        if !self.disable_power_off {
            self.reach(PowerChange::ForceOff, PowerState::Off).await?;
            return self.reach(PowerChange::On, PowerState::On).await;
        }
        if self.state().await? == PowerState::Off {
            return self.reach(PowerChange::On, PowerState::On).await;
        }
        self.request(PowerChange::ForceRestart).await?;
        self.becomes(PowerState::On, self.settings.state_change).await
    }

    /// Requests `change` unless the machine is in the state that it leads to, and waits until it is.
    async fn reach(&self, change: PowerChange, wanted: PowerState) -> Result<(), PowerError> {
        if self.state().await? == wanted {
            return Ok(());
        }
        let mut attempt = 1;
        while let Err(error) = self.request(change).await {
            // A request that was refused or whose answer was lost may have been carried out all the same.
            if matches!(error, PowerError::Bmc { fault: Fault::Unauthorized(_) | Fault::Coordinator(_), .. })
            {
                return Err(error);
            }
            if self.state().await.is_ok_and(|state| state == wanted) {
                return Ok(());
            }
            // A machine that is on its way to off refuses to be switched on, for a while.
            let passes = matches!(error, PowerError::Bmc { fault: Fault::Conflict(_), .. })
                && change == PowerChange::On
                && attempt < self.settings.redfish.power_on_attempts;
            if !passes {
                return Err(error);
            }
            attempt += 1;
            sleep(self.settings.redfish.power_on_retry_interval).await;
        }
        self.becomes(wanted, self.settings.state_change).await
    }

    async fn request(&self, change: PowerChange) -> Result<(), PowerError> {
        let _turn = self.gate.request.lock().await;
        self.bmc.set_power(change).await
    }

    /// Waits until the controller reports a state.
    async fn becomes(&self, wanted: PowerState, within: Duration) -> Result<(), PowerError> {
        let until = Instant::now() + within;
        let mut last = Ok(PowerState::Unknown);
        loop {
            match timeout_at(until, self.state()).await {
                Ok(Ok(state)) if state == wanted => return Ok(()),
                Ok(Err(error)) if !error.may_pass() => return Err(error),
                Ok(answer) => last = answer,
                Err(_) => {}
            }
            let next = Instant::now() + self.bmc.look_again_after();
            if next >= until {
                let found = match last {
                    Ok(state) => state.to_string(),
                    // It has not said anything at the end: that is what is wrong.
                    Err(error) => return Err(error),
                };
                let bmc = Arc::clone(self.bmc.address());
                return Err(PowerError::Timeout { bmc, wanted, found, within });
            }
            tokio::time::sleep_until(next).await;
        }
    }

    fn may_be_off(&self) -> Result<(), PowerError> {
        if self.disable_power_off { Err(PowerError::PowerOffDisabled { node: self.node }) } else { Ok(()) }
    }

    async fn turn(&self) -> Result<MutexGuard<'_, ()>, PowerError> {
        let longest = self.settings.longest_action();
        timeout(longest, self.gate.action.lock())
            .await
            .map_err(|_| PowerError::Busy { node: self.node, waited: longest })
    }
}
