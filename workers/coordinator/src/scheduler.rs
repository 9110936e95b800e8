//! Sends commands as soon as they can be sent, and ends waits whose time is over.

use std::time::Duration;

use farrier::wire::Coded as _;
use tokio::time::{MissedTickBehavior, interval};
use tracing::error;

use crate::store::{Bounds, Store};

/// How often the time is looked at.
const TICK: Duration = Duration::from_millis(500);

/// Schedules, for ever.
pub(crate) async fn run(store: Store, bounds: Bounds) {
    let mut tick = interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let ticked = tokio::select! {
            _ = tick.tick() => true,
            () = store.schedule_wanted() => false,
        };
        if ticked && let Err(fault) = store.expire(&bounds).await {
            error!(error = %fault.report(), "waits cannot be ended; trying again");
        }
        if let Err(fault) = store.dispatch(&bounds).await {
            error!(error = %fault.report(), "commands cannot be written; trying again");
        }
    }
}
