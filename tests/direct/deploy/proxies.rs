//! The proxies of a node: set once, sent with every deploy, used for the image and its checksum file.

use farrier_testbed::disk_image::disk_like;
use farrier_testbed::http::{Fault, FaultyServer, Nginx};
use farrier_testbed::squid::{Squid, SquidOptions};
use farrier_testbed::wait::wait_for;
use serde_json::{Value, json};

use super::fleet::{SOON, Station};

/// Images on a server with a checksum file beside them.
struct Served {
    nginx: Nginx,
    name: String,
}

impl Served {
    fn start(station: &Station) -> Self {
        let name = station.image.path.file_name().unwrap().to_str().unwrap().to_owned();
        let sums = format!("{}  {name}\n", station.image.sha256_hex);
        std::fs::write(station.images.join("SHA256SUMS"), sums).unwrap();
        let nginx = Nginx::start(&station.images.join("nginx"), &station.images).unwrap();
        Self { nginx, name }
    }

    fn deploy(&self, station: &Station) -> Value {
        let mut job = station.deploy(0, &self.nginx.url(&self.name));
        job["spec"]["image_checksum"] = json!(self.nginx.url("SHA256SUMS"));
        job
    }
}

async fn set(station: &Station, driver_info: Value) -> farrier_testbed::api::Answer {
    let path = format!("v1/nodes/{}", station.fleet.agents[0].node());
    let change = json!({"driver_info": driver_info});
    station.api.request(reqwest::Method::PATCH, &path, Some(&change)).await.unwrap()
}

#[tokio::test]
async fn a_node_s_proxy_is_used_for_the_image_and_its_checksum_file_unless_the_server_is_excepted() {
    let station = Station::start(1, "").await;
    let served = Served::start(&station);
    let squid = Squid::start(SquidOptions::default()).unwrap();
    set(&station, json!({"image_http_proxy": squid.url()})).await.success().unwrap();
    let job = station.ends(&served.deploy(&station)).await;
    assert_eq!(job["state"], "succeeded", "{job:#}");
    // Squid notes a request when it has ended.
    let noted = async || {
        let requests = squid.requests()?;
        let has = |name: &str| requests.iter().any(|line| line.contains(name));
        Ok((has(&served.name) && has("SHA256SUMS")).then_some(requests))
    };
    let through = wait_for("both have come through the proxy", SOON, noted).await.unwrap();

    set(&station, json!({"image_no_proxy": "127.0.0.1"})).await.success().unwrap();
    let job = station.ends(&served.deploy(&station)).await;
    assert_eq!(job["state"], "succeeded", "{job:#}");
    assert_eq!(squid.requests().unwrap(), through);
}

/// `[[image_proxies.rack]]` of the configuration, where the node says nothing.
#[tokio::test]
async fn a_rack_has_its_proxy_and_a_node_another() {
    let squid = Squid::start(SquidOptions::default()).unwrap();
    let proxies = format!(
        "[image_proxies]\nimage_http_proxy = \"http://127.0.0.1:1\"\n\
         [[image_proxies.rack]]\nsite = \"iad1\"\nrack = \"r12\"\nimage_http_proxy = \"{}\"\n",
        squid.url()
    );
    let station = Station::start(1, &proxies).await;
    let served = Served::start(&station);
    let job = station.ends(&served.deploy(&station)).await;
    assert_eq!(job["state"], "succeeded", "{job:#}");
    let noted = async || Ok(squid.requests()?.into_iter().find(|line| line.contains(&served.name)));
    wait_for("the image has come through the proxy", SOON, noted).await.unwrap();

    set(&station, json!({"image_http_proxy": "http://127.0.0.1:1"})).await.success().unwrap();
    let job = station.ends(&served.deploy(&station)).await;
    assert_eq!((&job["state"], &job["error"]["code"]), (&"failed".into(), &"http-connect".into()), "{job:#}");
}

#[tokio::test]
async fn malformed_proxies_are_refused_when_they_are_set_and_each_is_named() {
    let station = Station::start(1, "").await;
    let answer = set(
        &station,
        json!({"image_http_proxy": "socks5://proxy", "image_no_proxy": "a..b,10.0.0.0/99", "image_htpp_proxy": "x"}),
    )
    .await;
    let refused = answer.success().unwrap_err().to_string();
    for word in ["bad-driver-info", "image_http_proxy", "socks5", "image_no_proxy", "image_htpp_proxy"] {
        assert!(refused.contains(word), "{word}: {refused}");
    }
}

/// A proxy that hands out another image, one that wants credentials, and one that is not there: the job ends, and nothing that boots is
/// on the disk.
#[tokio::test]
async fn a_proxy_that_rewrites_refuses_or_is_down_ends_the_job() {
    let station = Station::start(1, "").await;
    let served = Served::start(&station);
    let rewriting = FaultyServer::start(disk_like(8 << 20), Fault::Nothing).await.unwrap();
    let squid =
        Squid::start(SquidOptions { credentials: Some(("node", "hunter2")), ..SquidOptions::default() })
            .unwrap();
    for (proxy, code) in [
        (rewriting.url(""), "digest-mismatch"),
        (squid.url(), "http-status"),
        (squid.url_with("node", "wrong"), "http-status"),
        ("http://127.0.0.1:1".to_owned(), "http-connect"),
    ] {
        set(&station, json!({"image_http_proxy": proxy})).await.success().unwrap();
        let mut job = served.deploy(&station);
        job["spec"]["image_checksum"] = json!(station.image.sha256_hex);
        let job = station.ends(&job).await;
        assert_eq!(
            (&job["state"], &job["error"]["code"]),
            (&"failed".into(), &code.into()),
            "{proxy}: {job:#}"
        );
        assert!(!job.to_string().contains("wrong"), "a password is shown");
        let disk = std::fs::read(station.fleet.agents[0].lab_disk(0)).unwrap();
        assert!(
            !disk.starts_with(&std::fs::read(&station.image.path).unwrap()[..512]),
            "{proxy}: it may boot"
        );
    }
    set(&station, json!({"image_http_proxy": squid.url_with("node", "hunter2")})).await.success().unwrap();
    let job = station.ends(&served.deploy(&station)).await;
    assert_eq!(job["state"], "succeeded", "{job:#}");
}
