//! `/v1/nodes`.

use aide::axum::ApiRouter;
use aide::axum::routing::get_with;
use axum::extract::State;
use axum::response::NoContent;
use farrier::wire::api::{Node, NodeChange, NodeCreate, NodeInventory, Page};
use schemars::JsonSchema;
use serde::Deserialize;

use super::Api;
use super::exchange::{Answer, Body, Path, Query};
use super::problem::ApiError;
use super::query::NodeQuery;

#[derive(Deserialize, JsonSchema)]
pub(super) struct NodePath {
    /// The UUID or the name of the node.
    pub(super) node: String,
}

pub(super) fn routes() -> ApiRouter<Api> {
    ApiRouter::new()
        .api_route(
            "/v1/nodes",
            get_with(list, |operation| operation.id("listNodes").tag("nodes").summary("Lists nodes")).post_with(
                enrol,
                |operation| {
                    operation.id("enrolNode").tag("nodes").summary("Enrols a node").description(
                        "The node may have been discovered, or never seen. A node that is enrolled already is a conflict.",
                    )
                },
            ),
        )
        .api_route(
            "/v1/nodes/{node}",
            get_with(show, |operation| operation.id("showNode").tag("nodes").summary("Shows a node"))
                .patch_with(change, |operation| {
                    operation
                        .id("changeNode")
                        .tag("nodes")
                        .summary("Changes a node")
                        .description("What is absent stays as it is. Does not enrol a discovered node.")
                })
                .delete_with(delete, |operation| {
                    operation
                        .id("deleteNode")
                        .tag("nodes")
                        .summary("Forgets a node")
                        .description("Its jobs and its queue go with it. A node with a job that has not ended is a conflict.")
                }),
        )
        .api_route(
            "/v1/nodes/{node}/inventory",
            get_with(inventory, |operation| {
                operation
                    .id("showInventory")
                    .tag("nodes")
                    .summary("Shows what a node is made of")
                    .description("As its newest successful `inspect` found it; 404 when there was none.")
            }),
        )
}

async fn list(
    State(api): State<Api>,
    Query(query): Query<NodeQuery>,
) -> Result<Answer<200, Page<Node>>, ApiError> {
    Ok(Answer(api.store.nodes().list(query.filter()?).await?))
}

async fn enrol(State(api): State<Api>, Body(node): Body<NodeCreate>) -> Result<Answer<201, Node>, ApiError> {
    Ok(Answer(api.store.nodes().enrol(node).await?))
}

async fn show(State(api): State<Api>, Path(path): Path<NodePath>) -> Result<Answer<200, Node>, ApiError> {
    Ok(Answer(api.store.nodes().get(&path.node).await?))
}

async fn change(
    State(api): State<Api>,
    Path(path): Path<NodePath>,
    Body(change): Body<NodeChange>,
) -> Result<Answer<200, Node>, ApiError> {
    Ok(Answer(api.store.nodes().change(&path.node, change).await?))
}

async fn delete(State(api): State<Api>, Path(path): Path<NodePath>) -> Result<NoContent, ApiError> {
    api.store.nodes().delete(&path.node).await?;
    Ok(NoContent)
}

async fn inventory(
    State(api): State<Api>,
    Path(path): Path<NodePath>,
) -> Result<Answer<200, NodeInventory>, ApiError> {
    Ok(Answer(api.store.nodes().inventory(&path.node).await?))
}
