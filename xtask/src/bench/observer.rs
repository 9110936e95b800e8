//! Sees what agents publish, from outside: with a queue of its own on `farrier.events`.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use farrier::broker::topology;
use farrier::wire::{
    AgentEvent, CONTENT_TYPE, Event, JobId, JobRequest, NodeId, NoopSpec, Payload as _, Work,
};
use futures_util::StreamExt as _;
use lapin::options::{
    BasicConsumeOptions, BasicPublishOptions, ConfirmSelectOptions, QueueBindOptions, QueueDeclareOptions,
};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel, Confirmation, Connection, ConnectionProperties};
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// How long the next event may take.
const NEXT_WITHIN: Duration = Duration::from_secs(60);

/// An observer that also publishes jobs, on a connection of its own.
#[derive(Debug)]
pub(super) struct Observer {
    publishing: Channel,
    seen: UnboundedReceiver<(Instant, AgentEvent)>,
    reader: JoinHandle<anyhow::Result<()>>,
    // Closed when dropped.
    _connection: Connection,
}

impl Observer {
    /// Begins to watch for `hello`, `accepted` and `result`.
    pub(super) async fn start(broker: &str) -> anyhow::Result<Self> {
        let connection = Connection::connect(broker, ConnectionProperties::default()).await?;
        let publishing = connection.create_channel().await?;
        publishing.confirm_select(ConfirmSelectOptions::default()).await?;
        let watching = connection.create_channel().await?;
        let own =
            QueueDeclareOptions { exclusive: true, auto_delete: true, ..QueueDeclareOptions::default() };
        let queue = watching.queue_declare("".into(), own, FieldTable::default()).await?;
        for event in topology::RESULT_EVENTS {
            let key = format!("{event}.#");
            watching
                .queue_bind(
                    queue.name().clone(),
                    topology::EVENTS.into(),
                    key.as_str().into(),
                    QueueBindOptions::default(),
                    FieldTable::default(),
                )
                .await?;
        }
        let (sender, seen) = mpsc::unbounded_channel();
        let reader = tokio::spawn(read(watching, queue.name().to_string(), sender));
        Ok(Self { publishing, seen, reader, _connection: connection })
    }

    /// Publishes no-op jobs, all before the first confirm is waited for, and gives each with the time at which it was sent.
    pub(super) async fn submit(&self, nodes: &[NodeId]) -> anyhow::Result<Vec<(JobId, Instant)>> {
        let mut sent = Vec::with_capacity(nodes.len());
        let mut confirms = Vec::with_capacity(nodes.len());
        for node in nodes {
            let id = JobId::new();
            let request = JobRequest {
                job: Some(id),
                node: node.to_string(),
                work: Work::Noop(NoopSpec {}),
                idempotency_key: None,
                retry: None,
                timeout_seconds: None,
            };
            let event = Event::new("/bench", id.to_string(), request);
            let properties = BasicProperties::default()
                .with_content_type(CONTENT_TYPE.into())
                .with_type(JobRequest::TYPE.into())
                .with_delivery_mode(2);
            sent.push((id, Instant::now()));
            confirms.push(
                self.publishing
                    .basic_publish(
                        topology::JOBS.into(),
                        topology::JOBS.into(),
                        BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() },
                        &event.encode(),
                        properties,
                    )
                    .await?,
            );
        }
        for confirm in confirms {
            match confirm.await? {
                Confirmation::Ack(None) => {}
                other => bail!("RabbitMQ did not take a job: {other:?}"),
            }
        }
        Ok(sent)
    }

    /// The next event and when it came.
    pub(super) async fn next(&mut self) -> anyhow::Result<(Instant, AgentEvent)> {
        let next = timeout(NEXT_WITHIN, self.seen.recv()).await;
        next.with_context(|| format!("no event came for {NEXT_WITHIN:?}"))?.context("the observer has ended")
    }
}

impl Drop for Observer {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

async fn read(
    channel: Channel,
    queue: String,
    sender: UnboundedSender<(Instant, AgentEvent)>,
) -> anyhow::Result<()> {
    let options = BasicConsumeOptions { no_ack: true, ..BasicConsumeOptions::default() };
    let mut consumer =
        channel.basic_consume(queue.as_str().into(), "".into(), options, FieldTable::default()).await?;
    while let Some(delivery) = consumer.next().await {
        let came = Instant::now();
        let delivery = delivery?;
        if sender.send((came, AgentEvent::decode(&delivery.data)?)).is_err() {
            break;
        }
    }
    Ok(())
}
