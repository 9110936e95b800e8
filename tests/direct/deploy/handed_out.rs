//! Where an image is said to be, and how its node gets it.

use farrier_testbed::http::Nginx;
use farrier_testbed::swift::Swift;
use futures_util::future::join_all;
use serde_json::{Value, json};

use super::fleet::{Station, glance};

fn without_checksum(mut job: Value) -> Value {
    job["spec"].as_object_mut().unwrap().remove("image_checksum");
    job
}

/// Where the agent says that the image came from.
fn came_from(job: &Value) -> &str {
    job["output"]["deploy"]["image_source"].as_str().unwrap_or("nowhere")
}

#[tokio::test]
async fn a_file_of_the_coordinator_is_at_one_url_for_all_nodes() {
    let station = Station::start(2, "").await;
    let file = format!("file://{}", station.image.path.display());
    // The coordinator has hashed what it serves: a job needs no checksum.
    let jobs = [without_checksum(station.deploy(0, &file)), station.deploy(1, &file)];
    let jobs = join_all(jobs.iter().map(|job| station.ends(job))).await;
    for (agent, job) in jobs.iter().enumerate() {
        assert_eq!(job["state"], "succeeded", "{job:#}");
        assert!(station.holds_image(agent));
    }
    assert_eq!(came_from(&jobs[0]), came_from(&jobs[1]));
    assert!(came_from(&jobs[0]).contains(&station.image.sha256_hex), "{}", came_from(&jobs[0]));
}

#[tokio::test]
async fn a_checksum_that_is_not_that_of_the_file_is_found_before_a_node_is_told_of_it() {
    let station = Station::start(1, "").await;
    let file = format!("file://{}", station.image.path.display());
    let sums = |text: String| std::fs::write(station.images.join("SHA256SUMS"), text).unwrap();
    let nginx = Nginx::start(&station.images.join("nginx"), &station.images).unwrap();
    let name = station.image.path.file_name().unwrap().to_str().unwrap();
    let mut by_digest = station.deploy(0, &file);
    by_digest["spec"]["image_checksum"] = json!(format!("sha256:{}", "0".repeat(64)));
    let mut by_file = station.deploy(0, &file);
    by_file["spec"]["image_checksum"] = json!(nginx.url("SHA256SUMS"));
    sums(format!("{}  {name}\n", "0".repeat(64)));
    for job in [&by_digest, &by_file] {
        let job = station.ends(job).await;
        assert_eq!(job["error"]["code"], "digest-mismatch", "{job:#}");
        assert_eq!(job["attempt"], 0);
    }
    sums(format!("{}  {name}\n", station.image.sha256_hex));
    let job = station.ends(&by_file).await;
    assert_eq!(job["state"], "succeeded", "{job:#}");
}

/// By its UUID alone: where it is, its checksum and its format are in the catalogue, or follow from `[glance]`.
#[tokio::test]
async fn an_image_of_the_catalogue_is_named_by_its_uuid() {
    let swift = Swift::shared().await.unwrap();
    let station = Station::start(1, &glance(&swift, "swift_container = \"catalogue\"\n")).await;
    let content = std::fs::read(&station.image.path).unwrap();
    let (elsewhere, here) = (uuid::Uuid::new_v4().to_string(), uuid::Uuid::new_v4().to_string());
    swift.put("elsewhere", "images/debian 12.raw", content.clone()).await.unwrap();
    swift.put("catalogue", &here, content).await.unwrap();
    for (uuid, source) in [(&elsewhere, Some("swift://elsewhere/images/debian 12.raw")), (&here, None)] {
        let mut entry =
            json!({"name": "debian", "image_checksum": station.image.sha256_hex, "disk_format": "raw"});
        if let Some(source) = source {
            entry["source"] = json!(source);
        }
        let path = format!("v1/images/{uuid}");
        station.api.request(reqwest::Method::PUT, &path, Some(&entry)).await.unwrap().success().unwrap();
        let job = station.ends(&without_checksum(station.deploy(0, uuid))).await;
        assert_eq!(job["state"], "succeeded", "{job:#}");
        assert!(station.holds_image(0));
        let shown = job.to_string();
        assert!(!shown.contains("temp_url_sig"), "a signature is shown: {shown}");
    }
    // Without an entry it is the object of that name, and the checksum is the job's.
    let unknown = uuid::Uuid::new_v4().to_string();
    swift.put("catalogue", &unknown, std::fs::read(&station.image.path).unwrap()).await.unwrap();
    let job = station.ends(&station.deploy(0, &unknown)).await;
    assert_eq!(job["state"], "succeeded", "{job:#}");
}

/// The same image, once for each way in which the coordinator may hand it out.
#[tokio::test]
async fn the_way_of_an_image_is_that_of_the_job_the_node_or_the_configuration() {
    let swift = Swift::shared().await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let cache = format!("image_cache_dir = {:?}\n", dir.path().join("cache"));
    let station = Station::start_caching(1, &glance(&swift, ""), &cache).await;
    let nginx = Nginx::start(&dir.path().join("nginx"), &station.images).unwrap();
    let http = nginx.url(station.image.path.file_name().unwrap().to_str().unwrap());
    swift.put("ways", "image", std::fs::read(&station.image.path).unwrap()).await.unwrap();
    let from_here = |job: &Value| came_from(job).contains("/images/");

    let job = station.ends(&station.deploy(0, "swift://ways/image")).await;
    assert!(job["state"] == "succeeded" && came_from(&job).contains("AUTH_test"), "{job:#}");
    let job = station.ends(&station.deploy(0, &http)).await;
    assert!(job["state"] == "succeeded" && came_from(&job) == http, "{job:#}");
    for (source, way) in [("swift://ways/image", "http"), ("swift://ways/image", "local"), (&http, "local")] {
        let mut job = station.deploy(0, source);
        job["spec"]["image_download_source"] = json!(way);
        let job = station.ends(&job).await;
        assert!(job["state"] == "succeeded" && from_here(&job), "{way}: {job:#}");
        assert!(station.holds_image(0));
    }
    let change = json!({"driver_info": {"image_download_source": "local"}});
    let path = format!("v1/nodes/{}", station.fleet.agents[0].node());
    station.api.request(reqwest::Method::PATCH, &path, Some(&change)).await.unwrap().success().unwrap();
    let job = station.ends(&station.deploy(0, &http)).await;
    assert!(job["state"] == "succeeded" && from_here(&job), "the node has said so: {job:#}");
}
