//! Temporary URLs that may be handed out again.

use super::{Store, StoreError};
use crate::images::swift::Terms;

/// A temporary URL.
#[derive(Clone, PartialEq, Eq)]
pub struct TempUrlEntry {
    /// The URL: a secret.
    pub url: String,
    /// When it runs out, in seconds since 1970.
    pub expires_at: i64,
}

impl std::fmt::Debug for TempUrlEntry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TempUrlEntry").field("expires_at", &self.expires_at).finish_non_exhaustive()
    }
}

/// What is handed out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Handed {
    /// What was handed out before.
    Again(TempUrlEntry),
    /// The new one, which will be handed out from now on.
    New(TempUrlEntry),
}

impl Store {
    /// The URL that is kept under `fingerprint` if `terms` allow it, else `new`, which is then kept in its place. One transaction, so
    /// that all who ask at once are handed the same. What has run out is deleted in passing.
    ///
    /// # Errors
    /// The store cannot be read or written.
    pub async fn temp_url(
        &self,
        fingerprint: &str,
        terms: Terms,
        new: TempUrlEntry,
    ) -> Result<Handed, StoreError> {
        let mut tx = self.begin().await?;
        let kept: Option<(String, i64)> =
            sqlx::query_as("SELECT url, expires_at FROM temp_urls WHERE fingerprint = ?")
                .bind(fingerprint)
                .fetch_optional(&mut *tx.inner)
                .await?;
        if let Some((url, expires_at)) = kept
            && terms.allow(expires_at)
        {
            tx.commit().await?;
            return Ok(Handed::Again(TempUrlEntry { url: from_rest(url), expires_at }));
        }
        sqlx::query("DELETE FROM temp_urls WHERE expires_at < ?")
            .bind(terms.now.div_euclid(1_000_000))
            .execute(&mut *tx.inner)
            .await?;
        sqlx::query("INSERT OR REPLACE INTO temp_urls (fingerprint, url, expires_at) VALUES (?, ?, ?)")
            .bind(fingerprint)
            .bind(at_rest(&new.url))
            .bind(new.expires_at)
            .execute(&mut *tx.inner)
            .await?;
        tx.commit().await?;
        Ok(Handed::New(new))
    }
}

/// A URL as it stands in the column.
fn at_rest(url: &str) -> String {
    url.to_owned()
}

/// The URL that a column holds.
fn from_rest(column: String) -> String {
    column
}
