//! Every message: its type, where it goes, its schema and its examples.

use anyhow::{Context as _, Result};
use farrier::broker::topology::{self, COMMANDS, EVENTS, JOBS};
use farrier::wire::{Event, Payload};
use schemars::generate::SchemaSettings;
use serde_json::{Value, json};

use super::examples::{self, Example};

/// A message type, ready to be written down.
pub(super) struct Message {
    /// The CloudEvents type.
    pub(super) kind: &'static str,
    /// What it is, in a sentence or two.
    pub(super) summary: String,
    pub(super) road: Road,
    /// The schema of the whole event.
    pub(super) schema: Value,
    /// By name.
    pub(super) examples: Vec<(&'static str, Value)>,
}

/// Who sends a message to whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Road {
    /// From automation to the coordinator.
    Job,
    /// From the coordinator to an agent.
    Command,
    /// From an agent to the coordinator.
    AgentEvent,
    /// From the coordinator to whoever listens.
    CoordinatorEvent,
}

/// All of them, in the order of a job's life.
pub(super) fn all() -> Result<Vec<Message>> {
    Ok(vec![
        message(Road::Job, examples::jobs())?,
        message(Road::Command, examples::run_commands())?,
        message(Road::Command, examples::cancel_commands())?,
        message(Road::Command, examples::status_commands())?,
        message(Road::Command, examples::image_url_commands())?,
        message(Road::AgentEvent, examples::hellos())?,
        message(Road::AgentEvent, examples::heartbeats())?,
        message(Road::AgentEvent, examples::accepted())?,
        message(Road::AgentEvent, examples::progress())?,
        message(Road::AgentEvent, examples::image_urls_wanted())?,
        message(Road::AgentEvent, examples::results())?,
        message(Road::AgentEvent, examples::logs())?,
        message(Road::CoordinatorEvent, examples::job_changes())?,
    ])
}

impl Message {
    pub(super) fn schema_file(&self) -> String {
        format!("{}.json", self.kind)
    }

    /// The last word of the type: `run` of `dev.farrier.command.run.v1`.
    pub(super) fn word(&self) -> &'static str {
        self.kind.rsplit('.').nth(1).unwrap_or(self.kind)
    }

    pub(super) fn exchange(&self) -> &'static str {
        match self.road {
            Road::Job => JOBS,
            Road::Command => COMMANDS,
            Road::AgentEvent | Road::CoordinatorEvent => EVENTS,
        }
    }

    /// The routing key, with `{...}` for what varies.
    pub(super) fn routing_key(&self) -> String {
        match self.road {
            Road::Job => JOBS.to_owned(),
            Road::Command => "{node}".to_owned(),
            Road::AgentEvent | Road::CoordinatorEvent => {
                format!("{}.{{site}}.{{rack}}.{{node}}", self.word())
            }
        }
    }
}

fn message<T: Payload>(road: Road, examples: Vec<Example<T>>) -> Result<Message> {
    let mut schema = event_schema::<T>(road)?;
    let summary = schema
        .pointer("/properties/data/$ref")
        .and_then(Value::as_str)
        .and_then(|reference| schema.pointer(reference.trim_start_matches('#')))
        .and_then(|data| data.get("description"))
        .and_then(Value::as_str)
        .with_context(|| format!("the data of {} has no description", T::TYPE))?
        .replace('\n', " ");
    schema["title"] = json!(T::TYPE);
    schema["description"] = json!(summary);
    let examples = examples
        .iter()
        .map(|example| Ok((example.name, serde_json::to_value(&example.event)?)))
        .collect::<Result<_>>()?;
    Ok(Message { kind: T::TYPE, summary, road, schema, examples })
}

/// The schema of the event as its sender must make it. Only jobs are made outside of Farrier: their schema says what is read,
/// the others say what is written.
fn event_schema<T: Payload>(road: Road) -> Result<Value> {
    let settings = SchemaSettings::draft2020_12();
    let settings = match road {
        Road::Job => settings.for_deserialize(),
        Road::Command | Road::AgentEvent | Road::CoordinatorEvent => settings.for_serialize(),
    };
    let mut schema = serde_json::to_value(settings.into_generator().into_root_schema_for::<Event<T>>())?;
    tighten(&mut schema);
    for (attribute, rule) in [
        ("type", ("const", json!(T::TYPE))),
        ("specversion", ("const", json!("1.0"))),
        ("id", ("minLength", json!(1))),
        ("source", ("minLength", json!(1))),
    ] {
        let (key, value) = rule;
        schema
            .pointer_mut(&format!("/properties/{attribute}"))
            .and_then(Value::as_object_mut)
            .with_context(|| format!("the envelope has no attribute {attribute}"))?
            .insert(key.to_owned(), value);
    }
    Ok(schema)
}

/// Says what the derived schema cannot: nobody sends the word by which a reader keeps what it does not know, and an integer ends
/// where its type does.
fn tighten(schema: &mut Value) {
    match schema {
        Value::Object(map) => {
            if let Some(Value::Array(variants)) = map.get_mut("oneOf") {
                variants.retain(|variant| variant.get("const") != Some(&json!("unknown")));
            }
            if map.get("format") == Some(&json!("uint32")) && !map.contains_key("maximum") {
                map.insert("maximum".to_owned(), json!(u32::MAX));
            }
            map.values_mut().for_each(tighten);
        }
        Value::Array(items) => items.iter_mut().for_each(tighten),
        _ => {}
    }
}

/// Which queue a message ends in.
pub(super) fn queue_of(message: &Message) -> Option<String> {
    match message.road {
        Road::Job => Some(JOBS.to_owned()),
        Road::Command => Some("farrier.node.{node}".to_owned()),
        Road::CoordinatorEvent => None,
        Road::AgentEvent => topology::queues()
            .into_iter()
            .find(|queue| {
                queue.bindings.iter().any(|binding| binding.routing_key == format!("{}.#", message.word()))
            })
            .map(|queue| queue.name),
    }
}
