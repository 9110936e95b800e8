//! The jobs: half by the `farrier` command, half as automation does it, by publishing to `farrier.jobs`.

use anyhow::{Context as _, bail};
use chrono::Utc;
use farrier::broker::topology;
use farrier::wire::{JobId, Verb};
use farrier_testbed::agent::Agent;
use futures_util::future::try_join_all;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::{BasicProperties, Channel, Confirmation, Connection, ConnectionProperties};
use serde_json::{Value, json};
use uuid::Uuid;

use super::stage::{Stage, root_serial};

/// A job that was asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    /// The job.
    pub(super) id: JobId,
    /// The place of the node in the fleet.
    pub(super) place: usize,
    /// What was asked for.
    pub(super) verb: Verb,
    /// By which way.
    pub(super) by: &'static str,
}

/// Asks for inspect, clean and deploy for every node at once. The jobs of a node are in this order.
pub(super) async fn enqueue(stage: &Stage) -> anyhow::Result<Vec<Asked>> {
    let connection = Connection::connect(&stage.fleet.rabbitmq.amqp_url(), ConnectionProperties::default())
        .await
        .context("cannot connect to RabbitMQ as automation would")?;
    let channel = connection.create_channel().await?;
    channel.confirm_select(ConfirmSelectOptions::default()).await?;
    let asking = stage.fleet.agents.iter().enumerate().map(async |(place, agent)| {
        let by_command = place % 2 == 0;
        let mut asked = Vec::new();
        for (verb, spec) in specs(stage, agent)? {
            let id = if by_command {
                submit(stage, agent, verb, &spec).await?
            } else {
                publish(&channel, agent, verb, &spec).await?
            };
            let by = if by_command { "farrier" } else { "amqp" };
            asked.push(Asked { id, place, verb, by });
        }
        anyhow::Ok(asked)
    });
    let asked = try_join_all(asking).await?.concat();
    connection.close(200, "done".into()).await?;
    Ok(asked)
}

fn specs(stage: &Stage, agent: &Agent) -> anyhow::Result<[(Verb, Value); 3]> {
    let deploy = json!({
        "image_source": stage.image_url(),
        "image_checksum": stage.image_checksum(),
        "root_device": { "serial": root_serial(agent)? },
    });
    Ok([(Verb::Inspect, json!({})), (Verb::Clean, json!({})), (Verb::Deploy, deploy)])
}

/// By the command, as a person does it.
async fn submit(stage: &Stage, agent: &Agent, verb: Verb, spec: &Value) -> anyhow::Result<JobId> {
    let mut arguments = vec!["job".to_owned(), "submit".into(), verb.to_string(), agent.spec().name.clone()];
    if let (Some(source), Some(checksum)) = (spec["image_source"].as_str(), spec["image_checksum"].as_str()) {
        let serial = format!("serial={}", root_serial(agent)?);
        arguments.extend(["--image-source", source, "--image-checksum", checksum].map(str::to_owned));
        arguments.extend(["--root-device".to_owned(), serial]);
    }
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    let printed = stage.farrier(&arguments).await?;
    let id = printed.first().and_then(|answer| answer["job"]["id"].as_str());
    id.context("`farrier job submit` printed no job")?.parse().context("the job has no UUID")
}

/// By AMQP, as automation does it: a CloudEvent on `farrier.jobs`, with no more than a client library and JSON.
async fn publish(channel: &Channel, agent: &Agent, verb: Verb, spec: &Value) -> anyhow::Result<JobId> {
    let job = Uuid::now_v7();
    let event = json!({
        "specversion": "1.0",
        "id": job,
        "source": "/automation/demo",
        "type": "dev.farrier.job.v1",
        "time": Utc::now(),
        "data": {
            "job": job,
            "node": agent.spec().name,
            "verb": verb,
            "spec": spec,
            "idempotency_key": format!("demo-{}-{verb}", agent.spec().name),
        },
    });
    let properties = BasicProperties::default()
        .with_content_type("application/cloudevents+json".into())
        .with_type("dev.farrier.job.v1".into())
        .with_message_id(job.to_string().into())
        .with_delivery_mode(2);
    let confirm = channel
        .basic_publish(
            topology::JOBS.into(),
            topology::JOBS.into(),
            BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() },
            event.to_string().as_bytes(),
            properties,
        )
        .await?
        .await?;
    match confirm {
        Confirmation::Ack(None) => Ok(JobId(job)),
        other => bail!("RabbitMQ did not take the {verb} job of {}: {other:?}", agent.spec().name),
    }
}
