//! The OpenAPI 3.1 document, made from the routes and the types of the wire.

use std::collections::HashSet;
use std::sync::Arc;

use aide::axum::ApiRouter;
use aide::axum::routing::get_with;
use aide::generate::in_context;
use aide::openapi::{Info, License, OpenApi, SecurityRequirement, SecurityScheme, Tag};
use aide::transform::TransformOpenApi;
use axum::{Extension, Json, Router};
use schemars::generate::{SchemaGenerator, SchemaSettings};
use serde_json::Value;

use super::Api;

/// What requests must carry where a token is configured.
const SECURITY: &str = "token";

pub(super) fn routes() -> ApiRouter<Api> {
    ApiRouter::new().api_route(
        "/v1/openapi.json",
        get_with(document, |operation| operation.id("openapi").tag("health").summary("This document")),
    )
}

async fn document(Extension(document): Extension<Document>) -> Json<Value> {
    Json((*document.0).clone())
}

#[derive(Clone)]
struct Document(Arc<Value>);

/// The document, without a server.
#[must_use]
pub fn openapi() -> Value {
    described(|| super::routes(super::auth::Guard::new(None))).1
}

/// The routes, the document among them.
pub(super) fn with_document(routes: impl FnOnce() -> ApiRouter<Api>) -> Router<Api> {
    let (router, document) = described(routes);
    router.layer(Extension(Document(Arc::new(document))))
}

/// Makes the routes and describes them. The two go together: aide gathers the schemas in the thread while routes are made.
fn described(routes: impl FnOnce() -> ApiRouter<Api>) -> (Router<Api>, Value) {
    in_context(|context| {
        // OpenAPI 3.1 speaks JSON Schema 2020-12; aide's own generator writes draft 7.
        context.schema = SchemaGenerator::new(
            SchemaSettings::draft2020_12()
                .with(|settings| settings.definitions_path = "/components/schemas".into()),
        );
    });
    let mut document = OpenApi::default();
    let router = routes().finish_api_with(&mut document, about);
    let mut document = serde_json::to_value(document).expect("an OpenAPI document serialises to JSON");
    drop_unused_schemas(&mut document);
    (router, document)
}

/// Queries and paths become parameters one by one; aide leaves the schema of the whole behind.
fn drop_unused_schemas(document: &mut Value) {
    let mut used = HashSet::new();
    references(document, &mut used);
    if let Some(schemas) = document.pointer_mut("/components/schemas").and_then(Value::as_object_mut) {
        schemas.retain(|name, _| used.contains(&format!("#/components/schemas/{name}")));
    }
}

fn references(value: &Value, found: &mut HashSet<String>) {
    match value {
        Value::Object(map) => {
            found.extend(map.get("$ref").and_then(Value::as_str).map(str::to_owned));
            map.values().for_each(|value| references(value, found));
        }
        Value::Array(items) => items.iter().for_each(|value| references(value, found)),
        _ => {}
    }
}

fn about(api: TransformOpenApi<'_>) -> TransformOpenApi<'_> {
    let tag = |name: &str, description: &str| Tag {
        name: name.to_owned(),
        description: Some(description.to_owned()),
        ..Tag::default()
    };
    let bearer = SecurityScheme::Http {
        scheme: "bearer".to_owned(),
        bearer_format: None,
        description: Some("Needed where the coordinator was given a token.".to_owned()),
        extensions: Default::default(),
    };
    api.info(Info {
        title: "Farrier coordinator".to_owned(),
        summary: Some("Nodes, jobs and what happens to them".to_owned()),
        description: Some(
            "Every error is a problem (RFC 9457) with a stable `code`. Bodies and queries refuse fields that are not known; \
             answers may grow new ones."
                .to_owned(),
        ),
        license: Some(License { name: "Apache-2.0".to_owned(), identifier: Some("Apache-2.0".to_owned()), ..License::default() }),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ..Info::default()
    })
    .tag(tag("nodes", "Machines."))
    .tag(tag("jobs", "What is to be done to them."))
    .tag(tag("images", "The catalogue of images."))
    .tag(tag("events", "What happens."))
    .tag(tag("dead", "Messages that nobody could process."))
    .tag(tag("health", "The coordinator itself."))
    .security_scheme(SECURITY, bearer)
    .with(|mut api| {
        // Either none or the token, as the coordinator was configured.
        let token = [(SECURITY.to_owned(), Vec::new())].into_iter().collect();
        api.inner_mut().security = vec![SecurityRequirement::default(), token];
        api
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reference_leads_somewhere() {
        let document = openapi();
        let mut found = HashSet::new();
        references(&document, &mut found);
        assert!(found.contains("#/components/schemas/JobSubmitted"), "{found:?}");
        for reference in found {
            let pointer = reference.strip_prefix('#').unwrap();
            assert!(document.pointer(pointer).is_some(), "{reference} leads nowhere");
        }
    }

    #[test]
    fn every_operation_has_a_name_of_its_own_and_a_problem() {
        let document = openapi();
        let mut names = HashSet::new();
        for (path, item) in document["paths"].as_object().unwrap() {
            for (method, operation) in item.as_object().unwrap() {
                assert!(
                    names.insert(operation["operationId"].as_str().unwrap().to_owned()),
                    "{method} {path}"
                );
                assert!(operation["summary"].is_string(), "{method} {path}");
                if path.starts_with("/v1/") && path != "/v1/openapi.json" {
                    let problem = &operation["responses"]["default"]["content"]["application/problem+json"];
                    assert_eq!(problem["schema"]["$ref"], "#/components/schemas/Problem", "{method} {path}");
                }
            }
        }
        assert_eq!(document["openapi"], "3.1.0");
    }

    #[test]
    fn it_is_the_same_every_time() {
        assert_eq!(openapi(), openapi());
    }
}
