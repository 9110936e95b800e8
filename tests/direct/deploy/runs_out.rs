//! A temporary URL that runs out while an image is on its way.

use std::time::Duration;

use farrier_testbed::swift::Swift;
use tokio::time::{sleep, timeout};

use super::fleet::{SOON, Station, glance};
use super::relay::Relay;

/// For how many seconds a URL is good. Long enough for the way from the coordinator to the first byte on a busy machine.
const DURATION: u64 = 20;
/// How much of the image comes before the connection is cut.
const CUT_AFTER: usize = 8 << 20;

#[tokio::test]
async fn a_download_goes_on_with_a_fresh_url_and_loses_nothing() {
    let swift = Swift::shared().await.unwrap();
    let mut relay = Relay::start(swift.port(), CUT_AFTER).await;
    let settings = format!(
        "swift_temp_url_duration = {DURATION}\nswift_temp_url_cache_enabled = true\n\
         swift_temp_url_endpoint_url = \"{}\"\n",
        relay.url()
    );
    let station = Station::start(1, &glance(&swift, &settings)).await;
    let content = std::fs::read(&station.image.path).unwrap();
    let length = content.len() as u64;
    swift.put("runs-out", "image.raw", content).await.unwrap();

    let id = station.api.submit(&station.deploy(0, "swift://runs-out/image.raw")).await.unwrap();
    timeout(SOON, relay.was_cut()).await.unwrap();
    // The end of the URL is a time of day: it has to come.
    sleep(Duration::from_secs(DURATION + 1)).await;
    relay.open();
    let job = station.api.job_ends(&id, SOON).await.unwrap();
    assert_eq!((&job["state"], &job["attempt"]), (&"succeeded".into(), &1.into()), "{job:#}");
    assert!(station.holds_image(0));

    let mut requests = swift.requests().unwrap();
    requests.retain(|served| served.method == "GET" && served.path.ends_with("/runs-out/image.raw"));
    assert!(requests.iter().any(|served| served.status == 401), "no URL was refused: {requests:?}");
    let rest = requests.iter().find(|served| served.status == 206).unwrap();
    // Of the first 8 MiB, what was under way when the connection was cut may have to come again.
    assert!(rest.bytes < length - CUT_AFTER as u64 / 2, "{requests:?}");
}
