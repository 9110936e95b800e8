//! `/v1/nodes/{node}/power`.

use aide::axum::ApiRouter;
use aide::axum::routing::get_with;
use axum::extract::State;
use farrier::wire::api::Node;
use farrier::wire::{ErrorCode, NodePower, PowerAction, PowerRequest};

use super::Api;
use super::exchange::{Answer, Body, Path};
use super::nodes::NodePath;
use super::problem::ApiError;
use crate::driver_info::{DriverInfo, PowerDriver};
use crate::power::{Machine, Persistence, PowerError};
use crate::store::StoreError;

pub(super) fn routes() -> ApiRouter<Api> {
    ApiRouter::new().api_route(
        "/v1/nodes/{node}/power",
        get_with(show, |operation| {
            operation
                .id("showPower")
                .tag("nodes")
                .summary("Asks the management controller of a node for its power")
                .description("A node whose driver info names no management controller is a conflict.")
        })
        .post_with(switch, |operation| {
            operation
                .id("switchPower")
                .tag("nodes")
                .summary("Switches the power of a node")
                .description(
                    "Answers when the management controller reports the state that was wished, or has not within the bounds of the \
                     configuration, and goes on when the client goes away. Switching off a node that a job is busy with is a \
                     conflict, unless `force` says otherwise.",
                )
        }),
    )
}

/// A node that can be switched.
struct Switched {
    node: Node,
    machine: Machine,
    driver: &'static str,
}

impl Switched {
    async fn find(api: &Api, node: &str) -> Result<Self, ApiError> {
        let node = api.store.nodes().get(node).await?;
        let info = api.store.nodes().driver_info(&node.id.to_string()).await?;
        let info = DriverInfo::read(&info).map_err(StoreError::from)?;
        let machine = api.power.of(node.id, &info)?;
        let driver = info.power.as_ref().map_or("none", PowerDriver::name);
        Ok(Self { node, machine, driver })
    }

    async fn look(&self) -> Result<NodePower, PowerError> {
        let state = self.machine.state().await?;
        let boot_device = self.machine.boot_device().await?;
        Ok(NodePower { state, driver: self.driver.to_owned(), boot_device })
    }
}

async fn show(
    State(api): State<Api>,
    Path(path): Path<NodePath>,
) -> Result<Answer<200, NodePower>, ApiError> {
    Ok(Answer(Switched::find(&api, &path.node).await?.look().await?))
}

async fn switch(
    State(api): State<Api>,
    Path(path): Path<NodePath>,
    Body(request): Body<PowerRequest>,
) -> Result<Answer<200, NodePower>, ApiError> {
    let PowerRequest { action, boot_device, persistent, force } = request;
    if persistent && boot_device.is_none() {
        return Err(ApiError::field("persistent", "there is no `boot_device` that it could be about"));
    }
    let switched = Switched::find(&api, &path.node).await?;
    if let (Some(job), false, false) = (switched.node.job, force, action == PowerAction::On) {
        return Err(ApiError::new(
            ErrorCode::Conflict,
            format!(
                "node {} is busy with job {job}, which would end in the middle of its work; cancel it first, or say `force`",
                path.node
            ),
        ));
    }
    let persistence = if persistent { Persistence::Persistent } else { Persistence::Once };
    let boot = boot_device.map(|device| (device, persistence));
    let done = async move {
        switched.machine.carry_out(action, boot).await?;
        switched.look().await
    };
    Ok(Answer(api.power.to_its_end(done).await?))
}
