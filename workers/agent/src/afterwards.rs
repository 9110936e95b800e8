//! What an agent does when its work has succeeded and the power of its machine is to be switched.
//!
//! Everything is on the media by then: that was the last step of the work. The result is confirmed before the machine goes.

use std::time::Duration;

use farrier::wire::{Afterwards, CommandRef};
use tokio::time::timeout;
use tracing::{info, warn};

use crate::journal::Journal;
use crate::machine::{Machine, Patience, Power};
use crate::outbox::Outbox;

/// How long the broker may take to confirm the result before somebody should look at it.
const CONFIRMED_WITHIN: Duration = Duration::from_secs(60);

/// What is done to the power, if anything.
pub(crate) fn power(afterwards: Afterwards) -> Option<Power> {
    match afterwards {
        Afterwards::PowerOff => Some(Power::Off),
        Afterwards::Reboot => Some(Power::Reboot),
        // A command with a word that is not known is refused before it begins.
        Afterwards::Stay | Afterwards::Flush | Afterwards::Unknown => None,
    }
}

/// Switches the power once every result is confirmed. Returns where that has no effect: the agent then stays as it is, takes no
/// command and goes on with its heartbeats, and the coordinator has to switch.
pub(crate) async fn switch(
    power: Power,
    command: CommandRef,
    machine: &Machine,
    outbox: &Outbox,
    journal: &Journal,
) {
    // A result is not given up: without the broker the machine stays on.
    while timeout(CONFIRMED_WITHIN, outbox.flushed()).await.is_err() {
        warn!(power = power.as_str(), "The result is not confirmed yet; the power is not switched before.");
    }
    info!(job = %command.job, power = power.as_str(), "The result is confirmed; the power is switched.");
    let still_here = machine.switch(power, Patience::default()).await;
    let error = anyhow::Error::new(still_here);
    warn!(job = %command.job, error = format!("{error:#}"), "The power was not switched.");
    journal.warn(command, format!("the power was not switched: {error:#}"));
}
