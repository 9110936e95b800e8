//! What an operator says about reaching and treating a node, in Ironic's key names, as typed values.
//!
//! A driver info is free: keys that nobody here knows are kept and mean nothing. A key that looks like one of ours and is none
//! is an error, for a misspelt `redfish_adress` would else leave the node without power control until the day it is needed.

mod error;
mod ipmi;
mod keys;
mod reader;
mod redfish;
#[cfg(test)]
mod tests;

use farrier::wire::{ImageDownloadSource, NoProxy, ProxyUrl};
use serde_json::{Map, Value};

pub use error::{BadDriverInfo, BadKey};
pub use ipmi::{CipherSuite, IpmiInfo, KgKey, PrivilegeLevel, ProtocolVersion};
pub use keys::SECRET_KEYS;
pub use redfish::{AuthType, Credentials, RedfishInfo, VerifyCa};

use reader::Reader;

/// A driver info that makes sense.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DriverInfo {
    /// How the power of the node is switched; absent when nothing is said of it.
    pub power: Option<PowerDriver>,
    /// Through what the node fetches images, and from whom.
    pub image: ImageInfo,
    /// `deploy_forces_oob_reboot`: after a deploy the coordinator switches the power off and on through the management controller,
    /// instead of leaving the first of it to the agent.
    pub deploy_forces_oob_reboot: bool,
    /// `disable_power_off`: the power of this node is never switched off.
    pub disable_power_off: bool,
}

/// How the power of a node is switched: `power_interface`, or what the addresses say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PowerDriver {
    /// Through a Redfish service.
    Redfish(Box<RedfishInfo>),
    /// Through IPMI, by `ipmitool`.
    Ipmi(Box<IpmiInfo>),
    /// There is no management controller: the agent reboots its machine itself.
    Agent,
    /// Nobody switches it.
    Noop,
}

impl PowerDriver {
    /// The name that `power_interface` has for it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Redfish(_) => "redfish",
            Self::Ipmi(_) => "ipmitool",
            Self::Agent => "agent",
            Self::Noop => "noop",
        }
    }
}

/// How a node fetches images.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageInfo {
    /// `image_http_proxy`.
    pub http_proxy: Choice<ProxyUrl>,
    /// `image_https_proxy`.
    pub https_proxy: Choice<ProxyUrl>,
    /// `image_no_proxy`.
    pub no_proxy: Choice<NoProxy>,
    /// `image_download_source`.
    pub download_source: Option<ImageDownloadSource>,
}

/// A setting that a higher layer may leave to the one below, or switch off there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Choice<T> {
    /// Not said: the layer below counts.
    #[default]
    Unset,
    /// Said to be none, by an empty text.
    Nothing,
    /// This one.
    Given(T),
}

impl<T> Choice<T> {
    /// What counts over `below`.
    #[must_use]
    pub fn or(self, below: Option<T>) -> Option<T> {
        match self {
            Self::Unset => below,
            Self::Nothing => None,
            Self::Given(value) => Some(value),
        }
    }
}

impl DriverInfo {
    /// Reads a driver info, its secrets in the clear.
    ///
    /// # Errors
    /// Every key that does not fit, at once.
    pub fn read(map: &Map<String, Value>) -> Result<Self, BadDriverInfo> {
        let mut reader = Reader::new(map);
        let redfish = redfish::read(&mut reader);
        let ipmi = ipmi::read(&mut reader);
        let power = power_driver(&mut reader, redfish, ipmi);
        let info = Self {
            power,
            image: ImageInfo {
                http_proxy: reader.choice("image_http_proxy"),
                https_proxy: reader.choice("image_https_proxy"),
                no_proxy: reader.choice("image_no_proxy"),
                download_source: reader.parsed("image_download_source"),
            },
            deploy_forces_oob_reboot: reader.flag("deploy_forces_oob_reboot").unwrap_or(false),
            disable_power_off: reader.flag("disable_power_off").unwrap_or(false),
        };
        keys::find_misspelt(&mut reader);
        reader.finish(info)
    }
}

fn power_driver(
    reader: &mut Reader<'_>,
    redfish: Option<RedfishInfo>,
    ipmi: Option<IpmiInfo>,
) -> Option<PowerDriver> {
    let Some(named) = reader.text("power_interface") else {
        return match (reader.is_given("redfish_address"), reader.is_given("ipmi_address")) {
            (true, true) => {
                reader.fault(
                    "power_interface",
                    "it must be `redfish` or `ipmitool`, for there are addresses for both",
                );
                None
            }
            (true, false) => redfish.map(|info| PowerDriver::Redfish(Box::new(info))),
            (false, true) => ipmi.map(|info| PowerDriver::Ipmi(Box::new(info))),
            (false, false) => None,
        };
    };
    match named.as_str() {
        "redfish" => {
            reader.require("redfish_address", "the power interface `redfish` needs it");
            redfish.map(|info| PowerDriver::Redfish(Box::new(info)))
        }
        "ipmitool" | "ipmi" => {
            reader.require("ipmi_address", "the power interface `ipmitool` needs it");
            ipmi.map(|info| PowerDriver::Ipmi(Box::new(info)))
        }
        "agent" => Some(PowerDriver::Agent),
        "noop" => Some(PowerDriver::Noop),
        other => {
            let reason = format!("expected redfish, ipmitool, agent or noop, found {}", reader::shown(other));
            reader.fault("power_interface", reason);
            None
        }
    }
}
