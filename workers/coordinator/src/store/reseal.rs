//! Seals anew what stands under an old key, or was written while there was none: after that, an old key can be taken away.

use farrier::wire::{ImageSource, Work};
use serde_json::{Map, Value};
use tracing::{info, warn};

use super::rows::{from_json, json};
use super::{Store, StoreError, Tx, driver_secrets};
use crate::vault::Place;

/// How many rows are sealed anew in one transaction.
const BATCH: u32 = 200;

/// A column of texts that are sealed whole.
struct Column {
    table: &'static str,
    column: &'static str,
    /// What names a row in its [`Place`].
    row: &'static str,
    /// Which rows are sealed. Others may hold no secret.
    sealed_where: &'static str,
}

const COLUMNS: &[Column] = &[
    Column { table: "jobs", column: "request", row: "id", sealed_where: "verb = 'deploy'" },
    Column { table: "jobs", column: "work", row: "id", sealed_where: "verb = 'deploy'" },
    Column { table: "images", column: "entry", row: "id", sealed_where: "TRUE" },
    Column { table: "temp_urls", column: "url", row: "fingerprint", sealed_where: "TRUE" },
    Column { table: "outbox", column: "item", row: "id", sealed_where: "item LIKE 'farrier:%'" },
];

/// What was done to one batch.
#[derive(Default)]
struct Progress {
    last: Option<i64>,
    sealed: usize,
    unreadable: usize,
}

impl Store {
    /// Brings every secret under the key that seals now. Does nothing when that was done before. What cannot be opened stays as
    /// it is, and is told in the log.
    ///
    /// # Errors
    /// The store cannot be read or written.
    pub async fn reseal(&self) -> Result<(), StoreError> {
        let before: Option<String> =
            sqlx::query_scalar("SELECT key_id FROM sealing").fetch_one(&self.reader).await?;
        match (&before, self.vault.key_id()) {
            (Some(before), Some(now)) if before == now => return Ok(()),
            (Some(before), None) => {
                warn!(
                    "secrets in the store are sealed under the key {before}, and the coordinator has none: start it with \
                     --secret-key-file, or jobs and power control that need them will fail"
                );
                return self.note_sealing(None).await;
            }
            (None, None) => return Ok(()),
            (_, Some(_)) => {}
        }
        self.write_what_may_be_shown().await?;
        let mut total = self.reseal_batches(None).await?;
        for column in COLUMNS {
            let more = self.reseal_batches(Some(column)).await?;
            (total.sealed, total.unreadable) =
                (total.sealed + more.sealed, total.unreadable + more.unreadable);
        }
        // Else the log beside the database would hold what was plain until it is written over. Others who read keep it for longer.
        sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").execute(&self.writer).await?;
        if total.sealed > 0 {
            info!(count = total.sealed, key = self.vault.key_id(), "secrets were sealed anew");
        }
        if total.unreadable > 0 {
            warn!(
                count = total.unreadable,
                "secrets stand under keys that the coordinator does not have; add those to the file of --secret-key-file"
            );
            return self.note_sealing(None).await;
        }
        self.note_sealing(self.vault.key_id()).await
    }

    /// Jobs of before secrets were sealed have only their whole work, which is about to be sealed.
    async fn write_what_may_be_shown(&self) -> Result<(), StoreError> {
        loop {
            let mut tx = self.begin().await?;
            let rows: Vec<(i64, String)> =
                sqlx::query_as("SELECT number, work FROM jobs WHERE shown IS NULL LIMIT ?")
                    .bind(BATCH)
                    .fetch_all(&mut *tx.inner)
                    .await?;
            for (number, work) in &rows {
                let work: Work<ImageSource> = from_json(work)?;
                sqlx::query("UPDATE jobs SET shown = ? WHERE number = ?")
                    .bind(json(&work.redacted()))
                    .bind(number)
                    .execute(&mut *tx.inner)
                    .await?;
            }
            tx.commit().await?;
            if rows.is_empty() {
                return Ok(());
            }
        }
    }

    async fn note_sealing(&self, key_id: Option<&str>) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        sqlx::query("UPDATE sealing SET key_id = ?").bind(key_id).execute(&mut *tx.inner).await?;
        tx.commit().await
    }

    /// A column from its first row to its last; the driver info of nodes where none is named.
    async fn reseal_batches(&self, column: Option<&Column>) -> Result<Progress, StoreError> {
        let mut total = Progress::default();
        let mut after = 0;
        loop {
            let mut tx = self.begin().await?;
            let batch = match column {
                Some(column) => tx.reseal_texts(column, after).await?,
                None => tx.reseal_nodes(after).await?,
            };
            tx.commit().await?;
            (total.sealed, total.unreadable) =
                (total.sealed + batch.sealed, total.unreadable + batch.unreadable);
            match batch.last {
                Some(last) => after = last,
                None => return Ok(total),
            }
        }
    }
}

impl Tx {
    async fn reseal_nodes(&mut self, after: i64) -> Result<Progress, StoreError> {
        let rows: Vec<(i64, String, String)> =
            sqlx::query_as("SELECT rowid, id, driver_info FROM nodes WHERE rowid > ? ORDER BY rowid LIMIT ?")
                .bind(after)
                .bind(BATCH)
                .fetch_all(&mut *self.inner)
                .await?;
        let mut progress = Progress::default();
        for (number, id, stored) in rows {
            let before: Map<String, Value> = from_json(&stored)?;
            let (anew, unreadable) = driver_secrets::reseal(&self.vault, &id, before.clone())?;
            progress.last = Some(number);
            progress.unreadable += unreadable;
            if anew == before {
                continue;
            }
            progress.sealed += before.iter().filter(|(key, value)| anew.get(*key) != Some(value)).count();
            sqlx::query("UPDATE nodes SET driver_info = ? WHERE rowid = ?")
                .bind(json(&anew))
                .bind(number)
                .execute(&mut *self.inner)
                .await?;
        }
        Ok(progress)
    }

    async fn reseal_texts(&mut self, of: &Column, after: i64) -> Result<Progress, StoreError> {
        let Column { table, column, row, sealed_where } = of;
        let query = format!(
            "SELECT rowid, CAST({row} AS TEXT), {column} FROM {table} WHERE rowid > ? AND {sealed_where} ORDER BY rowid LIMIT ?"
        );
        let rows: Vec<(i64, String, String)> = sqlx::query_as(sqlx::AssertSqlSafe(query))
            .bind(after)
            .bind(BATCH)
            .fetch_all(&mut *self.inner)
            .await?;
        let mut progress = Progress::default();
        for (number, id, stored) in rows {
            progress.last = Some(number);
            if self.vault.is_current(&stored) {
                continue;
            }
            let place = Place { table, column, row: &id };
            let Ok(text) = self.vault.open(place, &stored) else {
                progress.unreadable += 1;
                continue;
            };
            let update = format!("UPDATE {table} SET {column} = ? WHERE rowid = ?");
            sqlx::query(sqlx::AssertSqlSafe(update))
                .bind(self.vault.seal_if_keyed(place, text.to_string()))
                .bind(number)
                .execute(&mut *self.inner)
                .await?;
            progress.sealed += 1;
        }
        Ok(progress)
    }
}
