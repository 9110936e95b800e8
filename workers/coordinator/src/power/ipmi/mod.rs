//! IPMI, through `ipmitool`: there is no crate that speaks RMCP+ with the cipher suites of today.

mod answer;
mod ipmitool;

use std::sync::Arc;

use farrier::wire::{BootDevice, PowerState};

use super::bmc::{Persistence, PowerChange};
use super::error::Fault;
use super::settings::{BootMode, IpmiSettings};
use crate::driver_info::IpmiInfo;
use ipmitool::IpmiTool;

/// Set Boot Options, parameter 3, bit 3: what was set is not forgotten when no power command follows within a minute. The same
/// bytes as Ironic's.
const KEEP_BOOT_FLAGS: [&str; 5] = ["raw", "0x00", "0x08", "0x03", "0x08"];

/// A controller that speaks IPMI.
#[derive(Debug)]
pub struct Ipmi {
    tool: IpmiTool,
    boot_mode: BootMode,
}

impl Ipmi {
    pub(super) fn new(info: IpmiInfo, settings: IpmiSettings, boot_mode: BootMode) -> Self {
        Self { tool: IpmiTool::new(info, settings), boot_mode }
    }

    pub(super) fn address(&self) -> &Arc<str> {
        self.tool.shown()
    }

    pub(super) fn settings(&self) -> &IpmiSettings {
        self.tool.settings()
    }

    pub(super) async fn state(&self) -> Result<PowerState, Fault> {
        answer::power_state(&self.tool.run(&["chassis", "power", "status"]).await?)
    }

    pub(super) async fn set_power(&self, change: PowerChange) -> Result<(), Fault> {
        let word = match change {
            PowerChange::On => "on",
            PowerChange::ForceOff => "off",
            PowerChange::SoftOff => "soft",
            PowerChange::ForceRestart => "reset",
        };
        self.tool.run(&["chassis", "power", word]).await.map(drop)
    }

    pub(super) async fn boot_device(&self) -> Result<Option<String>, Fault> {
        answer::boot_device(&self.tool.run(&["chassis", "bootparam", "get", "5"]).await?)
    }

    pub(super) async fn set_boot_device(
        &self,
        device: BootDevice,
        persistence: Persistence,
    ) -> Result<(), Fault> {
        if self.tool.info().disable_boot_timeout
            && let Err(fault) = self.tool.run(&KEEP_BOOT_FLAGS).await
        {
            match fault {
                // Not every controller has the parameter.
                Fault::Refused(why) => {
                    tracing::warn!("{} forgets its boot device after a minute: {why}", self.address());
                }
                other => return Err(other),
            }
        }
        let word = match device {
            BootDevice::Disk => "disk",
            BootDevice::Pxe => "pxe",
            BootDevice::Cd => "cdrom",
        };
        let options = match (persistence, self.boot_mode) {
            (Persistence::Persistent, BootMode::Uefi) => "options=persistent,efiboot",
            (Persistence::Persistent, BootMode::Bios) => "options=persistent",
            (Persistence::Once, BootMode::Uefi) => "options=efiboot",
            (Persistence::Once, BootMode::Bios) => return self.boot_from(&[word]).await,
        };
        self.boot_from(&[word, options]).await
    }

    async fn boot_from(&self, words: &[&str]) -> Result<(), Fault> {
        self.tool.run(&[&["chassis", "bootdev"], words].concat()).await.map(drop)
    }
}
