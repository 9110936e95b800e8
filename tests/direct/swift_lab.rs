//! What makes URLs of a Swift and what fetches by them, without a broker: the parts of the coordinator and of the agent that do so.

use std::fs::{self, OpenOptions};
use std::time::Duration;

use farrier::image::{self, Connection, Image, Limits, Proxies, Settings, Target};
use farrier::meter::Meter;
use farrier::wire::{Checksum, Coded as _, Digest, ErrorReport, ImageUrl, SwiftObject};
use farrier_coordinator::feed::Feed;
use farrier_coordinator::images::swift::{GlanceSettings, Swift, TempUrl, Want};
use farrier_coordinator::store::Store;
use farrier_coordinator::vault::Vault;
use farrier_testbed::swift::Swift as RealSwift;
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

/// No test waits longer for anything that must happen.
pub(crate) const BOUND: Duration = Duration::from_secs(60);

/// What hands out URLs, with a store of its own.
pub(crate) struct Coordinator {
    pub(crate) swift: Swift,
    pub(crate) store: Store,
    _dir: TempDir,
}

impl Coordinator {
    /// With a `[glance]` for this Swift that has these settings beside or in place of the usual ones.
    pub(crate) async fn of(swift: &RealSwift, settings: &[(&str, toml::Value)]) -> Self {
        let mut table = toml::Table::new();
        let usual = [
            ("swift_endpoint_url", swift.url()),
            ("swift_account", RealSwift::ACCOUNT.to_owned()),
            ("swift_temp_url_key", RealSwift::KEY.to_owned()),
        ];
        table.extend(usual.map(|(key, value)| (key.to_owned(), value.into())));
        table.extend(settings.iter().map(|(key, value)| ((*key).to_owned(), value.clone())));
        let glance = table.try_into::<GlanceSettings>().unwrap().check().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("farrier.db"), Feed::new(), Vault::default()).await.unwrap();
        Self { swift: Swift::new(glance).unwrap(), store, _dir: dir }
    }

    pub(crate) async fn url(&self, object: &SwiftObject, want: Want) -> Result<TempUrl, ErrorReport> {
        self.swift.url(&self.store, object, want).await.map_err(|error| error.report())
    }

    /// The URL that the next node is handed.
    pub(crate) async fn next_url(&self, object: &SwiftObject) -> ImageUrl {
        self.url(object, Want::Reused).await.unwrap_or_else(|report| panic!("{report}")).url
    }
}

pub(crate) fn object(container: &str, object: &str) -> SwiftObject {
    SwiftObject::new(container, object).unwrap()
}

/// Writes the image at `url`, which is to be `content`, to a file in the way of an agent, through a proxy where one is given.
pub(crate) async fn deploy(url: &ImageUrl, content: &[u8], proxy: Option<&str>) -> Result<(), ErrorReport> {
    let dir = tempfile::tempdir().unwrap();
    let disk = dir.path().join("disk");
    let file = OpenOptions::new().read(true).write(true).create_new(true).open(&disk).unwrap();
    let capacity = u64::try_from(content.len()).unwrap().next_multiple_of(1 << 20) + (1 << 20);
    file.set_len(capacity).unwrap();
    let digest = Digest::Sha256(Sha256::digest(content).into());
    let mut image = Image::new(url.clone(), Some(Checksum::Digest(digest)));
    let proxies = Proxies { http: proxy.map(|url| url.parse().unwrap()), ..Proxies::default() };
    image.connection = Connection { proxies, ..Connection::default() };
    let limits = Limits { tries: 2, backoff: Duration::from_millis(1), ..Limits::default() };
    let settings = Settings { limits, ..Settings::default() };
    let target = Target { name: "the disk".to_owned(), file, capacity, sector: 512 };
    let meter = Meter::unobserved();
    let writing = image::write(&image, target, &settings, &meter);
    let written = tokio::time::timeout(BOUND, writing).await.expect("it neither ends nor fails");
    written.map_err(|error| error.report())?;
    let on_disk = fs::read(&disk).unwrap();
    assert!(on_disk.starts_with(content), "the disk has something else than the image");
    Ok(())
}
