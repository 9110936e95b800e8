//! One life of the coordinator: its parts are started, watched, and stopped.

use anyhow::{Context as _, Result, bail};
use farrier::broker::{Broker, Role};
use farrier::telemetry::prometheus;
use futures_util::FutureExt as _;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::api::{self, Api};
use crate::conductor::{self, Conductor, Turns};
use crate::config::Config;
use crate::feed::Feed;
use crate::images::local::Local;
use crate::images::swift::Swift;
use crate::images::{self, Images};
use crate::power::Power;
use crate::store::{Bounds, Rules, Store};
use crate::{gauges, inbox, intake, relay, scheduler};

/// Runs the coordinator until `shutdown`, or until one of its parts ends by itself.
///
/// # Errors
/// When it cannot start, or a part has died: then the process shall end, and be started again by whoever started it.
pub async fn run(config: Config, shutdown: CancellationToken) -> Result<()> {
    let metrics = prometheus::install()?;
    let feed = Feed::new();
    let store = Store::open(&config.database, feed.clone(), config.vault)
        .await
        .with_context(|| format!("opening the store {}", config.database.display()))?;
    store.reseal().await.context("sealing the secrets in the store anew")?;
    let bounds = Bounds { lease: config.lease, accept: config.accept };
    let listener = api::bind(config.listen, config.listen_file.as_deref()).await?;
    let swift = farrier::blocking::run(move || config.glance.map(Swift::new).transpose()).await?;
    let (local, image_server) = Local::start(config.local, images::settings(), &store).await?;
    let images = Images::new(swift, local, config.image_proxies, config.image_download_source);
    let broker = Broker::start(config.broker, Role::Coordinator);
    let rules = Rules { auto_enroll: config.auto_enroll, lease: config.lease };

    let mut parts = JoinSet::new();
    parts.spawn(relay::run(store.clone(), broker.clone()));
    parts.spawn(intake::run(broker.clone(), store.clone()));
    parts.spawn(inbox::results(broker.clone(), store.clone(), rules));
    parts.spawn(inbox::telemetry(broker.clone(), store.clone(), rules));
    parts.spawn(scheduler::run(store.clone(), broker.clone(), bounds));
    let power = Power::new(config.power);
    let conductor = Conductor {
        store: store.clone(),
        broker: broker.clone(),
        images,
        power: power.clone(),
        bounds,
        off_within: config.off_within,
        turns: Turns::default(),
    };
    parts.spawn(conductor::run(conductor));
    parts.spawn(gauges::run(store.clone()));
    let api = Api {
        store: store.clone(),
        feed,
        broker: broker.clone(),
        power: power.clone(),
        metrics,
        shutdown: shutdown.clone(),
    };
    let mut servers = JoinSet::new();
    servers.spawn(api::serve(listener, api, config.token));
    if let Some(server) = image_server {
        servers.spawn(server.run(shutdown.clone()).map(Ok));
    }

    let fault = tokio::select! {
        // First: a server that was told to end may have done so by the time that this is looked at.
        biased;
        () = shutdown.cancelled() => None,
        ended = parts.join_next() => Some(format!("a part ended by itself: {ended:?}")),
        served = servers.join_next() => Some(format!("a server ended by itself: {served:?}")),
    };
    info!("shutting down");
    shutdown.cancel();
    while let Some(served) = servers.join_next().await {
        served.context("a server")?.context("a server")?;
    }
    // What was not acknowledged comes again, and what was not sent stands in the outbox.
    broker.close().await;
    parts.shutdown().await;
    power.close().await;
    store.close().await;
    match fault {
        Some(fault) => bail!("{fault}; this is a fault in Farrier"),
        None => Ok(()),
    }
}
