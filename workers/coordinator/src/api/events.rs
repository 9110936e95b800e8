//! `GET /v1/events`: what happens, as server-sent events
//! (<https://html.spec.whatwg.org/multipage/server-sent-events.html>).

use std::convert::Infallible;
use std::time::Duration;

use aide::OperationOutput;
use aide::axum::ApiRouter;
use aide::axum::routing::get_with;
use aide::generate::GenContext;
use aide::openapi::{MediaType, Operation, Response as Described, SchemaObject, StatusCode};
use axum::extract::State;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use farrier::wire::api::StreamEvent;
use farrier::wire::{JobId, NodeId};
use futures_util::{Stream, StreamExt as _, future, stream};
use tokio_stream::wrappers::BroadcastStream;
use tokio_stream::wrappers::errors::BroadcastStreamRecvError;

use super::Api;
use super::exchange::Query;
use super::problem::ApiError;
use super::query::EventQuery;

/// Shorter than the minute after which proxies take a silent connection for dead.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

pub(super) fn routes() -> ApiRouter<Api> {
    ApiRouter::new().api_route(
        "/v1/events",
        get_with(events, |operation| {
            operation
                .id("streamEvents")
                .tag("events")
                .summary("Streams what happens from now on")
                .description(
                    "Server-sent events: `event` is the kind, `data` the event as JSON. The stream holds nothing back and keeps \
                     nothing: subscribe first, then read the lists. A reader that is too slow gets `missed` and reads them again.",
                )
        }),
    )
}

async fn events(State(api): State<Api>, Query(query): Query<EventQuery>) -> Result<EventStream, ApiError> {
    let node = match query.node {
        Some(node) => Some(api.store.nodes().get(&node).await?.id),
        None => None,
    };
    if let Some(job) = query.job {
        // A job that does not exist would be waited for in vain.
        api.store.jobs().get(job).await?;
    }
    let wanted = Wanted { job: query.job, node };
    let feed = BroadcastStream::new(api.feed.subscribe())
        .map(|received| {
            received.unwrap_or_else(|BroadcastStreamRecvError::Lagged(count)| StreamEvent::Missed { count })
        })
        .filter(move |event| future::ready(wanted.includes(event)))
        .map(|event| as_server_sent(&event))
        // Ends with the server: a stream that never ends would hold its shutdown up.
        .take_until(api.shutdown.clone().cancelled_owned());
    // The comment tells the reader, and every proxy between, that it is subscribed.
    let greeting = stream::once(future::ready(Event::default().comment("from now on")));
    Ok(EventStream(Box::pin(greeting.chain(feed).map(Ok))))
}

/// What a reader asked for.
#[derive(Clone, Copy)]
struct Wanted {
    job: Option<JobId>,
    node: Option<NodeId>,
}

impl Wanted {
    fn includes(self, event: &StreamEvent) -> bool {
        let (job, node) = match event {
            StreamEvent::Job(changed) => (Some(changed.job), changed.node),
            StreamEvent::Progress { job, node, .. } => (Some(*job), *node),
            StreamEvent::Node { node, .. } | StreamEvent::Log { node, .. } => (None, *node),
            // Whatever a reader asked for may be among what it has missed.
            StreamEvent::Missed { .. } => return true,
        };
        self.job.is_none_or(|wanted| job == Some(wanted)) && self.node.is_none_or(|wanted| node == wanted)
    }
}

fn as_server_sent(event: &StreamEvent) -> Event {
    let kind = match event {
        StreamEvent::Job(_) => "job",
        StreamEvent::Progress { .. } => "progress",
        StreamEvent::Node { .. } => "node",
        StreamEvent::Log { .. } => "log",
        StreamEvent::Missed { .. } => "missed",
    };
    Event::default().event(kind).json_data(event).expect("an event of the wire serialises to JSON")
}

/// An answer that goes on.
struct EventStream(std::pin::Pin<Box<dyn Stream<Item = Result<Event, Infallible>> + Send>>);

impl IntoResponse for EventStream {
    fn into_response(self) -> Response {
        Sse::new(self.0).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response()
    }
}

impl OperationOutput for EventStream {
    type Inner = StreamEvent;

    fn operation_response(context: &mut GenContext, _: &mut Operation) -> Option<Described> {
        let media = MediaType {
            schema: Some(SchemaObject {
                json_schema: context.schema.subschema_for::<StreamEvent>(),
                external_docs: None,
                example: None,
            }),
            ..MediaType::default()
        };
        Some(Described {
            description: "Events without end; the schema is that of the `data` of each.".to_owned(),
            content: [("text/event-stream".to_owned(), media)].into_iter().collect(),
            ..Described::default()
        })
    }

    fn inferred_responses(
        context: &mut GenContext,
        operation: &mut Operation,
    ) -> Vec<(Option<StatusCode>, Described)> {
        Self::operation_response(context, operation)
            .map(|response| (Some(StatusCode::Code(200)), response))
            .into_iter()
            .collect()
    }
}
