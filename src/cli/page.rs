//! Lists that the API gives in pages.

use clap::Args;
use clap::builder::RangedU64ValueParser;
use farrier::wire::api::Page;
use serde::de::DeserializeOwned;

use super::client::{Client, ClientError};

/// The most that the API gives at once.
const LARGEST_PAGE: usize = 500;

/// How much of a list to show.
#[derive(Debug, Args)]
pub(crate) struct Paging {
    /// How many entries to show at most
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = RangedU64ValueParser::<usize>::new().range(1..))]
    limit: usize,
    /// Begin after this entry, as the end of an earlier list says
    #[arg(long, value_name = "CURSOR")]
    after: Option<String>,
}

/// Reads as many pages as are needed, as one.
pub(crate) async fn list<T: DeserializeOwned>(
    client: &Client,
    noun: &str,
    filters: &[(&'static str, String)],
    paging: &Paging,
) -> Result<Page<T>, ClientError> {
    let mut all = Page { items: Vec::new(), next: paging.after.clone() };
    loop {
        let missing = paging.limit.saturating_sub(all.items.len());
        let mut query = filters.to_vec();
        query.push(("limit", missing.min(LARGEST_PAGE).to_string()));
        query.extend(all.next.take().map(|after| ("after", after)));
        let page: Page<T> = client.get(&[noun], &query).await?;
        all.items.extend(page.items);
        all.next = page.next;
        if all.next.is_none() || all.items.len() >= paging.limit {
            return Ok(all);
        }
    }
}

/// A table, and how to see the rest of the list.
pub(crate) fn with_rest(table: String, next: Option<&str>) -> String {
    match next {
        Some(next) => format!("{table}\nthere are more: --after {next}"),
        None => table,
    }
}
