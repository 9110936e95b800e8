//! Makes other URLs for a command whose URL was refused while it ran.

use std::time::Duration;

use farrier::wire::FreshImageUrls;

use super::{Conductor, Ended};
use crate::images::Want;
use crate::store::errands::Errand;

/// Sends the agent other URLs, or why there are none.
pub(super) async fn refresh(conductor: &Conductor, errand: Errand) -> Ended {
    let store = &conductor.store;
    let Some(circumstances) = store.circumstances(errand).await? else { return Ok(Duration::ZERO) };
    let answer = match conductor.images.prepare(store, &circumstances, Want::Fresh).await {
        Ok(spec) => {
            FreshImageUrls::Made { image_source: spec.image_source, image_mirrors: spec.image_mirrors }
        }
        Err(error) => FreshImageUrls::NotMade { error },
    };
    store.send_urls(errand, answer).await?;
    Ok(Duration::ZERO)
}
