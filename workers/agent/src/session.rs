//! One life of the agent: its parts are started, watched, and drained.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use farrier::broker::{Broker, Role};
use farrier::disk::Access;
use farrier::telemetry;
use farrier::wire::{BootId, Origin};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::{info, warn};

use crate::config::Config;
use crate::identity::{Identity, VERSION};
use crate::journal;
use crate::machine::Machine;
use crate::mailbox::Mailbox;
use crate::operation::Desk;
use crate::outbox::{self, Outbox};
use crate::runner::{self, Means};
use crate::voice;

/// How long a cancelled operation and then the outbox have to end while draining.
const LAST_WORDS: Duration = Duration::from_secs(30);

/// Runs the agent until it is told to end, or one of its parts ends by itself.
///
/// # Errors
/// When it cannot start, or a part has died: then the process shall end, and be started again by whoever started it.
pub async fn run(config: Config) -> Result<()> {
    let mut stop = Stop::new()?;
    let access = Access::detect(config.lab_disks.clone())?;
    if let Some(address) = config.metrics_listen {
        telemetry::prometheus::serve(address).with_context(|| format!("serving metrics at {address}"))?;
        info!(%address, "Metrics are served.");
    }
    let origin = Origin { node: config.node, site: config.site, rack: config.rack, boot_id: BootId::new() };
    info!(node = %origin.node, site = origin.site, rack = origin.rack, boot = %origin.boot_id, version = VERSION,
          ramdisk = access.is_ramdisk(), "Starting.");
    let identity = Identity::new(origin, farrier::hardware::hostname());
    let broker = Broker::start(config.broker, Role::Agent);
    let desk = Desk::new();
    let (outbox, unsent) = outbox::outbox();
    let beat = Arc::new(Notify::new());
    let (begin, begun) = mpsc::channel(1);

    let (journal, unsaid) = journal::journal();
    let machine = Machine::of(config.power_command, &access);
    let can_power = machine.can_power();
    let means = Means {
        access: access.clone(),
        images: config.images,
        machine,
        broker: broker.clone(),
        journal: journal.clone(),
    };
    let mut parts = JoinSet::new();
    parts.spawn(outbox::run(unsent, identity.clone(), broker.clone()));
    parts.spawn(journal::run(unsaid, identity.clone(), broker.clone()));
    parts.spawn(runner::run(begun, identity.clone(), means, desk.clone(), outbox.clone()));
    let ramdisk = access.is_ramdisk();
    parts.spawn(voice::hello(identity.clone(), broker.clone(), desk.clone(), ramdisk, can_power));
    parts.spawn(voice::progress(identity.clone(), broker.clone(), desk.clone()));
    let interval = config.heartbeat;
    parts.spawn(voice::heartbeat(
        identity.clone(),
        broker.clone(),
        desk.clone(),
        Arc::clone(&beat),
        interval,
    ));
    let mailbox = Mailbox {
        identity,
        broker: broker.clone(),
        desk: desk.clone(),
        outbox: outbox.clone(),
        journal,
        begin,
        beat,
    };
    parts.spawn(mailbox.run());

    tokio::select! {
        ended = parts.join_next() => {
            let how = ended.map_or_else(|| "none was running".to_owned(), |end| format!("{end:?}"));
            bail!("a part of the agent ended by itself ({how}); this is a fault in Farrier");
        }
        () = stop.asked() => {}
    }
    drain(&desk, &outbox, &mut stop, config.drain).await;
    broker.close().await;
    parts.shutdown().await;
    Ok(())
}

/// Lets nothing begin, lets what runs end within `bound`, and then sends every result. A second signal cancels what runs.
async fn drain(desk: &Desk, outbox: &Outbox, stop: &mut Stop, bound: Duration) {
    desk.drain();
    info!(bound_seconds = bound.as_secs(), "Draining: no command is taken any more.");
    let in_time = tokio::select! {
        ended = timeout(bound, desk.cleared()) => ended.is_ok(),
        () = stop.asked() => false,
    };
    if !in_time && let Some(operation) = desk.operation() {
        warn!(job = %operation.reference.job, "It did not end in time: cancelled.");
        operation.cancel.cancel();
        if timeout(LAST_WORDS, desk.cleared()).await.is_err() {
            warn!(
                "It does not stop; the agent ends without its result, and the coordinator will see it interrupted."
            );
        }
    }
    if timeout(LAST_WORDS, outbox.flushed()).await.is_err() {
        warn!("Results were not confirmed in time; the coordinator will see them interrupted.");
    }
}

/// The signals that end the agent.
#[derive(Debug)]
struct Stop {
    terminate: Signal,
    interrupt: Signal,
}

impl Stop {
    fn new() -> Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn asked(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
