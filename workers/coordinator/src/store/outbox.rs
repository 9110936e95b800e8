//! What is still to be done at the broker. Written in the same transaction as the change that it follows from.

use farrier::broker::{Outgoing, topology};
use farrier::wire::NodeId;
use serde::{Deserialize, Serialize};

use super::rows::{from_json, json, open};
use super::{Store, StoreError, Tx};
use crate::vault::Place;

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

impl Item {
    /// Whether there may be secrets in it: there are in commands, which have all that an agent needs.
    fn may_hold_secrets(&self) -> bool {
        matches!(self, Self::Publish(message) if message.exchange == topology::COMMANDS)
    }
}

/// An item with its place.
#[derive(Clone, Debug)]
pub struct Pending {
    /// Its place; items are done in this order.
    pub id: i64,
    /// What to do.
    pub item: Item,
}

/// What stands in the outbox.
#[derive(Debug, Default)]
pub struct Batch {
    /// What can be done.
    pub items: Vec<Pending>,
    /// The places of commands that were sealed under a key that is not there, and why they cannot be read.
    pub unreadable: Vec<(i64, StoreError)>,
}

fn place(id: &str) -> Place<'_> {
    Place { table: "outbox", column: "item", row: id }
}

impl Tx {
    /// Puts an item into the outbox.
    pub(super) async fn send(&mut self, item: &Item) -> Result<(), StoreError> {
        // What is sealed is bound to its place, which is to be known before. Nobody else writes while this transaction lasts.
        let id: i64 = sqlx::query_scalar(
            "SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'outbox'), 0) + 1",
        )
        .fetch_one(&mut *self.inner)
        .await?;
        let text = json(item);
        let text = if item.may_hold_secrets() {
            self.vault.seal_if_keyed(place(&id.to_string()), text)
        } else {
            text
        };
        sqlx::query("INSERT INTO outbox (id, item) VALUES (?, ?)")
            .bind(id)
            .bind(text)
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
    pub async fn pending(&self, after: i64, limit: u32) -> Result<Batch, StoreError> {
        let rows: Vec<(i64, String)> =
            sqlx::query_as("SELECT id, item FROM outbox WHERE id > ? ORDER BY id LIMIT ?")
                .bind(after)
                .bind(limit)
                .fetch_all(&self.reader)
                .await?;
        let mut batch = Batch::default();
        for (id, stored) in rows {
            match open(&self.vault, place(&id.to_string()), &stored) {
                Ok(text) => batch.items.push(Pending { id, item: from_json(&text)? }),
                Err(error) => batch.unreadable.push((id, error)),
            }
        }
        Ok(batch)
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
