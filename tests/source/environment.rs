//! The environment of the process says nothing about proxies.

use std::process::Command;

use farrier::image::Connection;
use farrier_testbed::ports::free_address;

use crate::lab::{Origin, fetch_well};

/// Where the child finds the image.
const URL: &str = "FARRIER_TEST_IMAGE_URL";

#[test]
fn its_proxies_are_not_asked() {
    // The environment of a process is set where it is started, so this test starts itself.
    if let Ok(url) = std::env::var(URL) {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(fetch_well(&[url], Connection::default()));
        return;
    }
    let origin = Origin::start();
    let nobody = format!("http://{}", free_address().unwrap());
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", "environment::its_proxies_are_not_asked"]).env(URL, origin.url());
    for name in ["http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"] {
        child.env(name, &nobody);
    }
    // What this environment may say would let the image through.
    child.env_remove("no_proxy").env_remove("NO_PROXY");
    let output = child.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
    assert_eq!(origin.nginx.requests().unwrap().len(), 1);
}
