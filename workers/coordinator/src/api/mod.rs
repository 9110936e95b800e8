//! The HTTP API under `/v1`, with `/healthz`, `/readyz` and `/metrics` beside it. One file a resource.
//!
//! Handlers read a request, ask the store or the broker, and answer; errors become problems in [`problem`], and nowhere else.

mod auth;
mod dead;
mod events;
mod exchange;
mod health;
mod images;
mod jobs;
mod nodes;
mod openapi;
mod power;
pub(crate) mod problem;
mod query;

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use aide::axum::ApiRouter;
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::from_fn_with_state;
use farrier::broker::Broker;
use farrier::telemetry::prometheus::PrometheusHandle;
use secrecy::SecretString;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

pub use openapi::openapi;

use crate::feed::Feed;
use crate::listen;
pub use crate::listen::BindError;
use crate::power::Power;
use crate::store::Store;

/// How long requests that are being answered may take after the server was told to stop.
const DRAIN: Duration = Duration::from_secs(5);
/// How often the metrics recorder tidies up. Without it, histograms grow for as long as nobody scrapes them.
const METRICS_UPKEEP: Duration = Duration::from_secs(5);

/// What handlers work with.
#[derive(Clone)]
#[expect(missing_debug_implementations, reason = "the handles in it have none")]
pub struct Api {
    /// Nodes and jobs.
    pub store: Store,
    /// What happens.
    pub feed: Feed,
    /// The broker, for dead letters and readiness.
    pub broker: Broker,
    /// The power of nodes.
    pub power: Power,
    /// The metrics.
    pub metrics: PrometheusHandle,
    /// Ends the server and the event streams.
    pub shutdown: CancellationToken,
}

/// Every route, ready to be served. `token` is what requests must carry, except for health and metrics.
pub fn router(api: Api, token: Option<SecretString>) -> Router {
    openapi::with_document(|| routes(auth::Guard::new(token)))
        .fallback(problem::not_found)
        .method_not_allowed_fallback(problem::method_not_allowed)
        .layer(DefaultBodyLimit::max(exchange::LARGEST_BODY))
        .with_state(api)
}

fn routes(guard: auth::Guard) -> ApiRouter<Api> {
    nodes::routes()
        .merge(power::routes())
        .merge(jobs::routes())
        .merge(images::routes())
        .merge(events::routes())
        .merge(dead::routes())
        .merge(openapi::routes())
        .layer(from_fn_with_state(guard, auth::guard))
        .merge(health::routes())
}

/// Binds the address, and writes the one that was bound to `listen_file`, whole or not at all.
///
/// # Errors
/// [`BindError`].
pub async fn bind(address: SocketAddr, listen_file: Option<&Path>) -> Result<TcpListener, BindError> {
    let (listener, bound) = listen::bind("listen", address, listen_file).await?;
    tracing::info!("the API listens on http://{bound}");
    Ok(listener)
}

/// Serves the API until `api.shutdown`, then answers what is being asked for at most five seconds more.
///
/// # Errors
/// When the listener fails.
pub async fn serve(listener: TcpListener, api: Api, token: Option<SecretString>) -> io::Result<()> {
    let (shutdown, metrics) = (api.shutdown.clone(), api.metrics.clone());
    let server =
        axum::serve(listener, router(api, token)).with_graceful_shutdown(shutdown.clone().cancelled_owned());
    let overdue = async {
        shutdown.cancelled().await;
        tokio::time::sleep(DRAIN).await;
    };
    tokio::select! {
        served = server.into_future() => served,
        () = keep_up(metrics) => Ok(()),
        () = overdue => {
            tracing::warn!("requests were still being answered {DRAIN:?} after the shutdown began; they are cut off");
            Ok(())
        }
    }
}

async fn keep_up(metrics: PrometheusHandle) {
    let mut tick = tokio::time::interval(METRICS_UPKEEP);
    loop {
        tick.tick().await;
        metrics.run_upkeep();
    }
}
