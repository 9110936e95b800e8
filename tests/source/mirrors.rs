//! Which place is asked, how often and in what order.

use std::time::Duration;

use farrier::image::Connection;
use farrier::wire::ErrorCode;
use farrier_testbed::http::Fault;
use farrier_testbed::ports::free_address;

use crate::lab::{faulty, fetch, fetch_badly, fetch_well, image_at, image_body, settings};

#[tokio::test]
async fn they_are_asked_in_their_order() {
    let good = [faulty(&[Fault::Nothing]).await, faulty(&[Fault::Nothing]).await];
    let absent = faulty(&[Fault::Status(404)]).await;
    let urls = [&absent, &good[0], &good[1]].map(|server| server.url("image"));
    fetch_well(&urls, Connection::default()).await;
    let asked = [&absent, &good[0], &good[1]].map(|server| server.requests().len());
    assert_eq!(asked, [1, 1, 0]);
}

#[tokio::test]
async fn the_last_good_one_is_asked_first() {
    let absent = faulty(&[Fault::Status(404)]).await;
    let good = faulty(&[Fault::Nothing]).await;
    let urls = [&absent, &good].map(|server| server.url("image"));
    // What the agent keeps from one command to the next.
    let settings = settings();
    for _ in 0..3 {
        let content = fetch(&image_at(&urls, Connection::default()), &settings.clone()).await.unwrap();
        assert!(content == image_body());
    }
    assert_eq!((absent.requests().len(), good.requests().len()), (1, 3));
}

#[tokio::test]
async fn when_all_fail_each_says_why() {
    let absent = faulty(&[Fault::Status(404)]).await;
    let busy = faulty(&[Fault::Status(503)]).await;
    let nobody = format!("http://{}/image?sig=secret", free_address().unwrap());
    let urls = [absent.url("image?sig=secret"), busy.url("image"), nobody];
    let report = fetch_badly(&urls, Connection::default()).await;
    for part in ["404", "503", "cannot connect", "3 places", &busy.url("image")] {
        assert!(report.message.contains(part), "{part}: {report}");
    }
    assert!(!report.message.contains("secret"), "{report}");
    assert_eq!(
        report.code,
        ErrorCode::HttpUnavailable,
        "one that may pass counts more than one that does not"
    );
    assert_eq!((absent.requests().len(), busy.requests().len()), (1, 3));
}

#[tokio::test]
async fn what_is_final_is_asked_once_and_what_may_pass_until_it_does() {
    for status in [204, 400, 401, 403, 404, 410] {
        let server = faulty(&[Fault::Status(status), Fault::Nothing]).await;
        let report = fetch_badly(&[server.url("image")], Connection::default()).await;
        assert_eq!((report.code, server.requests().len()), (ErrorCode::HttpStatus, 1), "{status}");
    }
    for status in [408, 425, 429, 500, 502, 503, 504] {
        let server = faulty(&[Fault::Status(status), Fault::CutAfter(0), Fault::Nothing]).await;
        fetch_well(&[server.url("image")], Connection::default()).await;
        assert_eq!(server.requests().len(), 3, "{status}");
    }
    let server = faulty(&[Fault::Status(500)]).await;
    let report = fetch_badly(&[server.url("image")], Connection::default()).await;
    assert_eq!((report.code, server.requests().len()), (ErrorCode::HttpUnavailable, 3));
}

#[tokio::test]
async fn a_server_is_left_alone_for_as_long_as_it_asks() {
    let server = faulty(&[Fault::RetryAfter(503, "1".to_owned()), Fault::Nothing]).await;
    fetch_well(&[server.url("image")], Connection::default()).await;
    let [first, second] = &server.requests()[..] else { panic!("{:?}", server.requests()) };
    // Without the header it would have been asked again at once.
    assert!(second.at - first.at >= Duration::from_secs(1));
}

#[tokio::test]
async fn a_server_that_asks_for_too_long_is_given_up() {
    for after in ["3", "Fri, 01 Jan 2100 00:00:00 GMT"] {
        let server = faulty(&[Fault::RetryAfter(429, after.to_owned()), Fault::Nothing]).await;
        let report = fetch_badly(&[server.url("image")], Connection::default()).await;
        assert_eq!((report.code, server.requests().len()), (ErrorCode::HttpUnavailable, 1));
        assert!(report.message.contains("asks to come back in"), "{report}");
    }
}

#[tokio::test]
async fn a_body_in_another_encoding_is_refused() {
    let server = faulty(&[Fault::Encoding("gzip".to_owned())]).await;
    let report = fetch_badly(&[server.url("image")], Connection::default()).await;
    assert_eq!((report.code, server.requests().len()), (ErrorCode::ImageUnsupported, 1));
    assert!(report.message.contains("gzip"), "{report}");
    let server = faulty(&[Fault::Encoding("identity".to_owned())]).await;
    fetch_well(&[server.url("image")], Connection::default()).await;
    assert_eq!(server.requests()[0].header("accept-encoding"), Some("identity"));
}
