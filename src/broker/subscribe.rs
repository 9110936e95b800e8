//! Taking messages from a queue, for as long as it takes.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use lapin::Consumer;
use lapin::options::{BasicConsumeOptions, BasicQosOptions};
use lapin::types::{FieldTable, ShortString};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::task::AbortOnDropHandle;

use super::backoff::Backoff;
use super::error::BrokerError;
use super::message::Delivery;
use super::supervisor::{Session, Shared};
use crate::wire::{Coded as _, ErrorReport};

/// The first wait is drawn from zero to this.
const FIRST_WAIT: Duration = Duration::from_millis(100);
/// No wait is longer than this: a queue that was missing is found soon after it is declared.
const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// A subscription that lived for as long ended for a reason of its own, and is renewed at once.
const STABLE_AFTER: Duration = Duration::from_secs(1);
/// Bound on opening a channel and subscribing.
const SUBSCRIBE_TIMEOUT: Duration = Duration::from_secs(10);

/// How a subscription is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SubscriptionState {
    /// There is no connection.
    Disconnected,
    /// There is no such queue, yet.
    Missing,
    /// The broker does not let us subscribe.
    Refused(ErrorReport),
    /// Messages come.
    Active,
    /// None will come any more.
    Closed,
}

/// The messages of one queue. Ends with the [`Broker`](super::Broker) that made it, or when it is dropped; what was not
/// acknowledged by then comes again.
#[derive(Debug)]
pub struct Subscription {
    deliveries: mpsc::Receiver<Delivery>,
    state: watch::Receiver<SubscriptionState>,
    _task: AbortOnDropHandle<()>,
}

impl Subscription {
    pub(super) fn start(shared: Arc<Shared>, queue: String, prefetch: u16) -> Self {
        let prefetch = prefetch.max(1);
        let (sender, deliveries) = mpsc::channel(usize::from(prefetch));
        let (state, watched) = watch::channel(SubscriptionState::Disconnected);
        let subscriber = Subscriber { shared, queue, prefetch, sender, state: State(state) };
        let task = AbortOnDropHandle::new(tokio::spawn(subscriber.run()));
        Self { deliveries, state: watched, _task: task }
    }

    /// The next message; `None` once the broker is closed. May be cancelled without loss.
    pub async fn next(&mut self) -> Option<Delivery> {
        loop {
            let delivery = self.deliveries.recv().await?;
            // One that outlived its connection comes again on the next.
            if delivery.is_current() {
                return Some(delivery);
            }
        }
    }

    /// How the subscription is, now and later.
    #[must_use]
    pub fn state(&self) -> watch::Receiver<SubscriptionState> {
        self.state.clone()
    }
}

/// Says `Closed` at the end, whatever ends it.
struct State(watch::Sender<SubscriptionState>);

impl State {
    fn set(&self, state: SubscriptionState) {
        self.0.send_if_modified(|now| {
            let changed = *now != state;
            *now = state;
            changed
        });
    }
}

impl Drop for State {
    fn drop(&mut self) {
        self.set(SubscriptionState::Closed);
    }
}

struct Subscriber {
    shared: Arc<Shared>,
    queue: String,
    prefetch: u16,
    sender: mpsc::Sender<Delivery>,
    state: State,
}

/// Nobody wants the messages any more.
struct Unwanted;

impl Subscriber {
    async fn run(self) {
        let mut backoff = Backoff::new(FIRST_WAIT, LONGEST_WAIT);
        loop {
            if self.shared.session().is_none() {
                self.state.set(SubscriptionState::Disconnected);
            }
            let Some(session) = self.wanted(self.shared.wait_for_session()).await.flatten() else { return };
            let since = Instant::now();
            match self.subscribe(&session).await {
                Ok(consumer) => {
                    self.state.set(SubscriptionState::Active);
                    tracing::debug!(queue = %self.queue, "subscribed");
                    let Ok(()) = self.forward(consumer).await else { return };
                    tracing::debug!(queue = %self.queue, "the subscription ended; subscribing again");
                    self.shared.nudge.notify_one();
                    if since.elapsed() >= STABLE_AFTER {
                        backoff.reset();
                        continue;
                    }
                }
                Err(error) => self.failed(&error),
            }
            drop(session);
            if self.wanted(sleep(backoff.next())).await.is_none() {
                return;
            }
        }
    }

    /// Waits for something unless nobody wants the messages any more or the broker is closed.
    async fn wanted<T>(&self, something: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            () = self.sender.closed() => None,
            () = self.shared.closed.cancelled() => None,
            value = something => Some(value),
        }
    }

    async fn subscribe(&self, session: &Session) -> Result<Consumer, BrokerError> {
        let action = || format!("subscribe to the queue {}", self.queue);
        let failed = |error: lapin::Error| BrokerError::from_lapin(&error, action());
        let queue = ShortString::try_new(self.queue.as_str())
            .map_err(|error| BrokerError::NotFound { action: action(), reason: error.to_string() })?;
        let subscribing = async {
            // A channel of its own: an error on it, or an acknowledgement that comes too late, ends no other subscription.
            let channel = session.link.connection.create_channel().await.map_err(failed)?;
            channel.basic_qos(self.prefetch, BasicQosOptions::default()).await.map_err(failed)?;
            channel
                .basic_consume(queue, "".into(), BasicConsumeOptions::default(), FieldTable::default())
                .await
                .map_err(failed)
        };
        timeout(SUBSCRIBE_TIMEOUT, subscribing)
            .await
            .unwrap_or_else(|_| Err(BrokerError::TimedOut { action: action(), after: SUBSCRIBE_TIMEOUT }))
    }

    /// Hands messages over until the subscription ends: with an error where its channel or connection is gone, without one
    /// where the broker cancelled it.
    async fn forward(&self, mut consumer: Consumer) -> Result<(), Unwanted> {
        loop {
            match self.wanted(consumer.next()).await.ok_or(Unwanted)? {
                Some(Ok(delivery)) => self.sender.send(delivery.into()).await.map_err(|_| Unwanted)?,
                Some(Err(error)) => {
                    tracing::debug!(queue = %self.queue, %error, "the channel of a subscription was closed");
                    return Ok(());
                }
                None => return Ok(()),
            }
        }
    }

    fn failed(&self, error: &BrokerError) {
        let state = match error {
            BrokerError::NotFound { .. } => SubscriptionState::Missing,
            BrokerError::Refused { .. } | BrokerError::Inequivalent { .. } => {
                SubscriptionState::Refused(error.report())
            }
            BrokerError::Disconnected { .. } | BrokerError::TimedOut { .. } | BrokerError::Publish { .. } => {
                SubscriptionState::Disconnected
            }
        };
        if *self.state.0.borrow() != state {
            tracing::warn!(code = %error.code(), "{error}; trying again");
        }
        self.state.set(state);
        self.shared.nudge.notify_one();
    }
}
