//! The power of nodes, through their management controllers.
//!
//! ```text
//! DriverInfo -> Power -> Machine (one node: actions that wait until the controller reports what was wished)
//!                          |
//!                         Bmc: Redfish (HTTP) or IPMI (ipmitool): one question or request at a time
//! ```
//!
//! Nothing here trusts a controller: every wait is bounded, every answer is limited in size and checked, and success is what the
//! controller *reports* afterwards, not that it took a request.

mod actions;
mod bmc;
mod error;
mod gate;
mod ipmi;
mod redfish;
mod settings;

use std::sync::Arc;
use std::time::Duration;

use farrier::wire::NodeId;
use tokio_util::task::TaskTracker;

pub use actions::Machine;
pub use bmc::{Bmc, Persistence, PowerChange};
pub use error::{Fault, PowerError};
pub use ipmi::Ipmi;
pub use redfish::Redfish;
pub use settings::{BootMode, IpmiSettings, PowerSettings, PowerTable, RedfishSettings};

use crate::driver_info::{DriverInfo, PowerDriver};

/// How long sessions with controllers may take to end when the coordinator does.
const FAREWELL: Duration = Duration::from_secs(5);

/// Switches the power of nodes. Cheap to clone; all clones keep out of each other's way.
#[derive(Clone, Debug)]
pub struct Power {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    settings: PowerSettings,
    gates: gate::Gates,
    /// What goes on when nobody waits for it any more: actions whose asker has gone away, and the ends of sessions.
    tasks: TaskTracker,
}

impl Power {
    /// With these bounds.
    #[must_use]
    pub fn new(settings: PowerSettings) -> Self {
        Self {
            shared: Arc::new(Shared { settings, gates: gate::Gates::default(), tasks: TaskTracker::new() }),
        }
    }

    /// The bounds.
    #[must_use]
    pub fn settings(&self) -> &PowerSettings {
        &self.shared.settings
    }

    /// The machine of a node; none where its driver info names no management controller. Asks nobody anything yet.
    #[must_use]
    pub fn find(&self, node: NodeId, info: &DriverInfo) -> Option<Machine> {
        let settings = &self.shared.settings;
        let bmc = match info.power.as_ref()? {
            PowerDriver::Redfish(redfish) => {
                let tasks = self.shared.tasks.clone();
                Bmc::Redfish(Box::new(Redfish::new((**redfish).clone(), settings.redfish.clone(), tasks)))
            }
            PowerDriver::Ipmi(ipmi) => {
                Bmc::Ipmi(Ipmi::new((**ipmi).clone(), settings.ipmi.clone(), settings.boot_mode))
            }
            PowerDriver::Agent | PowerDriver::Noop => return None,
        };
        let gate = self.shared.gates.of(node);
        Some(Machine::new(node, bmc, info.disable_power_off, gate, settings.clone()))
    }

    /// The machine of a node that must have one.
    ///
    /// # Errors
    /// [`PowerError::NoDriver`].
    pub fn of(&self, node: NodeId, info: &DriverInfo) -> Result<Machine, PowerError> {
        self.find(node, info).ok_or(PowerError::NoDriver {
            node,
            found: match info.power {
                Some(PowerDriver::Agent) => "says power_interface=agent",
                Some(PowerDriver::Noop) => "says power_interface=noop",
                _ => "names no management controller",
            },
        })
    }

    /// Runs an action that goes on when whoever asked for it goes away: half of off and on again leaves a machine off.
    ///
    /// # Panics
    /// When the action panics: the panic goes on in the caller.
    pub async fn to_its_end<T: Send + 'static>(&self, action: impl Future<Output = T> + Send + 'static) -> T {
        match self.shared.tasks.spawn(action).await {
            Ok(done) => done,
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }

    /// Waits for what is still under way, a few seconds at most.
    pub async fn close(&self) {
        self.shared.tasks.close();
        if tokio::time::timeout(FAREWELL, self.shared.tasks.wait()).await.is_err() {
            tracing::warn!(
                "power actions were still under way {FAREWELL:?} after the shutdown began; they are cut off"
            );
        }
    }
}
