//! Certificates: whom the agent trusts, and how it shows who it is.

use std::fs;

use farrier::image::Connection;
use farrier::wire::{ErrorCode, Secret};
use farrier_testbed::http::Tls;
use farrier_testbed::tls::Authority;
use tempfile::TempDir;

use crate::lab::{Origin, fetch_badly, fetch_well};

struct Lab {
    _dir: TempDir,
    authority: Authority,
}

impl Lab {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::create(dir.path()).unwrap();
        Self { _dir: dir, authority }
    }

    fn trusting(&self) -> Connection {
        let pem = fs::read(self.authority.ca_pem_path()).unwrap();
        Connection { authorities: Some(pem), ..Connection::default() }
    }

    fn origin(&self, require_client: bool) -> Origin {
        Origin::start_tls(&Tls { authority: &self.authority, require_client })
    }
}

#[tokio::test]
async fn only_a_trusted_authority_will_do() {
    let lab = Lab::new();
    let origin = lab.origin(false);
    fetch_well(&[origin.url()], lab.trusting()).await;
    fetch_well(&[origin.nginx.url_by("localhost", "image")], lab.trusting()).await;
    let stranger = Lab::new();
    for connection in [Connection::default(), stranger.trusting()] {
        let report = fetch_badly(&[origin.url()], connection).await;
        assert_eq!(report.code, ErrorCode::HttpConnect, "{report}");
        assert!(report.message.contains("is not trusted"), "{report}");
    }
    // The certificate is for other names.
    let report = fetch_badly(&[origin.nginx.url_by("a.b.localhost", "image")], lab.trusting()).await;
    assert!(report.message.contains("is not trusted"), "{report}");
}

#[tokio::test]
async fn several_authorities_may_be_trusted() {
    let (lab, other) = (Lab::new(), Lab::new());
    let mut connection = other.trusting();
    connection.authorities.as_mut().unwrap().extend(lab.trusting().authorities.unwrap());
    fetch_well(&[lab.origin(false).url()], connection).await;
}

#[tokio::test]
async fn a_server_may_ask_who_is_there() {
    let lab = Lab::new();
    let origin = lab.origin(true);
    let identity = Some(Secret::new(lab.authority.sign_client("node").unwrap()));
    fetch_well(&[origin.url()], Connection { identity, ..lab.trusting() }).await;
    let report = fetch_badly(&[origin.url()], lab.trusting()).await;
    assert_eq!(report.code, ErrorCode::HttpStatus, "{report}");
}

#[tokio::test]
async fn what_cannot_be_read_is_named_without_being_shown() {
    let identity = Some(Secret::new("a key that is none"));
    let authorities = Some(b"a certificate that is none".to_vec());
    let headers = vec![("X-Token".to_owned(), Secret::new("two\nlines"))];
    for (connection, expected) in [
        (Connection { identity, ..Connection::default() }, "client certificate"),
        (Connection { authorities, ..Connection::default() }, "authorities"),
        (Connection { headers, ..Connection::default() }, "X-Token"),
    ] {
        let report = fetch_badly(&["http://127.0.0.1:9/image"], connection).await;
        assert_eq!(report.code, ErrorCode::BadConfig, "{report}");
        assert!(report.message.contains(expected), "{report}");
        assert!(!report.message.contains("none") && !report.message.contains("lines"), "{report}");
    }
}
