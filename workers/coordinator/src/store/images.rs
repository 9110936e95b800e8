//! The catalogue of images.

use farrier::wire::api::{Image, ImageEntry, Page};
use sqlx::{FromRow, QueryBuilder, Sqlite};
use uuid::Uuid;

use super::nodes::{bad_after, page};
use super::rows::{from_json, id, json, open, time};
use super::{Store, StoreError};
use crate::vault::Place;

/// Images of a store.
#[derive(Clone, Copy, Debug)]
pub struct Images<'a> {
    pub(super) store: &'a Store,
}

/// What may be shown of a row.
#[derive(FromRow)]
struct ImageRow {
    id: String,
    shown: String,
    created_at: i64,
    updated_at: i64,
}

/// What an [`ImageRow`] is read from; a condition may follow.
const IMAGES: &str = "SELECT id, shown, created_at, updated_at FROM images";

impl Images<'_> {
    /// Registers an image or replaces its entry, and says whether it is new.
    ///
    /// # Errors
    /// The store cannot be written.
    pub async fn put(&self, image: Uuid, entry: &ImageEntry) -> Result<(Image, bool), StoreError> {
        let id = image.to_string();
        let mut tx = self.store.begin().await?;
        let whole = tx.vault.seal_if_keyed(place(&id), json(entry));
        let before: Option<i64> = sqlx::query_scalar("SELECT created_at FROM images WHERE id = ?")
            .bind(&id)
            .fetch_optional(&mut *tx.inner)
            .await?;
        sqlx::query(
            "INSERT INTO images (id, entry, shown, created_at, updated_at) VALUES (?1, ?2, ?3, ?4, ?4) \
             ON CONFLICT (id) DO UPDATE SET entry = ?2, shown = ?3, updated_at = ?4",
        )
        .bind(&id)
        .bind(whole)
        .bind(json(&entry.redacted()))
        .bind(tx.now)
        .execute(&mut *tx.inner)
        .await?;
        tx.commit().await?;
        Ok((self.get(image).await?, before.is_none()))
    }

    /// What may be shown of an image.
    ///
    /// # Errors
    /// It is not registered.
    pub async fn get(&self, image: Uuid) -> Result<Image, StoreError> {
        let query = format!("{IMAGES} WHERE id = ?");
        let row: Option<ImageRow> = sqlx::query_as(sqlx::AssertSqlSafe(query))
            .bind(image.to_string())
            .fetch_optional(&self.store.reader)
            .await?;
        row.ok_or(StoreError::UnknownImage { image })?.into_image()
    }

    /// The whole entry of an image, for a deploy of it; nothing where it is not registered.
    ///
    /// # Errors
    /// It was sealed under a key that is not there.
    pub async fn entry(&self, image: Uuid) -> Result<Option<ImageEntry>, StoreError> {
        let id = image.to_string();
        let stored: Option<String> = sqlx::query_scalar("SELECT entry FROM images WHERE id = ?")
            .bind(&id)
            .fetch_optional(&self.store.reader)
            .await?;
        stored.map(|stored| from_json(&open(&self.store.vault, place(&id), &stored)?)).transpose()
    }

    /// Lists images by UUID.
    ///
    /// # Errors
    /// `after` is not the `next` of a page, or the store cannot be read.
    pub async fn list(&self, limit: u32, after: Option<String>) -> Result<Page<Image>, StoreError> {
        let mut query = QueryBuilder::<Sqlite>::new(IMAGES);
        if let Some(after) = after {
            let after: Uuid = after.parse().map_err(|_| bad_after())?;
            query.push(" WHERE id > ").push_bind(after.to_string());
        }
        query.push(" ORDER BY id LIMIT ").push_bind(i64::from(limit) + 1);
        let rows: Vec<ImageRow> = query.build_query_as().fetch_all(&self.store.reader).await?;
        page(rows, limit, |row| row.id.clone(), ImageRow::into_image)
    }

    /// Forgets an image. What it is made of stays where it is.
    ///
    /// # Errors
    /// It is not registered.
    pub async fn delete(&self, image: Uuid) -> Result<(), StoreError> {
        let mut tx = self.store.begin().await?;
        let deleted = sqlx::query("DELETE FROM images WHERE id = ?")
            .bind(image.to_string())
            .execute(&mut *tx.inner)
            .await?;
        tx.commit().await?;
        if deleted.rows_affected() == 0 { Err(StoreError::UnknownImage { image }) } else { Ok(()) }
    }
}

impl ImageRow {
    fn into_image(self) -> Result<Image, StoreError> {
        let ImageEntry { name, source, image_checksum, os_hash_algo, os_hash_value, disk_format, size } =
            from_json(&self.shown)?;
        Ok(Image {
            id: id(&self.id)?,
            name,
            source,
            image_checksum,
            os_hash_algo,
            os_hash_value,
            disk_format,
            size,
            created_at: time(self.created_at),
            updated_at: time(self.updated_at),
        })
    }
}

fn place(id: &str) -> Place<'_> {
    Place { table: "images", column: "entry", row: id }
}
