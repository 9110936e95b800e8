//! `/healthz`, `/readyz` and `/metrics`: open to everybody, since they tell nothing about a node or a job.

use aide::axum::ApiRouter;
use aide::axum::routing::get_with;
use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use farrier::broker::Status;
use farrier::wire::api::Readiness;
use farrier::wire::{Coded as _, ErrorCode, ErrorReport};

use super::Api;

/// The text format of Prometheus.
const METRICS_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

pub(super) fn routes() -> ApiRouter<Api> {
    ApiRouter::new()
        .api_route(
            "/healthz",
            get_with(alive, |operation| {
                operation
                    .id("alive")
                    .tag("health")
                    .summary("Whether the process runs")
                    .description("Always 200.")
            }),
        )
        .api_route(
            "/readyz",
            get_with(ready, |operation| {
                operation
                    .id("ready")
                    .tag("health")
                    .summary("Whether the broker is connected and the store can be written")
                    .response::<200, Json<Readiness>>()
                    .response::<503, Json<Readiness>>()
            }),
        )
        .api_route(
            "/metrics",
            get_with(metrics, |operation| {
                operation
                    .id("metrics")
                    .tag("health")
                    .summary("Metrics for Prometheus")
                    .response::<200, String>()
            }),
        )
}

async fn alive() -> &'static str {
    "ok\n"
}

async fn ready(State(api): State<Api>) -> Response {
    let broker = broker_trouble(&api.broker.status().borrow());
    let store = api.store.check().await.err().map(|error| error.report());
    let ready = broker.is_none() && store.is_none();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(Readiness { ready, broker, store })).into_response()
}

fn broker_trouble(status: &Status) -> Option<ErrorReport> {
    match status {
        Status::Connected { .. } => None,
        Status::Connecting { error: Some(error), .. } => Some(error.clone()),
        Status::Connecting { error: None, .. } | Status::Closed => {
            Some(ErrorReport::new(ErrorCode::BrokerUnavailable, "not connected to the broker"))
        }
    }
}

async fn metrics(State(api): State<Api>) -> impl aide::axum::IntoApiResponse {
    ([(header::CONTENT_TYPE, METRICS_TYPE)], api.metrics.render()).into_response()
}
