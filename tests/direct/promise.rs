//! The promise of the specification, by a real Swift and a real Squid with the configuration that is shipped: nodes that deploy the
//! same image through the cache of their rack fetch it from Swift once, if its URL is handed out again, and never by a forged one.

use farrier::wire::{ErrorCode, ImageUrl};
use farrier_testbed::disk_image::disk_like;
use farrier_testbed::squid::{RackCache, Squid, SquidOptions};
use farrier_testbed::swift::{Served, Swift};
use farrier_testbed::tls::Authority;
use farrier_testbed::wait::wait_for;
use futures_util::future::join_all;

use crate::swift_lab::{BOUND, Coordinator, deploy, object};

const NODES: usize = 4;
const IMAGE: usize = 5_000_000;

/// A Swift, the cache of a rack, and what hands out URLs for that.
struct Rack {
    swift: Swift,
    squid: Squid,
    coordinator: Coordinator,
    content: Vec<u8>,
    _authority: tempfile::TempDir,
}

impl Rack {
    async fn start(tls: bool, cached: bool, duration: i64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::create(dir.path()).unwrap();
        let authority = tls.then_some(&authority);
        let swift = Swift::start(authority).await.unwrap();
        let content = disk_like(IMAGE);
        swift.put("glance", "image", content.clone()).await.unwrap();
        let cache = RackCache { tls: authority, swift_port: swift.port(), in_memory: tls };
        let squid = Squid::start(SquidOptions { cache: Some(cache), ..SquidOptions::default() }).unwrap();
        let mut settings = vec![
            ("swift_temp_url_cache_enabled", cached.into()),
            ("swift_temp_url_duration", duration.into()),
            ("swift_temp_url_endpoint_url", cache.swift_url().into()),
        ];
        if let Some(authority) = authority {
            settings.push(("swift_ca_file", authority.ca_pem_path().display().to_string().into()));
        }
        let coordinator = Coordinator::of(&swift, &settings).await;
        Self { swift, squid, coordinator, content, _authority: dir }
    }

    async fn next_url(&self) -> ImageUrl {
        self.coordinator.next_url(&object("glance", "image")).await
    }

    /// A URL that no node has been handed yet. Those that were made within one second are the same, with the cache off too.
    async fn another_url(&self, than: &[ImageUrl]) -> ImageUrl {
        let made = async || {
            let url = self.next_url().await;
            Ok((!than.contains(&url)).then_some(url))
        };
        wait_for("another URL is made", BOUND, made).await.unwrap()
    }

    async fn deploy(&self, url: &ImageUrl) {
        let deployed = deploy(url, &self.content, Some(&self.squid.url())).await;
        deployed.unwrap_or_else(|report| panic!("{report}; Squid says {:?}", self.squid.outcomes()));
    }

    async fn refused(&self, url: &ImageUrl) -> ErrorCode {
        let report = deploy(url, &self.content, Some(&self.squid.url())).await.unwrap_err();
        assert!(!report.message.contains("temp_url_sig"), "{report}");
        report.code
    }

    /// What Swift sent of the image, once it has logged as many answers as it must.
    async fn fetches(&self, at_least: usize) -> Vec<Served> {
        let logged = async || {
            let fetches = self.swift.fetches("glance", "image")?;
            Ok((fetches.len() >= at_least).then_some(fetches))
        };
        wait_for("Swift has logged what it sent", BOUND, logged).await.unwrap()
    }
}

async fn one_fetch_for_all(tls: bool) {
    let rack = Rack::start(tls, true, 1200).await;
    let mut urls = Vec::new();
    for _ in 0..NODES {
        urls.push(rack.next_url().await);
    }
    join_all(urls.iter().map(|url| rack.deploy(url))).await;
    // And one that comes when it is all there.
    rack.deploy(&rack.next_url().await).await;
    let fetches = rack.fetches(1).await;
    assert_eq!(fetches.len(), 1, "{fetches:?}; Squid says {:?}", rack.squid.outcomes());
    assert_eq!(fetches[0].bytes, u64::try_from(IMAGE).unwrap(), "it is sent whole");
    assert!(urls.iter().all(|url| url.expose().scheme() == "http"), "a tunnel could not be cached");

    // Nobody who has not been handed the URL gets the image out of the cache, which has it.
    let url = rack.next_url().await;
    let text = url.expose().as_str();
    let end = text.find("&temp_url_expires").unwrap();
    let last = if &text[end - 1..end] == "0" { "1" } else { "0" };
    let forged: ImageUrl = format!("{}{last}{}", &text[..end - 1], &text[end..]).parse().unwrap();
    let mut unsigned = url.expose().clone();
    unsigned.set_query(None);
    for bad in [forged, ImageUrl::new(unsigned).unwrap()] {
        assert_eq!(rack.refused(&bad).await, ErrorCode::HttpStatus);
    }
    assert_eq!(rack.fetches(1).await.len(), 1);
}

#[tokio::test]
async fn with_the_url_cache_all_nodes_of_a_rack_make_one_fetch() {
    one_fetch_for_all(false).await;
}

#[tokio::test]
async fn and_likewise_where_the_proxy_asks_swift_by_tls() {
    one_fetch_for_all(true).await;
}

#[tokio::test]
async fn without_the_url_cache_every_node_makes_its_own() {
    for tls in [false, true] {
        let rack = Rack::start(tls, false, 1200).await;
        let mut urls = Vec::new();
        for _ in 0..NODES {
            urls.push(rack.another_url(&urls).await);
        }
        join_all(urls.iter().map(|url| rack.deploy(url))).await;
        let fetches = rack.fetches(NODES).await;
        assert_eq!(fetches.len(), NODES, "{fetches:?}");
    }
}

#[tokio::test]
async fn what_has_run_out_is_not_served_by_the_cache_either() {
    let mut rack = Rack::start(false, true, 5).await;
    let url = rack.next_url().await;
    rack.deploy(&url).await;
    rack.deploy(&url).await;
    assert_eq!(rack.fetches(1).await.len(), 1, "Squid says {:?}", rack.squid.outcomes());
    let expired = async || {
        let fresh = rack.next_url().await;
        Ok((fresh != url).then_some(fresh))
    };
    let fresh = wait_for("the URL has run out", BOUND, expired).await.unwrap();
    assert_eq!(rack.refused(&url).await, ErrorCode::HttpStatus, "Squid says {:?}", rack.squid.outcomes());
    rack.deploy(&fresh).await;
    rack.swift.stop();
    // Squid counts whole seconds: what has run out within the present one may still be served.
    let refused = async || {
        let late = deploy(&url, &rack.content, Some(&rack.squid.url())).await;
        Ok(late.err())
    };
    wait_for("it is not served where Swift cannot be asked either", BOUND, refused).await.unwrap();
}
