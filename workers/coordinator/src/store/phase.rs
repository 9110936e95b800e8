//! What a job is at while something is done for it outside of the store, and how its machine is restarted in the end.

use farrier::wire::Afterwards;
use serde::{Deserialize, Serialize};

/// What a job is at, beside its state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Its machine is being powered on.
    PowerOn,
    /// The URL of its image is being made.
    Image,
    /// Its machine is to power itself off, or is being powered off.
    PowerOff,
    /// The disk is being made the boot device.
    BootDevice,
    /// The agent is to restart its machine.
    AgentGone,
}

impl Phase {
    /// The phase as text: the reason of a wait.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::PowerOn => "power_on",
            Self::Image => "image",
            Self::PowerOff => "power_off",
            Self::BootDevice => "boot_device",
            Self::AgentGone => "agent_gone",
        }
    }
}

/// How a machine is restarted into what was deployed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Restart {
    /// The agent powers it off, the management controller powers it on.
    InBand,
    /// The management controller powers it off and on.
    OutOfBand,
    /// The management controller restarts it: it may not be powered off.
    Reset,
    /// The agent restarts it: there is no management controller.
    Agent,
}

impl Restart {
    /// The way as text.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InBand => "in_band",
            Self::OutOfBand => "out_of_band",
            Self::Reset => "reset",
            Self::Agent => "agent",
        }
    }

    /// What the agent does before it.
    #[must_use]
    pub fn afterwards(self) -> Afterwards {
        match self {
            Self::InBand => Afterwards::PowerOff,
            Self::OutOfBand | Self::Reset => Afterwards::Flush,
            Self::Agent => Afterwards::Reboot,
        }
    }

    /// What a job that restarts in this way is at first.
    #[must_use]
    pub fn first_phase(self) -> Phase {
        match self {
            Self::InBand | Self::OutOfBand => Phase::PowerOff,
            Self::Reset => Phase::BootDevice,
            Self::Agent => Phase::AgentGone,
        }
    }
}
