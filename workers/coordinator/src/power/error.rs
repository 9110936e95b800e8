//! Why the power of a node was not switched.

use std::sync::Arc;
use std::time::Duration;

use farrier::wire::{Coded, ErrorCode, NodeId, PowerState};

/// Why the power of a node was not switched, or its state is not known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PowerError {
    /// There is nobody to ask.
    #[error(
        "nothing can switch the power of node {node}: its driver info {found}; give it redfish_address or ipmi_address, as with \
         `farrier node set {node} --driver-info redfish_address=https://bmc.example.net`"
    )]
    NoDriver {
        /// The node.
        node: NodeId,
        /// What is there instead.
        found: &'static str,
    },
    /// Switching off is not allowed.
    #[error(
        "node {node} may not be switched off: its driver info says `disable_power_off`; remove that with `farrier node set {node} \
         --unset-driver-info disable_power_off`"
    )]
    PowerOffDisabled {
        /// The node.
        node: NodeId,
    },
    /// Another action takes longer than any may.
    #[error("node {node} is still busy with another power action after {waited:?}; try again")]
    Busy {
        /// The node.
        node: NodeId,
        /// How long it was waited for.
        waited: Duration,
    },
    /// The management controller did not do what it was asked.
    #[error("the management controller {bmc}, asked to {asked}: {fault}")]
    Bmc {
        /// Its address.
        bmc: Arc<str>,
        /// What it was asked.
        asked: &'static str,
        /// What went wrong.
        fault: Fault,
    },
    /// The machine did not reach the state in time.
    #[error(
        "the management controller {bmc} took the request and its machine is not {wanted} after {within:?}: it still says {found}; look \
         at the console of the machine, or power it by hand"
    )]
    Timeout {
        /// The address of the controller.
        bmc: Arc<str>,
        /// The state that was to be.
        wanted: PowerState,
        /// What the controller said last.
        found: String,
        /// How long it was waited for.
        within: Duration,
    },
}

/// What is wrong with a management controller.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// It cannot be reached, or does not answer.
    #[error(
        "it cannot be reached: {0}; check its address, and that it answers on the network of the coordinator"
    )]
    Unreachable(String),
    /// It refuses the credentials.
    #[error(
        "it refuses the credentials of the driver info: {0}; correct the username and the password, or give the user the rights"
    )]
    Unauthorized(String),
    /// It refuses the request.
    #[error("it refuses: {0}")]
    Refused(String),
    /// The request contradicts the state that its machine is in: it may have been reached already, or be right a little later.
    #[error("it refuses in the state that its machine is in: {0}")]
    Conflict(String),
    /// It tried and failed, or is not ready.
    #[error("it has failed: {0}; try again, and reset the controller if it goes on")]
    Failed(String),
    /// What it says makes no sense.
    #[error("its answer makes no sense: {0}; is there really a management controller of this kind?")]
    BadAnswer(String),
    /// The coordinator itself lacks what it takes.
    #[error("the coordinator cannot ask it: {0}")]
    Coordinator(String),
}

impl Coded for PowerError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::NoDriver { .. } => ErrorCode::NoPowerDriver,
            Self::PowerOffDisabled { .. } => ErrorCode::PowerOffDisabled,
            Self::Busy { .. } => ErrorCode::Conflict,
            Self::Timeout { .. } => ErrorCode::PowerTimeout,
            Self::Bmc { fault, .. } => match fault {
                Fault::Unreachable(_) => ErrorCode::BmcUnreachable,
                Fault::Unauthorized(_) => ErrorCode::BmcUnauthorized,
                Fault::Refused(_) | Fault::Conflict(_) => ErrorCode::BmcRefused,
                Fault::Failed(_) => ErrorCode::BmcFailed,
                Fault::BadAnswer(_) => ErrorCode::BmcBadAnswer,
                Fault::Coordinator(_) => ErrorCode::BadConfig,
            },
        }
    }
}

impl PowerError {
    /// Whether to ask again a little later may help.
    pub(super) fn may_pass(&self) -> bool {
        matches!(
            self,
            Self::Bmc { fault: Fault::Unreachable(_) | Fault::Failed(_) | Fault::BadAnswer(_), .. }
        )
    }
}
