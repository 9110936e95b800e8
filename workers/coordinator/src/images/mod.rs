//! Images of jobs: where they are, how an agent gets them, and by which proxies.

pub mod proxies;
pub mod swift;

use chrono::{DateTime, Utc};
use farrier::wire::{DeploySpec, ErrorCode, ErrorReport, ImageSource, ImageUrl, Work};

use crate::store::Store;
use crate::store::errands::Circumstances;

pub use swift::Want;

/// What an agent is handed out.
#[derive(Clone, Debug)]
pub struct HandedOut {
    /// The spec as it takes it.
    pub spec: DeploySpec,
    /// When the first of the URLs in it runs out, where one does.
    pub expires_at: Option<DateTime<Utc>>,
}

/// Makes the URLs of images. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Images {}

impl Images {
    /// The spec of a deploy as an agent takes it.
    ///
    /// # Errors
    /// Why the image cannot be handed out; its code says whether that may pass.
    pub async fn prepare(
        &self,
        _store: &Store,
        circumstances: &Circumstances,
        _want: Want,
    ) -> Result<HandedOut, ErrorReport> {
        let Work::Deploy(spec) = circumstances.work.clone() else {
            return Err(ErrorReport::new(ErrorCode::Internal, "only a deploy has an image"));
        };
        let source = url_of(&spec.image_source)?;
        let mirrors = spec.image_mirrors.iter().map(url_of).collect::<Result<_, _>>()?;
        Ok(HandedOut { spec: (*spec).with_sources(source, mirrors), expires_at: None })
    }
}

fn url_of(source: &ImageSource) -> Result<ImageUrl, ErrorReport> {
    match source {
        ImageSource::Url(url) => Ok(url.clone()),
        other => Err(ErrorReport::new(
            ErrorCode::ImageUnsupported,
            format!("{other} is not at a URL; this coordinator makes none"),
        )),
    }
}
