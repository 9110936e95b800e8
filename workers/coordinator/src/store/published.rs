//! Files that were hashed and are served by their content, so that neither a restart nor another coordinator reads them again.

use std::ffi::OsStr;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use super::{Store, StoreError};

/// A file that was hashed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublishedFile {
    /// Its path, as it was asked for.
    pub path: PathBuf,
    /// Which version of it was hashed.
    pub identity: String,
    /// The hex digits of its SHA-256.
    pub sha256: String,
}

/// What an image of another server was, when it was fetched.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct FetchedImage {
    /// What its server said that changes when the image does.
    pub validator: String,
    /// The digest that it was verified by.
    pub checksum: String,
    /// The hex digits of its SHA-256.
    pub sha256: String,
}

impl Store {
    /// The SHA-256 of a file of this identity, if one was hashed.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn sha256_of_file(&self, identity: &str) -> Result<Option<String>, StoreError> {
        let query = "SELECT sha256 FROM published WHERE identity = ? LIMIT 1";
        Ok(sqlx::query_scalar(query).bind(identity).fetch_optional(&self.reader).await?)
    }

    /// Notes what a file is. What was noted of its path before is forgotten.
    ///
    /// # Errors
    /// The store cannot be read or written.
    pub async fn publish(&self, file: &PublishedFile) -> Result<(), StoreError> {
        let known = "SELECT 1 FROM published WHERE path = ? AND identity = ? AND sha256 = ?";
        let known: Option<i64> = sqlx::query_scalar(known)
            .bind(bytes(&file.path))
            .bind(&file.identity)
            .bind(&file.sha256)
            .fetch_optional(&self.reader)
            .await?;
        if known.is_some() {
            return Ok(());
        }
        let mut tx = self.begin().await?;
        sqlx::query(
            "INSERT OR REPLACE INTO published (path, identity, sha256, published_at) VALUES (?, ?, ?, ?)",
        )
        .bind(bytes(&file.path))
        .bind(&file.identity)
        .bind(&file.sha256)
        .bind(tx.now)
        .execute(&mut *tx.inner)
        .await?;
        tx.commit().await
    }

    /// The files of a content, the one that was published last first.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn published_as(&self, sha256: &str) -> Result<Vec<PublishedFile>, StoreError> {
        let query =
            "SELECT path, identity, sha256 FROM published WHERE sha256 = ? ORDER BY published_at DESC";
        let rows: Vec<Row> = sqlx::query_as(query).bind(sha256).fetch_all(&self.reader).await?;
        Ok(rows.into_iter().map(file).collect())
    }

    /// The files directly in a directory, the one that was published first first.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn published_in(&self, directory: &Path) -> Result<Vec<PublishedFile>, StoreError> {
        let query = "SELECT path, identity, sha256 FROM published WHERE substr(path, 1, length(?1)) = ?1 ORDER BY published_at";
        let within = directory.join("");
        let rows: Vec<Row> = sqlx::query_as(query).bind(bytes(&within)).fetch_all(&self.reader).await?;
        Ok(rows.into_iter().map(file).filter(|file| file.path.parent() == Some(directory)).collect())
    }

    /// Forgets a file that is another one now, unless that has been noted already.
    ///
    /// # Errors
    /// The store cannot be written.
    pub async fn unpublish(&self, file: &PublishedFile) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        sqlx::query("DELETE FROM published WHERE path = ? AND identity = ?")
            .bind(bytes(&file.path))
            .bind(&file.identity)
            .execute(&mut *tx.inner)
            .await?;
        tx.commit().await
    }

    /// What an image was when it was fetched into this cache.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn fetched(&self, directory: &Path, source: &str) -> Result<Option<FetchedImage>, StoreError> {
        let query = "SELECT validator, checksum, sha256 FROM fetched WHERE directory = ? AND source = ?";
        let row =
            sqlx::query_as(query).bind(bytes(directory)).bind(source).fetch_optional(&self.reader).await?;
        Ok(row)
    }

    /// Notes what an image was when it was fetched into this cache.
    ///
    /// # Errors
    /// The store cannot be written.
    pub async fn note_fetched(
        &self,
        directory: &Path,
        source: &str,
        image: &FetchedImage,
    ) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        sqlx::query(
            "INSERT OR REPLACE INTO fetched (directory, source, validator, checksum, sha256) VALUES (?, ?, ?, ?, ?)",
        )
        .bind(bytes(directory))
        .bind(source)
        .bind(&image.validator)
        .bind(&image.checksum)
        .bind(&image.sha256)
        .execute(&mut *tx.inner)
        .await?;
        tx.commit().await
    }

    /// Forgets an image that is in this cache no more: the file and what led to it.
    ///
    /// # Errors
    /// The store cannot be written.
    pub async fn forget_fetched(&self, directory: &Path, sha256: &str) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        sqlx::query("DELETE FROM fetched WHERE directory = ? AND sha256 = ?")
            .bind(bytes(directory))
            .bind(sha256)
            .execute(&mut *tx.inner)
            .await?;
        sqlx::query("DELETE FROM published WHERE path = ?")
            .bind(bytes(&directory.join(sha256)))
            .execute(&mut *tx.inner)
            .await?;
        tx.commit().await
    }
}

type Row = (Vec<u8>, String, String);

fn file((path, identity, sha256): Row) -> PublishedFile {
    PublishedFile { path: std::ffi::OsString::from_vec(path).into(), identity, sha256 }
}

fn bytes(path: &Path) -> &[u8] {
    OsStr::as_bytes(path.as_os_str())
}
