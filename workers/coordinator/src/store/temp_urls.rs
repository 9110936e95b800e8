//! Temporary URLs that may be handed out again.

use super::{Store, StoreError};
use crate::images::swift::Terms;
use crate::vault::Place;

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
            // One that was sealed under a key that is gone is as good as none.
            && let Ok(url) = self.vault.open(place(fingerprint), &url)
        {
            tx.commit().await?;
            return Ok(Handed::Again(TempUrlEntry { url: url.as_str().to_owned(), expires_at }));
        }
        sqlx::query("DELETE FROM temp_urls WHERE expires_at < ?")
            .bind(terms.now.div_euclid(1_000_000))
            .execute(&mut *tx.inner)
            .await?;
        sqlx::query("INSERT OR REPLACE INTO temp_urls (fingerprint, url, expires_at) VALUES (?, ?, ?)")
            .bind(fingerprint)
            .bind(self.vault.seal_if_keyed(place(fingerprint), new.url.clone()))
            .bind(new.expires_at)
            .execute(&mut *tx.inner)
            .await?;
        tx.commit().await?;
        Ok(Handed::New(new))
    }
}

fn place(fingerprint: &str) -> Place<'_> {
    Place { table: "temp_urls", column: "url", row: fingerprint }
}
