//! `/v1/jobs`.

use aide::axum::ApiRouter;
use aide::axum::routing::{get_with, post_with};
use axum::Json;
use axum::extract::State;
use farrier::wire::api::{Job, JobCancel, JobSubmitted, Page};
use farrier::wire::{ErrorCode, JobId, JobRequest};
use schemars::JsonSchema;
use serde::Deserialize;

use super::Api;
use super::exchange::{Answer, Body, OptionalBody, Path, Query, Stored};
use super::problem::ApiError;
use super::query::JobQuery;

/// Who asked, for jobs that come this way.
const SUBMITTED_BY: &str = "http";

#[derive(Deserialize, JsonSchema)]
struct JobPath {
    /// The UUID of the job.
    job: String,
}

impl JobPath {
    fn id(&self) -> Result<JobId, ApiError> {
        self.job.parse().map_err(|_| {
            ApiError::new(
                ErrorCode::UnknownJob,
                format!("there is no job {:?}: jobs are named by their UUID", self.job),
            )
        })
    }
}

pub(super) fn routes() -> ApiRouter<Api> {
    ApiRouter::new()
        .api_route(
            "/v1/jobs",
            get_with(list, |operation| {
                operation
                    .id("listJobs")
                    .tag("jobs")
                    .summary("Lists jobs, the newest first")
                    .description("Without their attempts.")
            })
            .post_with(submit, |operation| {
                operation
                    .id("submitJob")
                    .tag("jobs")
                    .summary("Submits a job")
                    .description(
                        "201 when it is new; 200 when a job with the same idempotency key or the same UUID and the same request \
                         was there already. The same key with another request is a conflict, and so is a node that is not enrolled.",
                    )
                    .response::<200, Json<JobSubmitted>>()
            }),
        )
        .api_route(
            "/v1/jobs/{job}",
            get_with(show, |operation| {
                operation.id("showJob").tag("jobs").summary("Shows a job with its attempts and their steps")
            }),
        )
        .api_route(
            "/v1/jobs/{job}/cancel",
            post_with(cancel, |operation| {
                operation
                    .id("cancelJob")
                    .tag("jobs")
                    .summary("Cancels a job")
                    .description(
                        "At once when it is queued; otherwise the agent is told to stop, and the job is `cancelling` until it has. \
                         A job that has ended already is a conflict.",
                    )
            }),
        )
}

async fn list(
    State(api): State<Api>,
    Query(query): Query<JobQuery>,
) -> Result<Answer<200, Page<Job>>, ApiError> {
    Ok(Answer(api.store.jobs().list(query.filter()?).await?))
}

async fn submit(
    State(api): State<Api>,
    Body(request): Body<JobRequest>,
) -> Result<Stored<JobSubmitted>, ApiError> {
    let (job, created) = api.store.jobs().submit(request, SUBMITTED_BY).await?;
    let location = format!("/v1/jobs/{}", job.id);
    Ok(Stored { created, location, body: JobSubmitted { job, created } })
}

async fn show(State(api): State<Api>, Path(path): Path<JobPath>) -> Result<Answer<200, Job>, ApiError> {
    Ok(Answer(api.store.jobs().get(path.id()?).await?))
}

async fn cancel(
    State(api): State<Api>,
    Path(path): Path<JobPath>,
    OptionalBody(cancel): OptionalBody<JobCancel>,
) -> Result<Answer<202, Job>, ApiError> {
    Ok(Answer(api.store.jobs().cancel(path.id()?, cancel.reason).await?))
}
