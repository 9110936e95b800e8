//! What an agent is told of an image that the coordinator serves.

use farrier::wire::{DeploySpec, ErrorReport, ImageDownloadSource, NodeId, Work};
use farrier_coordinator::images::proxies::ProxyDefaults;
use farrier_coordinator::images::{Images, Want};
use farrier_coordinator::store::errands::Circumstances;
use farrier_testbed::http::{Fault, FaultyServer};
use serde_json::{Map, Value, json};

use crate::lab::{Asked, Lab, sha256_of};

const CONTENT: &[u8] = b"content";

async fn hand_out(lab: &Lab, way: ImageDownloadSource, spec: Value) -> Result<DeploySpec, ErrorReport> {
    let images = Images::new(None, lab.local.clone(), ProxyDefaults::default(), way);
    let circumstances = Circumstances {
        node: NodeId::new(),
        site: "iad1".to_owned(),
        rack: "r12".to_owned(),
        driver_info: Map::new(),
        alive: true,
        boot_id: None,
        can_power: false,
        node_updated_at: chrono::DateTime::UNIX_EPOCH,
        work: Work::Deploy(Box::new(serde_json::from_value(spec).unwrap())),
        phase: None,
        restart: None,
        attempt_boot: None,
        url_expires_at: None,
    };
    images.hand_out(&lab.store, &circumstances, Want::Reused).await.map(|handed| handed.spec)
}

fn checksum_of(spec: &DeploySpec) -> Option<String> {
    spec.image_checksum.clone().map(String::from)
}

#[tokio::test]
async fn an_image_that_is_kept_is_at_the_local_url_with_the_digest_that_the_job_has() {
    let lab = Lab::with_cache(1 << 20).await;
    let server = FaultyServer::start(CONTENT.to_vec(), Fault::Nothing).await.unwrap();
    let url = server.url("image");
    let sha256 = format!("sha256:{}", sha256_of(CONTENT));
    let md5 = "md5:9a0364b9e99bb480dd25e1f0284c8555";
    for (given, told) in [
        (Some(sha256.as_str()), Some(sha256.as_str())),
        // Whether that will do is for the agent to say.
        (Some(md5), Some(md5)),
        (None, None),
    ] {
        let spec = json!({"image_source": url, "image_checksum": given});
        let spec = hand_out(&lab, ImageDownloadSource::Local, spec).await.unwrap();
        assert!(spec.image_source.expose().path().starts_with("/images/"), "{}", spec.image_source);
        assert_eq!(checksum_of(&spec).as_deref(), told);
        let asked = Asked::at(spec.image_source.expose().as_str());
        assert_eq!(asked.get(&[]).await.2, CONTENT);
    }
    let spec = json!({"image_source": url, "image_checksum": sha256});
    let spec = hand_out(&lab, ImageDownloadSource::Http, spec).await.unwrap();
    assert_eq!(spec.image_source.expose().as_str(), url, "handed over as it is");
}

#[tokio::test]
async fn a_file_has_a_digest_without_anybody_giving_it() {
    let lab = Lab::start().await;
    let path = lab.image("a.raw", CONTENT);
    let spec = |checksum: Option<&str>| json!({"image_source": format!("file://{}", path.display()), "image_checksum": checksum});
    let handed = hand_out(&lab, ImageDownloadSource::Swift, spec(None)).await.unwrap();
    assert_eq!(checksum_of(&handed), Some(format!("sha256:{}", sha256_of(CONTENT))));
    let wrong = hand_out(&lab, ImageDownloadSource::Swift, spec(Some(&"ab".repeat(32)))).await.unwrap_err();
    assert_eq!(wrong.code, farrier::wire::ErrorCode::DigestMismatch);
}

/// What a checksum file says of an image holds for its mirrors, also where the image itself cannot be handed out.
#[tokio::test]
async fn a_mirror_does_not_vouch_for_itself() {
    let lab = Lab::start().await;
    let path = lab.image("other.raw", CONTENT);
    for (digest, is_right) in [("ab".repeat(32), false), (sha256_of(CONTENT), true)] {
        let sums = format!("{digest}  disk 1.raw\n").into_bytes();
        let server = FaultyServer::start(sums, Fault::Nothing).await.unwrap();
        let spec = json!({
            "image_source": "swift://images/debian/disk 1.raw", "image_mirrors": [format!("file://{}", path.display())],
            "image_checksum": server.url("SHA256SUMS"),
        });
        let handed = hand_out(&lab, ImageDownloadSource::Swift, spec).await;
        match handed {
            Ok(spec) => assert!(is_right && checksum_of(&spec) == Some(format!("sha256:{digest}"))),
            Err(report) => {
                assert!(!is_right && report.code == farrier::wire::ErrorCode::DigestMismatch, "{report}");
            }
        }
    }
}
