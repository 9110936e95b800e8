//! Sends commands as soon as they can be sent, and ends waits whose time is over.
//!
//! Without the broker nobody is heard. Silence then proves nothing, and commands would only grow old in the outbox: nothing is
//! sent or ended but by a deadline, and when the broker is back everybody has the time of a lease to speak.

use std::time::Duration;

use farrier::broker::{Broker, Status};
use farrier::wire::Coded as _;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};
use tracing::error;

use crate::store::{Bounds, Store, StoreError};

/// How often the time is looked at.
const TICK: Duration = Duration::from_millis(500);

/// Schedules, for ever.
pub(crate) async fn run(store: Store, broker: Broker, bounds: Bounds) {
    let status = broker.status();
    let mut hearing = Hearing::No;
    let mut tick = interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let ticked = tokio::select! {
            _ = tick.tick() => true,
            () = store.schedule_wanted() => false,
        };
        if let Err(fault) = round(&store, &status, &mut hearing, &bounds, ticked).await {
            error!(error = %fault.report(), "commands cannot be written, or waits not ended; trying again");
        }
    }
}

/// Whether agents can be heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hearing {
    No,
    Yes,
}

async fn round(
    store: &Store,
    status: &watch::Receiver<Status>,
    hearing: &mut Hearing,
    bounds: &Bounds,
    ticked: bool,
) -> Result<(), StoreError> {
    if !matches!(*status.borrow(), Status::Connected { .. }) {
        *hearing = Hearing::No;
        return if ticked { store.expire_deadlines(bounds).await } else { Ok(()) };
    }
    if *hearing == Hearing::No {
        store.renew_all(bounds).await?;
        *hearing = Hearing::Yes;
    }
    if ticked {
        store.expire(bounds).await?;
    }
    store.dispatch(bounds).await.map(drop)
}
