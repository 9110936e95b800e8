//! Makes other URLs for a command whose URL was refused while it ran.

use std::time::Duration;

use farrier::wire::FreshImageUrls;

use super::{Conductor, Ended};
use crate::images::{HandedOut, Want};
use crate::store::errands::Errand;

/// Sends the agent other URLs, or why there are none.
pub(super) async fn refresh(conductor: &Conductor, errand: Errand) -> Ended {
    let store = &conductor.store;
    let Some(circumstances) = store.circumstances(errand).await? else { return Ok(Duration::ZERO) };
    let want = Want::Fresh { later_than: circumstances.url_expires_at };
    let (answer, expires_at) = match conductor.images.hand_out(store, &circumstances, want).await {
        Ok(HandedOut { spec, expires_at }) => {
            let (image_source, image_mirrors) = (spec.image_source, spec.image_mirrors);
            (FreshImageUrls::Made { image_source, image_mirrors }, expires_at)
        }
        Err(error) => (FreshImageUrls::NotMade { error }, None),
    };
    store.send_urls(errand, answer, expires_at).await?;
    Ok(Duration::ZERO)
}
