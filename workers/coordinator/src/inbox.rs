//! Takes in what agents say. Everything that has come is taken in together, in one transaction, and acknowledged after it.

use std::time::Duration;

use farrier::broker::{Broker, Delivery, Subscription, topology};
use farrier::wire::{AgentEvent, Coded as _, ErrorCode, ErrorReport};
use futures_util::FutureExt as _;
use tokio::time::sleep;
use tracing::{error, warn};

use crate::store::{Rules, Store};

/// How many results may be on their way at once, and are taken in together.
const RESULTS: u16 = 256;
/// The same for telemetry, of which there is more.
const TELEMETRY: u16 = 1024;
/// How long to wait after the store or the broker failed.
const PAUSE: Duration = Duration::from_secs(1);

/// Takes in what may not be lost.
pub(crate) async fn results(broker: Broker, store: Store, rules: Rules) {
    take(broker.subscribe(topology::RESULTS, RESULTS), RESULTS.into(), &broker, &store, &rules).await;
}

/// Takes in what is replaced by its successor.
pub(crate) async fn telemetry(broker: Broker, store: Store, rules: Rules) {
    take(broker.subscribe(topology::TELEMETRY, TELEMETRY), TELEMETRY.into(), &broker, &store, &rules).await;
}

async fn take(mut queue: Subscription, most: usize, broker: &Broker, store: &Store, rules: &Rules) {
    while let Some(first) = queue.next().await {
        let mut events = Vec::new();
        let mut deliveries = Vec::new();
        let mut next = Some(first);
        while let Some(delivery) = next {
            match read(&delivery.body) {
                Ok(event) => {
                    events.push(event);
                    deliveries.push(delivery);
                }
                Err(why) => put_aside(delivery, broker, &why).await,
            }
            next = if deliveries.len() < most { queue.next().now_or_never().flatten() } else { None };
        }
        match store.hear(&events, rules).await {
            Ok(()) => settle(deliveries, Delivery::ack).await,
            Err(fault) => {
                error!(error = %fault.report(), "what agents said cannot be stored; it is kept in the queue");
                settle(deliveries, Delivery::requeue).await;
                sleep(PAUSE).await;
            }
        }
    }
}

/// Reads a message. Where an agent stands becomes part of routing keys, and must fit there.
fn read(body: &[u8]) -> Result<AgentEvent, ErrorReport> {
    let event = AgentEvent::decode(body).map_err(|error| ErrorReport::from(&error))?;
    let origin = event.origin();
    for (field, word) in [("site", &origin.site), ("rack", &origin.rack)] {
        topology::check_word(field, word).map_err(|error| ErrorReport {
            code: ErrorCode::BadSchema,
            message: error.to_string(),
            field: Some(format!("data.{field}")),
        })?;
    }
    Ok(event)
}

async fn settle<F>(deliveries: Vec<Delivery>, how: impl Fn(Delivery) -> F)
where
    F: Future<Output = Result<(), farrier::broker::AckLost>>,
{
    for delivery in deliveries {
        if let Err(lost) = how(delivery).await {
            warn!(error = %lost, "a message will come again; what it says is known by then");
        }
    }
}

/// Puts a message aside that cannot be processed, with the reason.
pub(crate) async fn put_aside(delivery: Delivery, broker: &Broker, why: &ErrorReport) {
    warn!(code = %why.code, "a message goes to {}: {}", topology::DEAD, why.message);
    if let Err(fault) = delivery.dead_letter(broker, why).await {
        warn!(error = %fault.report(), "it could not be put aside and comes again");
        sleep(PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    use farrier::wire::{BootId, Event, Log, NodeId, Origin};

    use super::*;

    #[test]
    fn an_agent_that_stands_nowhere_is_not_heard() {
        let log = |site: &str| {
            let origin =
                Origin { node: NodeId::new(), site: site.into(), rack: "r1".into(), boot_id: BootId::new() };
            Event::new("/test", "x", Log { origin, level: "info".into(), message: "x".into(), command: None })
                .encode()
        };
        assert!(read(&log("iad1")).is_ok());
        let why = read(&log("iad1.#")).unwrap_err();
        assert_eq!((why.code, why.field.as_deref()), (ErrorCode::BadSchema, Some("data.site")));
        assert_eq!(read(b"{").unwrap_err().code, ErrorCode::NotJson);
    }
}
