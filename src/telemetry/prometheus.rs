//! The Prometheus recorder.

use std::net::SocketAddr;
use std::time::Duration;

use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder};
// What `install` returns, so that those who hold it need not name the exporter.
pub use metrics_exporter_prometheus::PrometheusHandle;

use super::names;

/// From the dispatch of a no-op to the erasing of a large disk.
const SECONDS_BUCKETS: &[f64] = &[
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0, 14400.0,
];

fn builder() -> Result<PrometheusBuilder, BuildError> {
    PrometheusBuilder::new().set_buckets_for_metric(Matcher::Suffix("_seconds".into()), SECONDS_BUCKETS)
}

/// Installs the recorder and returns the handle that renders what it holds. For a process that has a web server of its own;
/// call [`PrometheusHandle::run_upkeep`] now and then.
///
/// # Errors
/// When a recorder is installed already.
pub fn install() -> Result<PrometheusHandle, BuildError> {
    let handle = builder()?.install_recorder()?;
    names::describe();
    Ok(handle)
}

/// Installs the recorder and serves it at `http://<address>/metrics`. Needs a Tokio runtime.
///
/// # Errors
/// When a recorder is installed already or the address cannot be bound.
pub fn serve(address: SocketAddr) -> Result<(), BuildError> {
    builder()?.upkeep_timeout(Duration::from_secs(5)).with_http_listener(address).install()?;
    names::describe();
    Ok(())
}
