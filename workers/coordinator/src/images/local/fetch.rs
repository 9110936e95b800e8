//! Fetching an image of another server, to serve it from here.

use farrier::image::{Download, Head, Image, expected_digest};
use farrier::telemetry::names;
use farrier::wire::{Checksum, Digest, ImageUrl};
use metrics::counter;
use sha2::{Digest as _, Sha256};

use super::cache::Cache;
use super::publish::{published, record};
use super::{Local, LocalError, Published};
use crate::images::http;
use crate::store::Store;
use crate::store::published::FetchedImage;

/// What is being fetched, and by whose leave.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Wanted {
    source: String,
    checksum: Option<String>,
    /// A hash of the headers: what one may fetch another may not.
    headers: String,
}

impl Local {
    /// Makes an image of another server one that is served here. It is fetched once, also for many at the same time, and again only when
    /// its server says that it has changed, or the cache has given it up. Once begun it goes on when nobody waits for it any more.
    ///
    /// `name` is what tells the image from others, where its URL is another one each time; it may have secrets.
    ///
    /// # Errors
    /// [`LocalError`].
    pub async fn fetch(&self, store: &Store, image: &Image, name: &str) -> Result<Published, LocalError> {
        self.url()?;
        self.cache()?;
        require_servers(image)?;
        let headers = image.connection.headers.iter().flat_map(|(name, value)| [name, value.expose()]);
        let wanted = Wanted {
            source: hash_of([name]),
            checksum: image.checksum.clone().map(String::from),
            headers: hash_of(headers),
        };
        let (local, store, image, source) =
            (self.clone(), store.clone(), image.clone(), wanted.source.clone());
        let work = async move { local.fetch_once(&store, image, &source).await };
        self.0.fetches.join(wanted, Box::pin(work)).await
    }

    async fn fetch_once(
        &self,
        store: &Store,
        mut image: Image,
        source: &str,
    ) -> Result<Published, LocalError> {
        let (base, cache) = (self.url()?, self.cache()?);
        let expected = expected_digest(&image, &self.0.settings).await?;
        image.checksum = expected.map(Checksum::Digest);
        let head = http::check(&image.connection, &image.source, None).await?;
        let validator = validator(&head);
        let known = store.fetched(cache.directory(), source).await?;
        if let Some(known) = known.filter(|known| still_holds(known, &validator, expected))
            && let Some(length) = kept_whole(cache, store, &known.sha256).await?
        {
            counter!(names::IMAGE_CACHE, "outcome" => "reused").increment(1);
            return published(base, &known.sha256, length);
        }
        let _turn = cache.downloads.acquire().await.map_err(|_| LocalError::Lost)?;
        let download = Download::begin(&image, &self.0.settings).await?;
        let room = cache.reserve(store, download.length()).await?;
        let file =
            room.file().map_err(|source| LocalError::Cache { path: cache.directory().to_owned(), source })?;
        let downloaded = download.keep(file, room.bytes()).await?;
        let sha256 = hex::encode(downloaded.sha256.as_bytes());
        // Held until the store knows it.
        let _hold = cache.keep(room, &sha256, downloaded.bytes).await?;
        let (_, identity) = cache.open_file(&sha256).await?;
        store.publish(&record(&cache.path(&sha256), identity, &sha256)).await?;
        let checksum = downloaded.checksum.to_string();
        let fetched = FetchedImage { validator, checksum, sha256: sha256.clone() };
        store.note_fetched(cache.directory(), source, &fetched).await?;
        counter!(names::IMAGE_CACHE, "outcome" => "fetched").increment(1);
        tracing::info!(url = %image.source, sha256, bytes = downloaded.bytes, "an image was fetched to be served");
        published(base, &sha256, downloaded.bytes)
    }
}

/// Files of this machine are not read by whoever may name an image of another.
fn require_servers(image: &Image) -> Result<(), LocalError> {
    let checksum = match &image.checksum {
        Some(Checksum::File(url)) => Some(url),
        _ => None,
    };
    let is_file = |url: &&ImageUrl| url.expose().scheme() == "file";
    match std::iter::once(&image.source).chain(&image.mirrors).chain(checksum).find(is_file) {
        Some(url) => Err(LocalError::NotFetched { url: Box::new(url.clone()) }),
        None => Ok(()),
    }
}

/// What changes when the image does, as far as its server says; nothing where it says nothing.
fn validator(head: &Head) -> String {
    let Head { length, etag, last_modified } = head;
    match (etag, last_modified) {
        (None, None) => String::new(),
        _ => format!(
            "{} {} {}",
            etag.as_deref().unwrap_or("-"),
            last_modified.as_deref().unwrap_or("-"),
            length.map_or_else(|| "-".to_owned(), |length| length.to_string())
        ),
    }
}

/// Whether what was fetched then is what would be fetched now, and what is expected.
fn still_holds(known: &FetchedImage, validator: &str, expected: Option<Digest>) -> bool {
    let vouched = |digest: Digest| {
        let digest = digest.to_string();
        digest == known.checksum || digest == format!("sha256:{}", known.sha256)
    };
    !validator.is_empty() && known.validator == validator && expected.is_none_or(vouched)
}

/// How long an image in the cache is, if it is there as it was put there.
async fn kept_whole(cache: &Cache, store: &Store, sha256: &str) -> Result<Option<u64>, LocalError> {
    let Some(_hold) = cache.hold(sha256) else { return Ok(None) };
    if let Ok((_, identity)) = cache.open_file(sha256).await
        && store.sha256_of_file(&identity.to_string()).await?.as_deref() == Some(sha256)
    {
        return Ok(Some(identity.length()));
    }
    tracing::warn!(sha256, "an image in the cache is not what it was, and is fetched again");
    cache.discard(store, sha256).await?;
    Ok(None)
}

fn hash_of<'a>(parts: impl IntoIterator<Item = &'a str>) -> String {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update(part);
        // So that no two lists of parts are the same bytes.
        hasher.update([0]);
    }
    hex::encode(hasher.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_holds_while_the_server_says_so_and_the_digest_is_the_one_expected() {
        let sha256 = "ab".repeat(32);
        let other: Digest = "cd".repeat(64).parse().unwrap();
        let known =
            FetchedImage { validator: "v".to_owned(), checksum: other.to_string(), sha256: sha256.clone() };
        let holds = |validator, expected| still_holds(&known, validator, expected);
        assert!(holds("v", None));
        assert!(holds("v", Some(other)));
        assert!(holds("v", Some(sha256.parse().unwrap())));
        assert!(!holds("v", Some("ef".repeat(32).parse().unwrap())));
        assert!(!holds("w", Some(other)));
        let unknown = FetchedImage { validator: String::new(), ..known.clone() };
        assert!(!still_holds(&unknown, "", None), "a server that says nothing");
    }

    #[test]
    fn every_word_of_the_server_is_part_of_the_validator() {
        let head = Head { length: Some(1), etag: Some("e".to_owned()), last_modified: Some("m".to_owned()) };
        let whole = validator(&head);
        assert_ne!(whole, validator(&Head { length: Some(2), ..head.clone() }));
        assert_ne!(whole, validator(&Head { etag: None, ..head.clone() }));
        assert_ne!(whole, validator(&Head { last_modified: None, ..head.clone() }));
        assert_eq!(validator(&Head { etag: None, last_modified: None, ..head }), "");
    }
}
