//! Takes jobs in from `farrier.jobs`.

use std::time::Duration;

use farrier::broker::{Broker, Delivery, topology};
use farrier::wire::{Coded as _, ErrorReport, Event, JobRequest};
use tokio::time::sleep;
use tracing::{error, info, warn};

use crate::inbox::put_aside;
use crate::store::Store;

/// How many jobs may be on their way at once.
const PREFETCH: u16 = 64;
/// How long to wait after the store failed.
const PAUSE: Duration = Duration::from_secs(1);

/// Takes jobs in until the broker is closed.
pub(crate) async fn run(broker: Broker, store: Store) {
    let mut jobs = broker.subscribe(topology::JOBS, PREFETCH);
    while let Some(delivery) = jobs.next().await {
        take(delivery, &broker, &store).await;
    }
}

async fn take(delivery: Delivery, broker: &Broker, store: &Store) {
    let request = Event::decode(&delivery.body).and_then(Event::into_typed::<JobRequest>);
    let event = match request {
        Ok(event) => event,
        Err(error) => return put_aside(delivery, broker, &ErrorReport::from(&error)).await,
    };
    match store.jobs().submit(event.data, &event.source).await {
        Ok((job, created)) => {
            info!(job = %job.id, node = %job.node, verb = %job.work.verb(), created, "a job was taken in");
            if let Err(lost) = delivery.ack().await {
                warn!(error = %lost, job = %job.id, "the job comes again; one with an identifier or a key is known by then");
            }
        }
        Err(fault) if fault.is_of_the_store() => {
            error!(error = %fault.report(), "a job cannot be stored; it is kept in the queue");
            if let Err(lost) = delivery.requeue().await {
                warn!(error = %lost, "the job comes again");
            }
            sleep(PAUSE).await;
        }
        Err(fault) => put_aside(delivery, broker, &fault.report()).await,
    }
}
