//! Images at other servers, before an agent is sent there.

use farrier::image::{Connection, Head};
use farrier::wire::{Coded as _, ErrorCode, ErrorReport, Secret};
use farrier_coordinator::images::http::check;
use farrier_testbed::http::{Fault, FaultyServer, Script};
use farrier_testbed::ports::free_address;

use crate::lab::SOON;

async fn ask(url: &str, authorization: Option<&Secret>) -> Result<Head, ErrorReport> {
    let (connection, url) = (Connection::default(), url.parse().unwrap());
    let asking = tokio::time::timeout(SOON, check(&connection, &url, authorization));
    asking.await.expect("it neither ends nor fails").map_err(|error| error.report())
}

async fn server(faults: &[Fault]) -> FaultyServer {
    FaultyServer::run(Script::new(b"content".to_vec(), faults.to_vec())).await.unwrap()
}

#[tokio::test]
async fn an_image_that_is_there_is_described() {
    let server = server(&[Fault::Nothing]).await;
    let head = ask(&server.url("image"), None).await.unwrap();
    assert!(head.length == Some(7) && head.etag.is_some(), "{head:?}");
    assert!(server.requests().iter().all(|request| request.line.starts_with("HEAD ")));
}

#[tokio::test]
async fn what_may_pass_is_tried_again_and_what_is_final_is_not() {
    let passing = server(&[Fault::Status(503), Fault::Status(500), Fault::Nothing]).await;
    assert!(ask(&passing.url("image"), None).await.is_ok());
    assert_eq!(passing.requests().len(), 3);

    for (status, code) in [
        (404, ErrorCode::ImageNotFound),
        (410, ErrorCode::ImageNotFound),
        (401, ErrorCode::HttpStatus),
        (403, ErrorCode::HttpStatus),
    ] {
        let server = server(&[Fault::Status(status)]).await;
        let error = ask(&server.url("image?sig=secret"), None).await.unwrap_err();
        assert_eq!(error.code, code, "{error}");
        assert!(error.message.contains(&status.to_string()) && !error.message.contains("secret"), "{error}");
        assert_eq!(server.requests().len(), 1, "{status}");
    }
}

#[tokio::test]
async fn a_server_that_stays_away_is_given_up() {
    let server = server(&[Fault::Status(503)]).await;
    assert_eq!(ask(&server.url("image"), None).await.unwrap_err().code, ErrorCode::HttpUnavailable);
    assert_eq!(server.requests().len(), 4);
    let nobody = format!("http://{}/image", free_address().unwrap());
    assert_eq!(ask(&nobody, None).await.unwrap_err().code, ErrorCode::HttpConnect);
    let later = self::server(&[Fault::RetryAfter(429, "3600".to_owned())]).await;
    assert_eq!(ask(&later.url("image"), None).await.unwrap_err().code, ErrorCode::HttpUnavailable);
    assert_eq!(later.requests().len(), 1, "it asked to be left alone for an hour");
}

#[tokio::test]
async fn credentials_are_for_the_server_that_was_named() {
    let there = server(&[Fault::Nothing]).await;
    let here = server(&[Fault::RedirectTo(there.url("image"))]).await;
    let secret = Secret::new("Bearer hunter2");
    ask(&here.url("image"), Some(&secret)).await.unwrap();
    assert_eq!(here.requests()[0].header("authorization"), Some("Bearer hunter2"));
    assert_eq!(there.requests()[0].header("authorization"), None);
    let circle = server(&[Fault::RedirectTo("/image".to_owned())]).await;
    assert_eq!(ask(&circle.url("image"), None).await.unwrap_err().code, ErrorCode::HttpStatus);
    assert!(circle.requests().len() < 10);
}

#[tokio::test]
async fn a_server_without_head_is_asked_for_a_byte() {
    let server = server(&[Fault::Status(405), Fault::Nothing]).await;
    assert_eq!(ask(&server.url("image"), None).await.unwrap().length, Some(7));
    assert_eq!(server.requests()[1].header("range"), Some("bytes=0-0"));
}
