//! The power of a node, as the API shows and switches it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a management controller says of the power of its machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PowerState {
    /// The machine runs.
    On,
    /// The machine is off.
    Off,
    /// It is on its way to run.
    PoweringOn,
    /// It is on its way to be off.
    PoweringOff,
    /// The controller does not know, or this reader is too old to.
    #[serde(other)]
    Unknown,
}

impl PowerState {
    /// The state as text.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::On => "on",
            Self::Off => "off",
            Self::PoweringOn => "powering_on",
            Self::PoweringOff => "powering_off",
            Self::Unknown => "unknown",
        }
    }
}

impl std::fmt::Display for PowerState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// What is to be done with the power of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PowerAction {
    /// Switch it on.
    On,
    /// Switch it off, at once.
    Off,
    /// Ask the operating system to shut down, and switch it off where it has not within the bound for that.
    SoftOff,
    /// Switch it off and on.
    Cycle,
}

impl PowerAction {
    /// The action as text.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::On => "on",
            Self::Off => "off",
            Self::SoftOff => "soft_off",
            Self::Cycle => "cycle",
        }
    }
}

/// What a machine boots from when it is switched on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BootDevice {
    /// Its first disk.
    Disk,
    /// The network.
    Pxe,
    /// A CD or DVD, which may be a virtual one.
    Cd,
}

impl BootDevice {
    /// The device as text.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Disk => "disk",
            Self::Pxe => "pxe",
            Self::Cd => "cd",
        }
    }
}

/// `GET /v1/nodes/{node}/power`: what the management controller of a node says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NodePower {
    /// The state.
    pub state: PowerState,
    /// The driver: the word that `power_interface` has for it.
    pub driver: String,
    /// What the machine is told to boot from: `disk`, `pxe`, `cd`, or the controller's own word. Absent where it is told nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot_device: Option<String>,
}

/// `POST /v1/nodes/{node}/power`: the answer comes when it is done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PowerRequest {
    /// What to do.
    pub action: PowerAction,
    /// What to boot from, set before the action.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot_device: Option<BootDevice>,
    /// Whether to boot from it from now on, and not just the next time.
    #[serde(default)]
    pub persistent: bool,
    /// Do it even though a job is busy with the node.
    #[serde(default)]
    pub force: bool,
}
