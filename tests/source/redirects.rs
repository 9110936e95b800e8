//! Where servers send those who ask, and what is shown there.

use farrier::image::Connection;
use farrier::wire::{ErrorCode, Secret};
use farrier_testbed::http::{Fault, FaultyServer, Tls};
use farrier_testbed::tls::Authority;

use crate::lab::{Origin, faulty, fetch_badly, fetch_well, file_url, image_body, sent};

fn with_headers() -> Connection {
    let header = |name: &str, value: &str| (name.to_owned(), Secret::new(value));
    let headers = vec![header("Authorization", "Bearer abc"), header("X-Token", "xyz")];
    Connection { headers, ..Connection::default() }
}

async fn leading_to(url: String) -> FaultyServer {
    faulty(&[Fault::RedirectTo(url)]).await
}

#[tokio::test]
async fn headers_are_for_the_server_that_was_named() {
    let other = faulty(&[Fault::Nothing]).await;
    let named = leading_to(other.url("elsewhere")).await;
    fetch_well(&[named.url("image")], with_headers()).await;
    for (header, value) in [("authorization", "Bearer abc"), ("x-token", "xyz")] {
        assert_eq!(sent(&named.requests(), header), [Some(value)]);
        assert_eq!(sent(&other.requests(), header), [None]);
    }
    assert_eq!(other.requests()[0].line, "GET /elsewhere HTTP/1.1");
    assert_eq!(sent(&other.requests(), "referer"), [None]);
}

#[tokio::test]
async fn the_user_in_the_url_is_for_that_server_too() {
    let other = faulty(&[Fault::Nothing]).await;
    let named = leading_to(other.url("elsewhere")).await;
    let url = named.url("image").replace("http://", "http://user:pass@");
    fetch_well(&[&url], Connection::default()).await;
    assert_eq!(sent(&named.requests(), "authorization"), [Some("Basic dXNlcjpwYXNz")]);
    assert_eq!(sent(&other.requests(), "authorization"), [None]);
}

#[tokio::test]
async fn they_stay_within_the_same_server_and_come_again_with_every_request() {
    let path = || Fault::RedirectTo("/elsewhere".to_owned());
    let named = faulty(&[path(), Fault::CutAfter(1_200_000), path(), Fault::Nothing]).await;
    fetch_well(&[named.url("image")], with_headers()).await;
    assert_eq!(sent(&named.requests(), "authorization"), [Some("Bearer abc"); 4]);
    let lines: Vec<_> = named.requests().into_iter().map(|request| request.line).collect();
    // What was redirected is asked for anew, for the other address may hold only for a while.
    assert_eq!(lines[2], "GET /image HTTP/1.1");
    assert_eq!(sent(&named.requests(), "range")[2..], [Some("bytes=1200000-"); 2]);
}

#[tokio::test]
async fn a_way_back_from_another_server_brings_nothing_back() {
    let named =
        FaultyServer::run(farrier_testbed::http::Script::new(image_body(), Vec::new())).await.unwrap();
    let other = leading_to(named.url("back")).await;
    let first = leading_to(other.url("there")).await;
    fetch_well(&[first.url("image")], with_headers()).await;
    assert_eq!(sent(&named.requests(), "authorization"), [None]);
}

#[tokio::test]
async fn neither_files_nor_circles_are_followed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("image");
    std::fs::write(&path, image_body()).unwrap();
    let server = leading_to(file_url(&path)).await;
    let report = fetch_badly(&[server.url("image")], Connection::default()).await;
    assert_eq!((report.code, server.requests().len()), (ErrorCode::HttpStatus, 1), "{report}");
    assert!(report.message.contains("no http or https URL"), "{report}");

    let server = leading_to("/again?sig=secret".to_owned()).await;
    let report = fetch_badly(&[server.url("image?sig=secret")], Connection::default()).await;
    assert_eq!((report.code, server.requests().len()), (ErrorCode::HttpStatus, 6), "{report}");
    assert!(report.message.contains("more than 5") && !report.message.contains("secret"), "{report}");
}

#[tokio::test]
async fn the_client_certificate_is_not_for_another_server() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::create(dir.path()).unwrap();
    let origin = Origin::start_tls(&Tls { authority: &authority, require_client: true });
    let connection = Connection {
        authorities: Some(std::fs::read(authority.ca_pem_path()).unwrap()),
        identity: Some(Secret::new(authority.sign_client("node").unwrap())),
        ..Connection::default()
    };
    fetch_well(&[origin.url()], connection.clone()).await;
    let server = leading_to(origin.url()).await;
    let report = fetch_badly(&[server.url("image")], connection).await;
    assert_eq!(report.code, ErrorCode::HttpStatus, "{report}");
    assert!(report.message.contains("400"), "{report}");
}
