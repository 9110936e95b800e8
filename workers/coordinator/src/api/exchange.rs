//! What handlers take and give: axum's extractors and answers, with problems for errors and a description for OpenAPI.

use std::time::Duration;

use aide::generate::GenContext;
use aide::openapi::{Operation, Response as Described, StatusCode as DescribedStatus};
use aide::{OperationInput, OperationOutput};
use axum::Json;
use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use farrier::wire::api::{ImageEntry, JobCancel, NodeChange, NodeCreate};
use farrier::wire::envelope::{from_value, schema_error};
use farrier::wire::{DecodeError, ErrorCode, JobRequest, PowerRequest};
use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::timeout;

use super::problem::ApiError;

/// The largest body that is read, in bytes.
pub(super) const LARGEST_BODY: usize = 1 << 20;
/// The longest that a body may take.
const SLOWEST_BODY: Duration = Duration::from_secs(30);

/// What may be the body of a request.
pub(super) trait FromBody: Sized {
    /// Reads it, naming the field at fault.
    fn from_body(value: Value) -> Result<Self, DecodeError>;
}

macro_rules! from_body {
    ($($body:ty),*) => {
        $(impl FromBody for $body {
            fn from_body(value: Value) -> Result<Self, DecodeError> {
                from_value("", value)
            }
        })*
    };
}
from_body!(NodeCreate, NodeChange, PowerRequest, JobCancel);

impl FromBody for ImageEntry {
    fn from_body(value: Value) -> Result<Self, DecodeError> {
        Self::from_json(value)
    }
}

impl FromBody for JobRequest {
    fn from_body(value: Value) -> Result<Self, DecodeError> {
        Self::from_json(value)
    }
}

/// A JSON body.
pub(super) struct Body<T>(pub(super) T);

/// A JSON body that may be absent.
pub(super) struct OptionalBody<T>(pub(super) T);

impl<S: Send + Sync, T: FromBody> FromRequest<S> for Body<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let (headers, bytes) = read(request, state).await?;
        decode(&headers, &bytes).map(Self)
    }
}

impl<S: Send + Sync, T: FromBody + Default> FromRequest<S> for OptionalBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let (headers, bytes) = read(request, state).await?;
        if bytes.is_empty() { Ok(Self(T::default())) } else { decode(&headers, &bytes).map(Self) }
    }
}

async fn read<S: Send + Sync>(request: Request, state: &S) -> Result<(HeaderMap, Bytes), ApiError> {
    let headers = request.headers().clone();
    let early = |reason: &str| ApiError::new(ErrorCode::NotJson, format!("the body ended early: {reason}"));
    let bytes = timeout(SLOWEST_BODY, Bytes::from_request(request, state))
        .await
        .map_err(|_| early(&format!("it had not come within {SLOWEST_BODY:?}")))?
        .map_err(|rejection| match rejection.status() {
            StatusCode::PAYLOAD_TOO_LARGE => ApiError::new(
                ErrorCode::BodyTooLarge,
                format!("the body is larger than the {LARGEST_BODY} bytes that are read"),
            ),
            _ => early(&rejection.body_text()),
        })?;
    Ok((headers, bytes))
}

fn decode<T: FromBody>(headers: &HeaderMap, bytes: &[u8]) -> Result<T, ApiError> {
    if !is_json(headers) {
        return Err(ApiError::new(
            ErrorCode::NotDeclaredJson,
            "the body is not declared as JSON: send it with `Content-Type: application/json`",
        ));
    }
    let value = serde_json::from_slice(bytes).map_err(|error| {
        ApiError::new(ErrorCode::NotJson, format!("the body is not JSON: {error}; send a JSON object"))
    })?;
    Ok(T::from_body(value)?)
}

/// `application/json`, or a type that is JSON underneath, with parameters or without.
fn is_json(headers: &HeaderMap) -> bool {
    let declared =
        headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let kind = declared.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    kind == "application/json" || (kind.starts_with("application/") && kind.ends_with("+json"))
}

impl<T: JsonSchema> OperationInput for Body<T> {
    fn operation_input(context: &mut GenContext, operation: &mut Operation) {
        Json::<T>::operation_input(context, operation);
    }
}

impl<T: JsonSchema> OperationInput for OptionalBody<T> {
    fn operation_input(context: &mut GenContext, operation: &mut Operation) {
        Json::<T>::operation_input(context, operation);
        if let Some(body) = operation.request_body.as_mut().and_then(|body| body.as_item_mut()) {
            body.required = false;
        }
    }
}

/// The query. A parameter that is not known is an error: a misspelt filter must not show everything.
pub(super) struct Query<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Query<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let query = parts.uri.query().unwrap_or_default();
        let pairs = url::form_urlencoded::parse(query.as_bytes());
        serde_path_to_error::deserialize(serde_urlencoded::Deserializer::new(pairs)).map(Self).map_err(
            |error| match schema_error("", error) {
                DecodeError::Schema { field, reason } => {
                    ApiError::field(&field, format!("the query parameter `{field}` does not fit: {reason}"))
                }
                other => other.into(),
            },
        )
    }
}

impl<T: JsonSchema> OperationInput for Query<T> {
    fn operation_input(context: &mut GenContext, operation: &mut Operation) {
        axum::extract::Query::<T>::operation_input(context, operation);
    }
}

/// The parameters in the path.
pub(super) struct Path<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Path<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let read = axum::extract::Path::from_request_parts(parts, state).await;
        read.map(|axum::extract::Path(path)| Self(path))
            .map_err(|rejection| ApiError::new(ErrorCode::NotFound, rejection.body_text()))
    }
}

impl<T: JsonSchema> OperationInput for Path<T> {
    fn operation_input(context: &mut GenContext, operation: &mut Operation) {
        axum::extract::Path::<T>::operation_input(context, operation);
    }
}

/// A JSON answer with the HTTP status `STATUS`.
pub(super) struct Answer<const STATUS: u16, T>(pub(super) T);

impl<const STATUS: u16, T: Serialize> IntoResponse for Answer<STATUS, T> {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(STATUS).unwrap_or_default();
        (status, Json(self.0)).into_response()
    }
}

impl<const STATUS: u16, T: JsonSchema> OperationOutput for Answer<STATUS, T> {
    type Inner = T;

    fn operation_response(context: &mut GenContext, operation: &mut Operation) -> Option<Described> {
        Json::<T>::operation_response(context, operation)
    }

    fn inferred_responses(
        context: &mut GenContext,
        operation: &mut Operation,
    ) -> Vec<(Option<DescribedStatus>, Described)> {
        Self::operation_response(context, operation)
            .map(|response| (Some(DescribedStatus::Code(STATUS)), response))
            .into_iter()
            .collect()
    }
}

/// 201 with the place of what is new, 200 for what was there.
pub(super) struct Stored<T> {
    pub(super) created: bool,
    pub(super) location: String,
    pub(super) body: T,
}

impl<T: Serialize> IntoResponse for Stored<T> {
    fn into_response(self) -> Response {
        let status = if self.created { StatusCode::CREATED } else { StatusCode::OK };
        (status, [(header::LOCATION, self.location)], Json(self.body)).into_response()
    }
}

impl<T: JsonSchema> OperationOutput for Stored<T> {
    type Inner = T;

    fn operation_response(context: &mut GenContext, operation: &mut Operation) -> Option<Described> {
        Answer::<201, T>::operation_response(context, operation)
    }

    fn inferred_responses(
        context: &mut GenContext,
        operation: &mut Operation,
    ) -> Vec<(Option<DescribedStatus>, Described)> {
        Answer::<201, T>::inferred_responses(context, operation)
    }
}
