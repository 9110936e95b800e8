use std::path::Path;

use farrier::wire::{AgentEvent, Command, Event, JobRequest, Payload as _};
use jsonschema::Validator;
use serde_json::{Value, json};

use super::message::{Message, Road};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

fn validator(message: &Message) -> Validator {
    jsonschema::options().should_validate_formats(true).build(&message.schema).unwrap()
}

fn messages() -> Vec<Message> {
    super::message::all().unwrap()
}

fn jobs() -> Message {
    messages().into_iter().find(|message| message.kind == JobRequest::TYPE).unwrap()
}

#[test]
fn what_is_committed_is_what_the_code_says() {
    super::check(root()).unwrap();
}

#[test]
fn every_example_fits_its_schema_and_is_read_back() {
    for message in messages() {
        let validator = validator(&message);
        assert!(!message.examples.is_empty(), "{}", message.kind);
        for (name, event) in &message.examples {
            let errors: Vec<_> = validator.iter_errors(event).map(|error| error.to_string()).collect();
            assert!(errors.is_empty(), "{} {name}: {errors:?}", message.kind);
            let body = serde_json::to_vec(event).unwrap();
            match message.road {
                Road::Job => drop(Event::decode(&body).unwrap().into_typed::<JobRequest>().unwrap()),
                Road::Command => drop(Command::decode(&body).unwrap()),
                Road::AgentEvent => drop(AgentEvent::decode(&body).unwrap()),
                Road::CoordinatorEvent => {
                    drop(Event::decode(&body).unwrap().into_typed::<farrier::wire::JobChanged>().unwrap());
                }
            }
        }
    }
}

/// The event with `value` at `pointer`, whether or not there was something before.
fn with(event: &Value, parent: &str, key: &str, value: Value) -> Value {
    let mut event = event.clone();
    event.pointer_mut(parent).unwrap().as_object_mut().unwrap().insert(key.into(), value);
    event
}

#[test]
fn schema_and_reader_refuse_the_same_jobs() {
    let message = jobs();
    let validator = validator(&message);
    let example = |name: &str| {
        message.examples.iter().find(|(found, _)| *found == name).map(|(_, event)| event.clone()).unwrap()
    };
    let deploy = example("deploy");
    let clean = example("clean");
    let inspect = example("inspect");
    let wrong = [
        with(&deploy, "/data", "nod", json!("x")),
        with(&deploy, "/data/spec", "root_devise", json!({})),
        with(&deploy, "/data/spec/root_device", "serail", json!("x")),
        with(&deploy, "/data/spec", "image_checksum", json!("md5:0")),
        with(&deploy, "/data/spec", "image_source", json!("ftp://h/image")),
        with(&deploy, "/data", "retry", json!({"max_attempts": 0})),
        with(&deploy, "/data", "retry", json!({"max_atempts": 1})),
        with(&deploy, "/data", "timeout_seconds", json!(0)),
        with(&deploy, "/data", "timeout_seconds", json!(u64::from(u32::MAX) + 1)),
        with(&deploy, "/data", "verb", json!("clean")),
        with(&deploy, "/data", "verb", json!("format")),
        with(&deploy, "/data", "node", json!("")),
        with(&deploy, "/data", "idempotency_key", json!("")),
        with(&deploy, "/data", "job", json!("not-a-uuid")),
        with(&clean, "/data/spec", "steps", json!([])),
        with(&clean, "/data/spec", "steps", json!(["scrub"])),
        with(&inspect, "/data/spec", "deep", json!(true)),
        with(&inspect, "", "specversion", json!("0.3")),
        with(&inspect, "", "type", json!("dev.farrier.job.v0")),
    ];
    for event in wrong {
        assert!(!validator.is_valid(&event), "the schema takes {event:#}");
        let read =
            Event::decode(&serde_json::to_vec(&event).unwrap()).and_then(Event::into_typed::<JobRequest>);
        assert!(read.is_err(), "the reader takes {event:#}");
    }
    // CloudEvents may have attributes of their own.
    let extended = with(&deploy, "", "traceparent", json!("00-x-y-01"));
    assert!(validator.is_valid(&extended));
}

#[test]
fn no_schema_offers_the_word_for_what_is_not_known() {
    for message in messages() {
        let text = message.schema.to_string();
        assert!(!text.contains("\"const\":\"unknown\""), "{}", message.kind);
    }
}
