//! What is still to be done at the broker. Written in the same transaction as the change that it follows from.

use farrier::broker::Outgoing;
use farrier::wire::NodeId;
use serde::{Deserialize, Serialize};

use super::{Store, StoreError, Tx};

/// One thing to do at the broker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Item {
    /// Publish a message, until the broker has confirmed it.
    Publish(Box<Outgoing>),
    /// Declare the queue of a node.
    DeclareQueue(NodeId),
    /// Delete the queue of a node.
    DeleteQueue(NodeId),
}

/// An item with its place.
#[derive(Clone, Debug)]
pub struct Pending {
    /// Its place; items are done in this order.
    pub id: i64,
    /// What to do.
    pub item: Item,
}

impl Tx {
    /// Puts an item into the outbox.
    pub(super) async fn send(&mut self, item: &Item) -> Result<(), StoreError> {
        sqlx::query("INSERT INTO outbox (item) VALUES (?)")
            .bind(super::rows::json(item))
            .execute(&mut *self.inner)
            .await?;
        self.after.relay = true;
        Ok(())
    }
}

impl Store {
    /// The oldest items, at most `limit`, after the place `after`.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn pending(&self, after: i64, limit: u32) -> Result<Vec<Pending>, StoreError> {
        let rows: Vec<(i64, String)> =
            sqlx::query_as("SELECT id, item FROM outbox WHERE id > ? ORDER BY id LIMIT ?")
                .bind(after)
                .bind(limit)
                .fetch_all(&self.reader)
                .await?;
        rows.into_iter().map(|(id, item)| Ok(Pending { id, item: super::rows::from_json(&item)? })).collect()
    }

    /// Takes items out that were done.
    ///
    /// # Errors
    /// The store cannot be written; they will be done again, which readers recognise.
    pub async fn done(&self, ids: &[i64]) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        for id in ids {
            sqlx::query("DELETE FROM outbox WHERE id = ?").bind(id).execute(&mut *tx.inner).await?;
        }
        tx.commit().await
    }

    /// How many items there are.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn outbox_depth(&self) -> Result<i64, StoreError> {
        Ok(sqlx::query_scalar("SELECT count(*) FROM outbox").fetch_one(&self.reader).await?)
    }
}
