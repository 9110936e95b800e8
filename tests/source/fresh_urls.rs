//! URLs that run out while the image is fetched, and those that take their place.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use farrier::image::{Connection, FreshUrls, Image, Limits, Settings};
use farrier::wire::{Coded as _, ErrorCode, ErrorReport, ImageUrl};
use farrier_testbed::http::{Fault, FaultyServer, Script, Validator};
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, pending, ready};

use crate::lab::{body, digest_of, fetch, image_at, limits, sent};

const BYTES: usize = 200_000;
const CUT: usize = 100_000;

/// What is answered to one who asks for fresh URLs.
#[derive(Clone, Debug)]
enum Answer {
    Urls(Vec<String>),
    None(ErrorCode),
    Silence,
}

/// Answers as it was told to; the last answer is repeated.
#[derive(Debug)]
struct Maker {
    answers: Mutex<VecDeque<Answer>>,
    asked: Mutex<Vec<(String, u16)>>,
}

impl Maker {
    fn of(answers: &[Answer]) -> Arc<Self> {
        Arc::new(Self { answers: Mutex::new(answers.to_vec().into()), asked: Mutex::default() })
    }

    /// What was asked for: the whole URLs that were refused, and how.
    fn asked(&self) -> Vec<(String, u16)> {
        self.asked.lock().unwrap().clone()
    }
}

impl FreshUrls for Maker {
    fn fresh<'a>(
        &'a self,
        refused: &'a ImageUrl,
        status: u16,
    ) -> BoxFuture<'a, Result<Vec<ImageUrl>, ErrorReport>> {
        self.asked.lock().unwrap().push((refused.expose().to_string(), status));
        let mut answers = self.answers.lock().unwrap();
        let answer = if answers.len() > 1 { answers.pop_front() } else { answers.front().cloned() };
        match answer.unwrap() {
            Answer::Urls(urls) => ready(Ok(urls.iter().map(|url| url.parse().unwrap()).collect())).boxed(),
            Answer::None(code) => ready(Err(ErrorReport::new(code, "there is none"))).boxed(),
            Answer::Silence => pending().boxed(),
        }
    }
}

/// One try has to do: to be refused is none.
fn settings(maker: &Arc<Maker>) -> Settings {
    let limits = Limits { tries: 1, fresh_url_wait: Duration::from_millis(50), ..limits() };
    Settings { limits, fresh_urls: Some(Arc::clone(maker) as Arc<dyn FreshUrls>), ..Settings::default() }
}

async fn server(faults: &[Fault]) -> FaultyServer {
    FaultyServer::run(Script::new(body(BYTES), faults.to_vec())).await.unwrap()
}

fn image(urls: &[String]) -> Image {
    Image { checksum: Some(digest_of(&body(BYTES))), ..image_at(urls, Connection::default()) }
}

/// The path of each request, and the range that it asks for.
fn asked(server: &FaultyServer) -> Vec<(String, Option<String>)> {
    let requests = server.requests();
    let ranges = sent(&requests, "range").into_iter().map(|range| range.map(str::to_owned));
    let path = |line: &str| line.split(' ').nth(1).unwrap().to_owned();
    requests.iter().map(|request| path(&request.line)).zip(ranges).collect()
}

fn request(path: &str, range: Option<&str>) -> (String, Option<String>) {
    (path.to_owned(), range.map(str::to_owned))
}

#[tokio::test]
async fn goes_on_where_it_stopped() {
    for status in [401, 403, 410] {
        let server = server(&[Fault::CutAfter(CUT), Fault::Status(status), Fault::Nothing]).await;
        let maker = Maker::of(&[Answer::Urls(vec![server.url("image?sig=2")])]);
        let content = fetch(&image(&[server.url("image?sig=1")]), &settings(&maker)).await.unwrap();
        assert!(content == body(BYTES));
        let rest = Some("bytes=100000-");
        let expected =
            [request("/image?sig=1", None), request("/image?sig=1", rest), request("/image?sig=2", rest)];
        assert_eq!(asked(&server), expected);
        let requests = server.requests();
        let conditions = sent(&requests, "if-range");
        assert!(conditions[2].is_some() && conditions[1] == conditions[2], "{conditions:?}");
        assert_eq!(maker.asked(), [(server.url("image?sig=1"), status)]);
    }
}

#[tokio::test]
async fn one_that_has_run_out_before_the_first_byte_is_replaced_too() {
    let server = server(&[Fault::Status(401), Fault::Nothing]).await;
    let maker = Maker::of(&[Answer::Urls(vec![server.url("image?sig=2")])]);
    let content = fetch(&image(&[server.url("image?sig=1")]), &settings(&maker)).await.unwrap();
    assert!(content == body(BYTES));
    assert_eq!(asked(&server), [request("/image?sig=1", None), request("/image?sig=2", None)]);
}

#[tokio::test]
async fn each_one_that_runs_out_is_replaced() {
    let faults = [50_000, 100_000, 150_000].map(|cut| [Fault::CutAfter(cut), Fault::Status(401)]).concat();
    let server = server(&[faults, vec![Fault::Nothing]].concat()).await;
    let fresh = |number| Answer::Urls(vec![server.url(&format!("image?sig={number}"))]);
    let maker = Maker::of(&[fresh(2), fresh(3), fresh(4)]);
    let content = fetch(&image(&[server.url("image?sig=1")]), &settings(&maker)).await.unwrap();
    assert!(content == body(BYTES));
    let statuses: Vec<_> = maker.asked().into_iter().map(|(url, _)| url).collect();
    assert_eq!(statuses, [1, 2, 3].map(|number| server.url(&format!("image?sig={number}"))));
}

#[tokio::test]
async fn another_object_is_fetched_from_its_beginning_by_the_fresh_url() {
    let faults = [
        Fault::CutAfter(CUT),
        Fault::Status(401),
        Fault::Tag("\"new\"".to_owned()),
        Fault::Tag("\"new\"".to_owned()),
    ];
    let script = Script::new(body(BYTES), faults.to_vec()).with(Validator::Tag("\"old\"".to_owned()));
    let server = FaultyServer::run(script).await.unwrap();
    let maker = Maker::of(&[Answer::Urls(vec![server.url("image?sig=2")])]);
    let content = fetch(&image(&[server.url("image?sig=1")]), &settings(&maker)).await.unwrap();
    assert!(content == body(BYTES));
    let rest = Some("bytes=100000-");
    assert_eq!(asked(&server)[2..], [request("/image?sig=2", rest), request("/image?sig=2", None)]);
    assert_eq!(maker.asked().len(), 1);
}

#[tokio::test]
async fn why_there_is_none_is_said() {
    let url = "http://127.0.0.1:9/image?sig=1";
    for (answer, code, says) in [
        (Answer::Silence, ErrorCode::UrlExpired, "none came within"),
        (Answer::None(ErrorCode::ImageNotFound), ErrorCode::ImageNotFound, "there is none"),
        (Answer::None(ErrorCode::Unknown), ErrorCode::UrlExpired, "there is none"),
        (Answer::Urls(Vec::new()), ErrorCode::UrlExpired, "0 came in the place of 1"),
        (Answer::Urls(vec![url.to_owned(); 2]), ErrorCode::UrlExpired, "2 came in the place of 1"),
    ] {
        let server = server(&[Fault::CutAfter(CUT), Fault::Status(401)]).await;
        let maker = Maker::of(std::slice::from_ref(&answer));
        let error =
            fetch(&image(&[server.url("image?sig=1")]), &settings(&maker)).await.unwrap_err().report();
        assert_eq!(error.code, code, "{answer:?}: {error}");
        assert!(error.message.contains("401") && error.message.contains(says), "{answer:?}: {error}");
        assert!(!error.message.contains("sig="), "{error}");
        assert_eq!((server.requests().len(), maker.asked().len()), (2, 1), "{answer:?}");
    }
}

#[tokio::test]
async fn the_same_one_again_is_no_fresh_one() {
    let server = server(&[Fault::CutAfter(CUT), Fault::Status(403)]).await;
    let maker = Maker::of(&[Answer::Urls(vec![server.url("image?sig=1")])]);
    let error = fetch(&image(&[server.url("image?sig=1")]), &settings(&maker)).await.unwrap_err().report();
    assert_eq!(error.code, ErrorCode::UrlExpired);
    assert!(error.message.contains("is the same"), "{error}");
    assert_eq!((server.requests().len(), maker.asked().len()), (2, 1));
}

#[tokio::test]
async fn they_are_asked_for_a_few_times_and_no_more() {
    let server = server(&[Fault::CutAfter(CUT), Fault::Status(401)]).await;
    let fresh: Vec<_> =
        (2..30).map(|number| Answer::Urls(vec![server.url(&format!("image?sig={number}"))])).collect();
    let maker = Maker::of(&fresh);
    let error = fetch(&image(&[server.url("image?sig=1")]), &settings(&maker)).await.unwrap_err().report();
    assert_eq!(error.code, ErrorCode::UrlExpired);
    assert!(error.message.contains("8 were asked for"), "{error}");
    assert_eq!((server.requests().len(), maker.asked().len()), (2 + 8, 8));
}

#[tokio::test]
async fn where_nobody_makes_them_only_a_url_that_was_good_has_run_out() {
    for (faults, code) in [
        (vec![Fault::Status(401)], ErrorCode::HttpStatus),
        (vec![Fault::CutAfter(CUT), Fault::Status(401)], ErrorCode::UrlExpired),
        (vec![Fault::CutAfter(CUT), Fault::Status(404)], ErrorCode::HttpStatus),
    ] {
        let server = server(&faults).await;
        let settings = Settings { limits: limits(), ..Settings::default() };
        let error = fetch(&image(&[server.url("image")]), &settings).await.unwrap_err();
        assert_eq!(error.code(), code, "{faults:?}: {}", error.report());
        assert_eq!(server.requests().len(), faults.len());
    }
}

#[tokio::test]
async fn each_mirror_gets_its_own_and_takes_over_where_there_is_none() {
    let first = server(&[Fault::Status(401), Fault::Status(404)]).await;
    let second = server(&[Fault::Nothing]).await;
    let urls = |sig| [first.url(&format!("image?sig={sig}")), second.url(&format!("image?sig={sig}"))];
    let maker = Maker::of(&[Answer::Urls(urls(2).to_vec())]);
    assert!(fetch(&image(&urls(1)), &settings(&maker)).await.unwrap() == body(BYTES));
    assert_eq!(asked(&first), [request("/image?sig=1", None), request("/image?sig=2", None)]);
    assert_eq!(asked(&second), [request("/image?sig=2", None)]);

    let first = server(&[Fault::Status(401)]).await;
    let second = server(&[Fault::Nothing]).await;
    let maker = Maker::of(&[Answer::None(ErrorCode::ImageNotFound)]);
    let urls = [first.url("image"), second.url("image")];
    assert!(fetch(&image(&urls), &settings(&maker)).await.unwrap() == body(BYTES));
    assert_eq!(first.requests().len(), 1);
}
