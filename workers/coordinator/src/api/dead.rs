//! `/v1/dead`: messages that nobody could process.

use aide::axum::ApiRouter;
use aide::axum::routing::{get_with, post_with};
use axum::extract::State;
use axum::response::NoContent;
use farrier::broker;
use farrier::wire::api::{DeadLetter, Page};
use farrier::wire::{ImageUrl, ProxyUrl};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use super::Api;
use super::exchange::{Answer, Path, Query};
use super::problem::ApiError;
use super::query::DeadQuery;

/// What is shown in the place of a secret.
const HIDDEN: &str = "***";

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
        body: body(&letter.body),
    }
}

/// The body as it may be shown: where it is JSON, without secrets. It may be a job or a command, or have failed to become one.
fn body(bytes: &[u8]) -> String {
    let whole = || String::from_utf8_lossy(bytes).into_owned();
    let Ok(mut value) = serde_json::from_slice(bytes) else { return whole() };
    if hide_secrets("", &mut value) { value.to_string() } else { whole() }
}

/// Hides what may be a secret, by the name of its field or by being a URL; says whether there was any.
fn hide_secrets(field: &str, value: &mut Value) -> bool {
    match value {
        // No short cut: all of them are to be hidden.
        Value::Object(map) => {
            map.iter_mut().fold(false, |hidden, (field, value)| hide_secrets(field, value) | hidden)
        }
        Value::Array(items) => {
            items.iter_mut().fold(false, |hidden, item| hide_secrets(field, item) | hidden)
        }
        Value::String(text) => match hidden(field, text) {
            Some(shown) => {
                *text = shown;
                true
            }
            None => false,
        },
        _ => false,
    }
}

fn hidden(field: &str, text: &str) -> Option<String> {
    if ["authorization", "password"].iter().any(|end| field.ends_with(end)) {
        return Some(HIDDEN.to_owned());
    }
    let is_url = text.contains("://");
    // Secrets stand before an @, or behind a ? or a #.
    if !text.contains(['@', '?', '#']) || !(is_url || field.ends_with("proxy")) {
        return None;
    }
    let shown = if is_url {
        text.parse().map(|url: ImageUrl| url.redacted().into())
    } else {
        text.parse().map(|proxy: ProxyUrl| proxy.redacted().into())
    };
    // Some other URL, or none after all, is hidden whole.
    Some(shown.unwrap_or_else(|_| HIDDEN.to_owned()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_body_is_shown_without_secrets() {
        let spec = json!({
            "image_source": "https://u:hunter2@h/i?sig=hunter2", "image_mirrors": ["http://h/i", "http://h/j?sig=hunter2"],
            "image_checksum": "https://h/S?sig=hunter2#x", "image_request_authorization": "Bearer hunter2",
            "image_http_proxy": "u:hunter2@proxy:3128", "image_https_proxy": "socks5://u:hunter2@proxy", "image_no_proxy": "10.0.0.0/8"
        });
        let event =
            json!({"type": "dev.farrier.job.v1", "data": {"node": "n1", "verb": "deplyo", "spec": spec}});
        let shown = body(event.to_string().as_bytes());
        let expected = json!({
            "image_source": "https://h/i", "image_mirrors": ["http://h/i", "http://h/j"], "image_checksum": "https://h/S",
            "image_request_authorization": "***", "image_http_proxy": "http://proxy:3128/", "image_https_proxy": "***",
            "image_no_proxy": "10.0.0.0/8"
        });
        assert_eq!(serde_json::from_str::<Value>(&shown).unwrap()["data"]["spec"], expected);
    }

    #[test]
    fn a_body_without_secrets_is_shown_as_it_came() {
        for text in ["{ \"node\": \"n1\", \"image_source\": \"http://h/i\" }", "no JSON", "[1, 2]"] {
            assert_eq!(body(text.as_bytes()), text);
        }
    }
}
