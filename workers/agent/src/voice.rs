//! What the agent says of itself: hello after every connection, heartbeats, and how far its operation is.

use std::sync::Arc;
use std::time::Duration;

use farrier::broker::{Broker, Outgoing, Status};
use farrier::wire::{Coded, Heartbeat, Hello, Progress, Verb};
use tokio::sync::Notify;
use tokio::time::{MissedTickBehavior, sleep};
use tracing::{debug, info, warn};

use crate::backoff::pause;
use crate::identity::{Identity, VERSION};
use crate::operation::Desk;

const PROGRESS_EVERY: Duration = Duration::from_secs(1);

/// Says hello after every connection, until it is confirmed.
pub(crate) async fn hello(identity: Identity, broker: Broker, desk: Desk, ramdisk: bool, can_power: bool) {
    let mut status = broker.status();
    loop {
        let mut tries = 0;
        while matches!(*status.borrow_and_update(), Status::Connected { .. }) {
            let event = identity.event(Hello {
                origin: identity.origin().clone(),
                hostname: identity.hostname().to_owned(),
                version: VERSION.to_owned(),
                started_at: identity.started_at(),
                state: desk.agent_state(),
                running: desk.operation().map(|operation| operation.reference),
                verbs: Verb::ALL.to_vec(),
                ramdisk,
                can_power,
            });
            match broker.publish(Outgoing::agent_event(&event, identity.origin())).await {
                Ok(()) => {
                    info!("Said hello.");
                    break;
                }
                Err(error) => {
                    warn!(error = %error.report(), "Hello was not confirmed; is a coordinator there?");
                    pause(tries).await;
                    tries += 1;
                }
            }
        }
        if status.changed().await.is_err() {
            return;
        }
    }
}

/// Says every `interval`, jittered by a fifth, what the agent does; at once when `beat` asks.
pub(crate) async fn heartbeat(
    identity: Identity,
    broker: Broker,
    desk: Desk,
    beat: Arc<Notify>,
    interval: Duration,
) {
    loop {
        let wait = interval.mul_f64(rand::random_range(0.8..=1.2));
        tokio::select! {
            () = sleep(wait) => {}
            () = beat.notified() => {}
        }
        let event = identity.event(Heartbeat {
            origin: identity.origin().clone(),
            version: VERSION.to_owned(),
            uptime_seconds: identity.uptime_seconds(),
            state: desk.agent_state(),
            running: desk.operation().map(|operation| operation.running()),
        });
        // The next one says it anew: a heartbeat that is lost is not sent again.
        if let Err(error) = broker.publish(Outgoing::agent_event(&event, identity.origin())).await {
            debug!(error = %error.report(), "A heartbeat was lost.");
        }
    }
}

/// Says once a second how far the running operation is, when that has changed.
pub(crate) async fn progress(identity: Identity, broker: Broker, desk: Desk) {
    loop {
        let operation = desk.occupied().await;
        let mut shown = operation.progress.subscribe();
        shown.mark_changed();
        let mut tick = tokio::time::interval(PROGRESS_EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = tick.tick() => {}
                () = desk.left(&operation) => break,
            }
            let changed = shown.has_changed().unwrap_or(false);
            let Some(progress) = shown.borrow_and_update().clone().filter(|_| changed) else { continue };
            let event = identity.event(Progress {
                origin: identity.origin().clone(),
                reference: operation.reference,
                sequence: operation.next_sequence(),
                progress,
            });
            if let Err(error) = broker.publish(Outgoing::agent_event(&event, identity.origin())).await {
                debug!(error = %error.report(), "Progress was lost.");
            }
        }
    }
}
