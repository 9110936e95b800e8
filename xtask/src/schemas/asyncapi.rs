//! `asyncapi.json`: the exchanges, queues and messages as an AsyncAPI 3.0 document
//! (<https://www.asyncapi.com/docs/reference/specification/v3.0.0>), with the AMQP bindings 0.3.0
//! (<https://github.com/asyncapi/bindings/tree/master/amqp>).

use anyhow::{Result, bail};
use farrier::broker::topology::{self, Queue};
use farrier::wire::{CONTENT_TYPE, NodeId};
use lapin::types::{AMQPValue, FieldTable};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::message::{Message, Road};

const BINDING: &str = "0.3.0";

pub(super) fn document(messages: &[Message]) -> Result<Value> {
    let mut channels = Map::new();
    let mut operations = Map::new();
    let mut components = Map::new();
    for message in messages {
        let channel = channel_name(message);
        let entry = match channels.get_mut(&channel) {
            Some(entry) => entry,
            None => channels.entry(channel.clone()).or_insert(channel_of(message)?),
        };
        entry["messages"][message.kind] = json!({"$ref": format!("#/components/messages/{}", message.kind)});
        components.insert(message.kind.to_owned(), message_of(message));
        operations.insert(operation_name(message), operation_of(message, &channel));
    }
    Ok(json!({
        "asyncapi": "3.0.0",
        "id": "urn:farrier:messages",
        "info": {
            "title": "Farrier over RabbitMQ",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "What the coordinator receives and sends. Every body is a CloudEvents 1.0 event in structured JSON mode.",
            "license": {"name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"}
        },
        "defaultContentType": CONTENT_TYPE,
        "servers": {
            "broker": {
                "host": "{host}",
                "protocol": "amqp",
                "protocolVersion": "0.9.1",
                "description": "RabbitMQ 3.10 or newer; `amqps` with TLS.",
                "variables": {"host": {"default": "localhost:5672", "description": "Host and port."}},
                "security": [{"$ref": "#/components/securitySchemes/login"}]
            }
        },
        "channels": channels,
        "operations": operations,
        "components": {
            "messages": components,
            "securitySchemes": {"login": {"type": "userPassword"}}
        },
        "x-dead-letter-queue": queue_json(&topology::queues()[0])?
    }))
}

/// Commands share the channel of their node; every other message has its own.
fn channel_name(message: &Message) -> String {
    match message.road {
        Road::Job => "jobs".to_owned(),
        Road::Command => "commands".to_owned(),
        Road::AgentEvent | Road::CoordinatorEvent => format!("events.{}", message.word()),
    }
}

fn channel_of(message: &Message) -> Result<Value> {
    let exchanges = topology::exchanges();
    let exchange = exchanges.iter().find(|exchange| exchange.name == message.exchange());
    let kind = exchange.map(|exchange| format!("{:?}", exchange.kind).to_lowercase()).unwrap_or_default();
    let parameter = |name: &str| match name {
        "node" => json!({"description": "The UUID of the node."}),
        "site" => json!({"description": "Where the node stands: one word of letters, digits, - and _."}),
        _ => json!({"description": "The rack of the node: one word of letters, digits, - and _."}),
    };
    let address = message.routing_key();
    let parameters: Map<_, _> = ["site", "rack", "node"]
        .into_iter()
        .filter(|name| address.contains(&format!("{{{name}}}")))
        .map(|name| (name.to_owned(), parameter(name)))
        .collect();
    let mut channel = json!({
        "address": address,
        "servers": [{"$ref": "#/servers/broker"}],
        "messages": {},
        "bindings": {"amqp": {
            "is": "routingKey",
            "exchange": {
                "name": message.exchange(),
                "type": kind,
                "durable": true,
                "autoDelete": false,
                "vhost": "/"
            },
            "bindingVersion": BINDING
        }},
        "x-queues": queues_of(message)?
    });
    if !parameters.is_empty() {
        channel["parameters"] = Value::Object(parameters);
    }
    Ok(channel)
}

/// The queues that take a message.
fn queues_of(message: &Message) -> Result<Vec<Value>> {
    if message.road == Road::Command {
        let node = NodeId(Uuid::nil());
        let text = queue_json(&topology::queue_of_node(node))?.to_string();
        return Ok(vec![serde_json::from_str(&text.replace(&node.to_string(), "{node}"))?]);
    }
    topology::queues().iter().filter(|queue| takes(queue, message)).map(queue_json).collect()
}

fn takes(queue: &Queue, message: &Message) -> bool {
    queue.bindings.iter().any(|binding| {
        binding.exchange == message.exchange()
            && binding.routing_key.trim_end_matches('#').trim_end_matches('.')
                == message.routing_key().trim_end_matches(".{site}.{rack}.{node}")
    })
}

fn queue_json(queue: &Queue) -> Result<Value> {
    let bindings: Vec<_> = queue
        .bindings
        .iter()
        .map(|binding| json!({"exchange": binding.exchange, "routingKey": binding.routing_key}))
        .collect();
    Ok(json!({
        "name": queue.name,
        "durable": true,
        "exclusive": false,
        "autoDelete": false,
        "arguments": arguments_json(&queue.arguments)?,
        "bindings": bindings
    }))
}

fn arguments_json(arguments: &FieldTable) -> Result<Value> {
    let mut map = Map::new();
    for (key, value) in arguments.inner() {
        let value = match value {
            AMQPValue::LongString(text) => json!(text.to_string()),
            AMQPValue::LongInt(number) => json!(number),
            other => bail!("the queue argument {key} is of a kind that is not written yet: {other:?}"),
        };
        map.insert(key.to_string(), value);
    }
    Ok(Value::Object(map))
}

fn message_of(message: &Message) -> Value {
    let examples: Vec<_> =
        message.examples.iter().map(|(name, payload)| json!({"name": name, "payload": payload})).collect();
    json!({
        "name": message.kind,
        "title": message.word(),
        "summary": message.summary,
        "contentType": CONTENT_TYPE,
        "payload": {"$ref": format!("./{}", message.schema_file())},
        "bindings": {"amqp": {"messageType": message.kind, "bindingVersion": BINDING}},
        "examples": examples
    })
}

fn operation_name(message: &Message) -> String {
    match message.road {
        Road::Job => "receiveJob".to_owned(),
        Road::AgentEvent => format!("receive.{}", message.word()),
        Road::Command | Road::CoordinatorEvent => format!("send.{}", message.word()),
    }
}

/// Operations are those of the coordinator.
fn operation_of(message: &Message, channel: &str) -> Value {
    let receives = matches!(message.road, Road::Job | Road::AgentEvent);
    json!({
        "action": if receives { "receive" } else { "send" },
        "channel": {"$ref": format!("#/channels/{channel}")},
        "summary": message.summary,
        "messages": [{"$ref": format!("#/channels/{channel}/messages/{}", message.kind)}],
        "bindings": {"amqp": if receives {
            json!({"ack": true, "bindingVersion": BINDING})
        } else {
            json!({
                "deliveryMode": 2,
                "mandatory": message.road == Road::Command,
                "timestamp": true,
                "bindingVersion": BINDING
            })
        }}
    })
}
