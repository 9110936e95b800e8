//! Images of jobs: where they are, how an agent gets them, and by which proxies.
//!
//! ```text
//! a job's source -> catalogue -> Swift: a temporary URL        \
//!                                http: asked about, as it is    > hand_out -> the spec that an agent takes
//!                                a file, or kept: a local URL  /
//! ```

mod hand_out;
pub mod http;
pub mod local;
pub mod proxies;
pub mod swift;

use std::sync::Arc;

use farrier::image::Settings;
use farrier::wire::{ErrorCode, ErrorReport, ImageDownloadSource, ImageSource};

pub use self::hand_out::HandedOut;
use self::local::Local;
use self::proxies::ProxyDefaults;
use self::swift::Swift;
pub use self::swift::Want;

/// Hands images out. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Images(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    swift: Option<Swift>,
    local: Local,
    proxies: ProxyDefaults,
    /// How, unless the job or the node says.
    way: ImageDownloadSource,
    /// How the coordinator itself reaches servers.
    settings: Settings,
}

/// How the coordinator itself reaches servers and takes images. Which images are good enough is for the agents to say.
#[must_use]
pub fn settings() -> Settings {
    let mut settings = Settings::default();
    (settings.policy.without_digest, settings.policy.weak_digests) = (true, true);
    settings
}

impl Images {
    /// With what the configuration says.
    #[must_use]
    pub fn new(swift: Option<Swift>, local: Local, proxies: ProxyDefaults, way: ImageDownloadSource) -> Self {
        Self(Arc::new(Shared { swift, local, proxies, way, settings: settings() }))
    }

    /// The Swift that images are in.
    ///
    /// # Errors
    /// There is none.
    fn swift(&self, source: &ImageSource) -> Result<&Swift, ErrorReport> {
        self.0.swift.as_ref().ok_or_else(|| {
            let message = format!(
                "the image {source} is in Swift, and the configuration of the coordinator has no [glance] that says where that is"
            );
            ErrorReport::new(ErrorCode::ImageUnsupported, message)
        })
    }
}
