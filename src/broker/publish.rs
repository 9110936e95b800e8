//! Publishing with confirms, through a pool of channels.

use std::sync::Arc;
use std::time::Duration;

use chrono::Utc;
use deadpool::managed::{self, Metrics, Pool, PoolError, RecycleError, RecycleResult};
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::types::ShortString;
use lapin::{BasicProperties, Channel, Confirmation};
use tokio::time::timeout;

use super::connection::Link;
use super::error::PublishError;
use super::message::Outgoing;

/// Bound on a publish, from asking for a channel to the confirm.
const PUBLISH_TIMEOUT: Duration = Duration::from_secs(10);
/// Messages that may be on their way at once on one connection. More would wait for a channel.
const CHANNELS: usize = 16;
/// The `delivery_mode` of a message that survives the broker.
const PERSISTENT: u8 = 2;

/// Publishes on one connection.
#[derive(Debug)]
pub(super) struct Publisher {
    pool: Pool<Channels>,
    user_id: Option<ShortString>,
}

impl Publisher {
    pub(super) fn new(link: Arc<Link>, user_id: Option<&str>) -> Self {
        let pool = Pool::builder(Channels { link })
            .max_size(CHANNELS)
            .build()
            .expect("a pool without timeouts needs no runtime");
        Self { pool, user_id: user_id.and_then(|id| ShortString::try_new(id).ok()) }
    }

    pub(super) async fn publish(&self, message: &Outgoing) -> Result<(), PublishError> {
        let refused = |reason: String| PublishError::Refused {
            exchange: message.exchange.clone(),
            routing_key: message.routing_key.clone(),
            reason,
        };
        let short = |text: &str| ShortString::try_new(text).map_err(|error| refused(error.to_string()));
        let mut properties = BasicProperties::default()
            .with_content_type(short(&message.content_type)?)
            .with_type(short(&message.kind)?)
            .with_message_id(short(&message.message_id)?)
            .with_timestamp(u64::try_from(Utc::now().timestamp()).unwrap_or_default());
        if let Some(id) = &message.correlation_id {
            properties = properties.with_correlation_id(short(id)?);
        }
        if let Some(expiration) = message.expiration {
            properties = properties.with_expiration(short(&expiration.as_millis().to_string())?);
        }
        self.publish_raw(
            &message.exchange,
            &message.routing_key,
            message.mandatory,
            &message.body,
            properties,
        )
        .await
    }

    /// Publishes with these properties, made persistent and signed with the own login name.
    pub(super) async fn publish_raw(
        &self,
        exchange: &str,
        routing_key: &str,
        mandatory: bool,
        body: &[u8],
        properties: BasicProperties,
    ) -> Result<(), PublishError> {
        let mut properties = properties.with_delivery_mode(PERSISTENT);
        if let Some(user_id) = &self.user_id {
            properties = properties.with_user_id(user_id.clone());
        }
        let confirmed = self.confirmed(exchange, routing_key, mandatory, body, properties);
        timeout(PUBLISH_TIMEOUT, confirmed)
            .await
            .unwrap_or(Err(PublishError::TimedOut { after: PUBLISH_TIMEOUT }))
    }

    async fn confirmed(
        &self,
        exchange: &str,
        routing_key: &str,
        mandatory: bool,
        body: &[u8],
        properties: BasicProperties,
    ) -> Result<(), PublishError> {
        let failed = |error: &lapin::Error| PublishError::from_lapin(error, exchange, routing_key);
        let unroutable = |reason: String| PublishError::Unroutable {
            exchange: exchange.to_owned(),
            routing_key: routing_key.to_owned(),
            reason,
        };
        let names = ShortString::try_new(exchange)
            .and_then(|exchange| Ok((exchange, ShortString::try_new(routing_key)?)))
            .map_err(|error| unroutable(error.to_string()))?;
        let mut pooled = self.pool.get().await.map_err(|error| match error {
            PoolError::Backend(error) => failed(&error),
            other => PublishError::Disconnected { reason: other.to_string() },
        })?;

        // lapin gives a returned message to whichever confirm comes next on its channel, so a channel carries one message
        // at a time; and one whose confirm was not waited for is not used again.
        pooled.in_flight = true;
        let options = BasicPublishOptions { mandatory, ..BasicPublishOptions::default() };
        let confirm = pooled.channel.basic_publish(names.0, names.1, options, body, properties);
        let confirmation =
            confirm.await.map_err(|error| failed(&error))?.await.map_err(|error| failed(&error))?;
        pooled.in_flight = false;

        match confirmation {
            Confirmation::Ack(None) => Ok(()),
            Confirmation::Ack(Some(returned)) | Confirmation::Nack(Some(returned)) => {
                Err(unroutable(returned.reply_text.to_string()))
            }
            Confirmation::Nack(None) => Err(PublishError::Nacked {
                exchange: exchange.to_owned(),
                routing_key: routing_key.to_owned(),
            }),
            Confirmation::NotRequested => {
                Err(PublishError::Disconnected { reason: "the channel does not confirm".into() })
            }
        }
    }
}

/// Makes channels that confirm.
#[derive(Debug)]
struct Channels {
    link: Arc<Link>,
}

#[derive(Debug)]
struct Pooled {
    channel: Channel,
    in_flight: bool,
}

impl managed::Manager for Channels {
    type Type = Pooled;
    type Error = lapin::Error;

    async fn create(&self) -> Result<Pooled, lapin::Error> {
        let channel = self.link.connection.create_channel().await?;
        channel.confirm_select(ConfirmSelectOptions::default()).await?;
        Ok(Pooled { channel, in_flight: false })
    }

    async fn recycle(&self, pooled: &mut Pooled, _: &Metrics) -> RecycleResult<lapin::Error> {
        if pooled.in_flight || !pooled.channel.status().connected() {
            return Err(RecycleError::message("the channel is closed or waits for a confirm"));
        }
        Ok(())
    }
}
