//! `/v1/dead`: messages that nobody could process.

use aide::axum::ApiRouter;
use aide::axum::routing::{get_with, post_with};
use axum::extract::State;
use axum::response::NoContent;
use farrier::broker;
use farrier::wire::api::{DeadLetter, Page};
use schemars::JsonSchema;
use serde::Deserialize;

use super::Api;
use super::exchange::{Answer, Path, Query};
use super::problem::ApiError;
use super::query::DeadQuery;

#[derive(Deserialize, JsonSchema)]
struct DeadPath {
    /// The `id` of the message in the list.
    id: String,
}

pub(super) fn routes() -> ApiRouter<Api> {
    ApiRouter::new()
        .api_route(
            "/v1/dead",
            get_with(list, |operation| {
                operation
                    .id("listDead")
                    .tag("dead")
                    .summary("Lists the messages that nobody could process")
                    .description("With the reason of each. They stay where they are.")
            }),
        )
        .api_route(
            "/v1/dead/{id}/requeue",
            post_with(requeue, |operation| {
                operation
                    .id("requeueDead")
                    .tag("dead")
                    .summary("Sends a message again to where it was sent first")
                    .description("For a message that is fit now: a node has been enrolled, a reader has learnt its type.")
            }),
        )
}

async fn list(
    State(api): State<Api>,
    Query(query): Query<DeadQuery>,
) -> Result<Answer<200, Page<DeadLetter>>, ApiError> {
    let letters = api.broker.get_dead(query.limit()?).await?;
    Ok(Answer(Page { items: letters.into_iter().map(shown).collect(), next: None }))
}

async fn requeue(State(api): State<Api>, Path(path): Path<DeadPath>) -> Result<NoContent, ApiError> {
    api.broker.requeue_dead(&path.id).await?;
    Ok(NoContent)
}

fn shown(letter: broker::DeadLetter) -> DeadLetter {
    DeadLetter {
        id: letter.id,
        code: letter.code,
        reason: letter.reason,
        exchange: letter.exchange,
        routing_key: letter.routing_key,
        kind: letter.kind,
        user_id: letter.user_id,
        at: letter.at,
        body: String::from_utf8_lossy(&letter.body).into_owned(),
    }
}
