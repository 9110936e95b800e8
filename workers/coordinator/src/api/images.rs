//! `/v1/images`: the catalogue.

use aide::axum::ApiRouter;
use aide::axum::routing::get_with;
use axum::Json;
use axum::extract::State;
use axum::response::NoContent;
use farrier::wire::ErrorCode;
use farrier::wire::api::{Image, ImageEntry, Page};
use schemars::JsonSchema;
use serde::Deserialize;
use uuid::Uuid;

use super::Api;
use super::exchange::{Answer, Body, Path, Query, Stored};
use super::problem::ApiError;
use super::query::ImageQuery;

#[derive(Deserialize, JsonSchema)]
struct ImagePath {
    /// The UUID of the image.
    image: String,
}

impl ImagePath {
    fn id(&self) -> Result<Uuid, ApiError> {
        self.image.parse().map_err(|_| {
            ApiError::new(
                ErrorCode::ImageNotFound,
                format!("there is no image {:?}: images are named by their UUID", self.image),
            )
        })
    }
}

pub(super) fn routes() -> ApiRouter<Api> {
    ApiRouter::new()
        .api_route(
            "/v1/images",
            get_with(list, |operation| operation.id("listImages").tag("images").summary("Lists the catalogue")),
        )
        .api_route(
            "/v1/images/{image}",
            get_with(show, |operation| operation.id("showImage").tag("images").summary("Shows an image"))
                .put_with(put, |operation| {
                    operation
                        .id("putImage")
                        .tag("images")
                        .summary("Registers an image, or replaces its entry")
                        .description(
                            "A deploy whose `image_source` is this UUID takes from here where the image is, its checksum and its \
                             format, as far as its own spec does not say. 201 when it is new, 200 when an entry was replaced.",
                        )
                        .response::<200, Json<Image>>()
                })
                .delete_with(delete, |operation| {
                    operation
                        .id("deleteImage")
                        .tag("images")
                        .summary("Forgets an image")
                        .description("Only the entry is deleted: the image itself stays where it is.")
                }),
        )
}

async fn list(
    State(api): State<Api>,
    Query(query): Query<ImageQuery>,
) -> Result<Answer<200, Page<Image>>, ApiError> {
    Ok(Answer(api.store.images().list(query.limit()?, query.after).await?))
}

async fn show(State(api): State<Api>, Path(path): Path<ImagePath>) -> Result<Answer<200, Image>, ApiError> {
    Ok(Answer(api.store.images().get(path.id()?).await?))
}

async fn put(
    State(api): State<Api>,
    Path(path): Path<ImagePath>,
    Body(entry): Body<ImageEntry>,
) -> Result<Stored<Image>, ApiError> {
    let (image, created) = api.store.images().put(path.id()?, &entry).await?;
    Ok(Stored { created, location: format!("/v1/images/{}", image.id), body: image })
}

async fn delete(State(api): State<Api>, Path(path): Path<ImagePath>) -> Result<NoContent, ApiError> {
    api.store.images().delete(path.id()?).await?;
    Ok(NoContent)
}
