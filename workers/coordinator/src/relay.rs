//! Does what stands in the outbox, oldest first for each node, until the broker has confirmed it.

use std::collections::HashMap;
use std::time::Duration;

use farrier::broker::{Broker, BrokerError, Outgoing, PublishError, topology};
use farrier::wire::{Coded as _, NodeId};
use futures_util::StreamExt as _;
use futures_util::stream;
use tokio::time::{sleep, timeout};
use tracing::{error, warn};

use crate::store::outbox::{Item, Pending};
use crate::store::{Store, StoreError};

/// How many items are taken at once.
const BATCH: u32 = 256;
/// How many are done side by side: as many as the broker client has channels.
const SIDE_BY_SIDE: usize = 16;
/// How long to wait after something failed.
const PAUSE: Duration = Duration::from_millis(500);
/// The outbox is looked at this often even when nobody says that there is something.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Does what stands in the outbox, for ever.
pub(crate) async fn run(store: Store, broker: Broker) {
    loop {
        broker.connected().await;
        match round(&store, &broker).await {
            Ok(Round::Empty) => {
                // Nobody speaking up in time is no fault.
                let _ = timeout(LOOK_EVERY, store.relay_wanted()).await;
            }
            Ok(Round::Done) => {}
            Ok(Round::SomeLeft) => sleep(PAUSE).await,
            Err(fault) => {
                error!(error = %fault.report(), "the outbox cannot be read or written; trying again");
                sleep(PAUSE).await;
            }
        }
    }
}

enum Round {
    Empty,
    Done,
    SomeLeft,
}

/// Takes the oldest items and does them: those of one place in order, those of different places side by side.
async fn round(store: &Store, broker: &Broker) -> Result<Round, StoreError> {
    let batch = store.pending(0, BATCH).await?;
    if batch.items.is_empty() && batch.unreadable.is_empty() {
        return Ok(Round::Empty);
    }
    let lost = give_up(batch.unreadable);
    let count = batch.items.len();
    let mut done: Vec<i64> = stream::iter(by_place(batch.items))
        .map(|queue| async move { in_order(queue, broker).await })
        .buffer_unordered(SIDE_BY_SIDE)
        .concat()
        .await;
    let all_done = done.len() == count;
    done.extend(lost);
    store.done(&done).await?;
    Ok(if all_done { Round::Done } else { Round::SomeLeft })
}

/// Commands whose key is not there are not waited for: nobody accepts them in time, and their jobs end with the reason.
fn give_up(unreadable: Vec<(i64, StoreError)>) -> Vec<i64> {
    let tell = |(id, error): (i64, StoreError)| {
        error!(error = %error.report(), "a command cannot be sent, and is given up");
        id
    };
    unreadable.into_iter().map(tell).collect()
}

/// Items that must keep their order are those of one node's queue, and those with one routing key.
fn by_place(items: Vec<Pending>) -> Vec<Vec<Pending>> {
    let mut places: HashMap<String, Vec<Pending>> = HashMap::new();
    for pending in items {
        let place = match &pending.item {
            Item::DeclareQueue(node) | Item::DeleteQueue(node) => node.to_string(),
            Item::Publish(message) => message.routing_key.clone(),
        };
        places.entry(place).or_default().push(pending);
    }
    places.into_values().collect()
}

/// Does items until one fails, and says which were done.
async fn in_order(queue: Vec<Pending>, broker: &Broker) -> Vec<i64> {
    let mut done = Vec::with_capacity(queue.len());
    for Pending { id, item } in queue {
        let result = match &item {
            Item::Publish(message) => publish(message, broker).await,
            Item::DeclareQueue(node) => broker.declare_node_queue(*node).await.map_err(Fault::Broker),
            Item::DeleteQueue(node) => broker.delete_node_queue(*node).await.map_err(Fault::Broker),
        };
        match result {
            Ok(()) => done.push(id),
            Err(fault) => {
                warn!(error = %fault, "the broker did not do what stands in the outbox; it is kept");
                break;
            }
        }
    }
    done
}

#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error(transparent)]
    Publish(#[from] PublishError),
    #[error(transparent)]
    Broker(#[from] BrokerError),
}

/// Publishes a message. A command that no queue takes finds the queue of its node gone: it is declared, and the command sent
/// again.
async fn publish(message: &Outgoing, broker: &Broker) -> Result<(), Fault> {
    match broker.publish(message.clone()).await {
        Err(PublishError::Unroutable { .. }) if message.exchange == topology::COMMANDS => {
            if let Ok(node) = message.routing_key.parse::<NodeId>() {
                broker.declare_node_queue(node).await?;
            }
            Ok(broker.publish(message.clone()).await?)
        }
        result => Ok(result?),
    }
}
