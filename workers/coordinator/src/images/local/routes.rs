//! What the image server answers: published images by their content, and nothing else.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::http::Uri;
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use farrier::telemetry::names;
use farrier::wire::{Coded as _, ErrorCode, HttpUrl, ImageUrl};
use metrics::counter;

use super::content::Content;
use super::{Local, LocalError, ranges};
use crate::api::problem::{ApiError, method_not_allowed};
use crate::store::Store;

const IMAGES: &str = "images";
/// Hex digits of a SHA-256.
const DIGITS: usize = 64;

/// What images are served with.
#[derive(Clone, Debug)]
pub(super) struct Images {
    pub(super) local: Local,
    pub(super) store: Store,
}

pub(super) fn router(images: Images) -> Router {
    Router::new()
        .route(&format!("/{IMAGES}/{{sha256}}"), get(image))
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(from_fn(count))
        .with_state(images)
}

/// The URL of a content.
pub(super) fn url_of(base: &HttpUrl, sha256: &str) -> ImageUrl {
    let mut url = base.expose().clone();
    if let Ok(mut path) = url.path_segments_mut() {
        path.pop_if_empty().extend([IMAGES, sha256]);
    }
    // It has the scheme that it had.
    HttpUrl::new(url).unwrap_or_else(|_| base.clone()).into()
}

async fn count(request: Request, next: Next) -> Response {
    let response = next.run(request).await;
    counter!(names::IMAGE_REQUESTS, "status" => response.status().as_str().to_owned()).increment(1);
    response
}

async fn image(
    State(images): State<Images>,
    sha256: Result<Path<String>, PathRejection>,
    mut request: Request,
) -> Result<Response, ApiError> {
    // What is no text names no image either.
    let Ok(Path(sha256)) = sha256 else { return Err(not_found(request.uri().clone()).await) };
    let content = images.find(&sha256).await?;
    ranges::make_plain(request.headers_mut(), content.identity.length());
    Ok(http_serve::serve(content, &request).map(Body::new).into_response())
}

async fn not_found(uri: Uri) -> ApiError {
    ApiError::new(
        ErrorCode::NotFound,
        format!("there is no image at {}; nothing else is served here", uri.path()),
    )
}

impl Images {
    /// Opens a file of this content. Those that are another one by now are published no more.
    async fn find(&self, sha256: &str) -> Result<Content, ApiError> {
        let is_digest = sha256.len() == DIGITS && sha256.bytes().all(|byte| byte.is_ascii_hexdigit());
        let files = if is_digest { self.store.published_as(sha256).await? } else { Vec::new() };
        let mut failure = ApiError::new(ErrorCode::NotFound, format!("no image {sha256} is published here"));
        for file in files {
            match self.local.open_published(&file).await {
                Ok((opened, identity, hold)) if identity.to_string() == file.identity => {
                    let (file, sha256) = (opened.into(), file.sha256);
                    return Ok(Content { file, identity, sha256, _hold: hold.map(Arc::new) });
                }
                Ok(_) | Err(LocalError::NotFound { .. }) => {
                    tracing::warn!(path = %file.path.display(), sha256, "a published file is another one now, and is served no more");
                    self.store.unpublish(&file).await?;
                    failure = ApiError::new(
                        ErrorCode::ImageReplaced,
                        "the file with this image has been replaced since its URL was made; ask for a new URL",
                    );
                }
                // Not a path of this coordinator, or not any more.
                Err(LocalError::NotAllowed { .. }) => {}
                Err(error) => {
                    let error = error.report();
                    // Where files lie is nobody's business who may fetch an image.
                    tracing::warn!(%error, sha256, "a published file cannot be served");
                    failure = ApiError::new(error.code, "the file with this image cannot be read now");
                }
            }
        }
        Err(failure)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_url_lies_below_what_nodes_reach_the_server_by() {
        for (base, expected) in [
            ("http://10.0.0.1:8480", "http://10.0.0.1:8480/images/ab"),
            ("https://images.example/farrier/", "https://images.example/farrier/images/ab"),
            ("https://images.example/a/b", "https://images.example/a/b/images/ab"),
        ] {
            assert_eq!(url_of(&base.parse().unwrap(), "ab").expose().as_str(), expected);
        }
    }
}
