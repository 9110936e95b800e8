//! Errors of the API: `application/problem+json` (RFC 9457), one HTTP status for each stable code.

use aide::OperationOutput;
use aide::generate::GenContext;
use aide::openapi::{
    MediaType, Operation, Response as Described, SchemaObject, StatusCode as DescribedStatus,
};
use axum::Json;
use axum::http::{HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use farrier::broker::BrokerError;
use farrier::wire::api::Problem;
use farrier::wire::{Coded, DecodeError, ErrorCode, ErrorReport};

use crate::power::PowerError;
use crate::store::StoreError;

/// The content type of a problem.
const CONTENT_TYPE: &str = "application/problem+json";
/// Seconds after which a request that failed for a reason that passes may be sent again.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("5");

/// An answer that is an error.
#[derive(Debug)]
pub(crate) struct ApiError(ErrorReport);

impl ApiError {
    pub(crate) fn new(code: ErrorCode, detail: impl Into<String>) -> Self {
        Self(ErrorReport::new(code, detail))
    }

    /// A value that does not fit a field.
    pub(super) fn field(field: &str, detail: impl Into<String>) -> Self {
        Self(ErrorReport {
            code: ErrorCode::BadSchema,
            message: detail.into(),
            field: Some(field.to_owned()),
        })
    }

    fn status(&self) -> StatusCode {
        status_of(self.0.code)
    }
}

/// The HTTP status of a code. What is missing on this side, an enrolment or a key for secrets, is a conflict: the same
/// request is right once it is there.
fn status_of(code: ErrorCode) -> StatusCode {
    match code {
        ErrorCode::NotJson
        | ErrorCode::BadSchema
        | ErrorCode::UnknownVerb
        | ErrorCode::UnknownType
        | ErrorCode::BadHint
        | ErrorCode::BadDriverInfo => StatusCode::BAD_REQUEST,
        ErrorCode::Unauthorized => StatusCode::UNAUTHORIZED,
        ErrorCode::Forbidden => StatusCode::FORBIDDEN,
        ErrorCode::UnknownNode | ErrorCode::UnknownJob | ErrorCode::ImageNotFound | ErrorCode::NotFound => {
            StatusCode::NOT_FOUND
        }
        ErrorCode::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
        ErrorCode::Conflict
        | ErrorCode::NotEnrolled
        | ErrorCode::NoPowerDriver
        | ErrorCode::PowerOffDisabled
        | ErrorCode::SecretKeyMissing => StatusCode::CONFLICT,
        // It was there once.
        ErrorCode::ImageReplaced => StatusCode::GONE,
        ErrorCode::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        ErrorCode::NotDeclaredJson => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        ErrorCode::StoreUnavailable | ErrorCode::BrokerUnavailable | ErrorCode::BrokerRefused => {
            StatusCode::SERVICE_UNAVAILABLE
        }
        // What failed stands behind the coordinator, as a server behind a gateway does.
        ErrorCode::BmcUnreachable
        | ErrorCode::BmcUnauthorized
        | ErrorCode::BmcRefused
        | ErrorCode::BmcFailed
        | ErrorCode::BmcBadAnswer => StatusCode::BAD_GATEWAY,
        ErrorCode::PowerTimeout => StatusCode::GATEWAY_TIMEOUT,
        ErrorCode::StoreFull => StatusCode::INSUFFICIENT_STORAGE,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status = self.status();
        if status.is_server_error() {
            tracing::warn!(code = %self.0.code, "a request failed: {}", self.0.message);
        }
        let problem = Problem {
            kind: format!("urn:farrier:error:{}", self.0.code),
            status: status.as_u16(),
            title: status.canonical_reason().unwrap_or_default().to_owned(),
            detail: self.0.message,
            code: self.0.code,
            field: self.0.field,
        };
        let mut response = (status, Json(problem)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(CONTENT_TYPE));
        match status {
            StatusCode::UNAUTHORIZED => {
                headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            StatusCode::SERVICE_UNAVAILABLE | StatusCode::INSUFFICIENT_STORAGE => {
                headers.insert(header::RETRY_AFTER, RETRY_AFTER);
            }
            _ => {}
        }
        response
    }
}

impl From<ErrorReport> for ApiError {
    fn from(report: ErrorReport) -> Self {
        Self(report)
    }
}

impl From<DecodeError> for ApiError {
    fn from(error: DecodeError) -> Self {
        Self(ErrorReport::from(&error))
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        Self(error.report())
    }
}

impl From<PowerError> for ApiError {
    fn from(error: PowerError) -> Self {
        Self(error.report())
    }
}

impl From<BrokerError> for ApiError {
    fn from(error: BrokerError) -> Self {
        Self(error.report())
    }
}

/// Every operation has a problem as its default response.
impl OperationOutput for ApiError {
    type Inner = Problem;

    fn operation_response(context: &mut GenContext, _: &mut Operation) -> Option<Described> {
        let media = MediaType {
            schema: Some(SchemaObject {
                json_schema: context.schema.subschema_for::<Problem>(),
                external_docs: None,
                example: None,
            }),
            ..MediaType::default()
        };
        Some(Described {
            description: "What went wrong.".to_owned(),
            content: [(CONTENT_TYPE.to_owned(), media)].into_iter().collect(),
            ..Described::default()
        })
    }

    fn inferred_responses(
        context: &mut GenContext,
        operation: &mut Operation,
    ) -> Vec<(Option<DescribedStatus>, Described)> {
        Self::operation_response(context, operation).map(|response| (None, response)).into_iter().collect()
    }
}

/// There is no such page.
pub(super) async fn not_found(uri: Uri) -> ApiError {
    ApiError::new(
        ErrorCode::NotFound,
        format!("there is no page {}; /v1/openapi.json describes those that there are", uri.path()),
    )
}

/// There is such a page, and it does not take this method.
pub(crate) async fn method_not_allowed(method: axum::http::Method, uri: Uri) -> ApiError {
    ApiError::new(
        ErrorCode::MethodNotAllowed,
        format!("the page {} does not take {method}; the header Allow names what it takes", uri.path()),
    )
}
