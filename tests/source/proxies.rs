//! Proxies, by a real Squid: which is asked for what, and what is reached without one.

use std::fs;

use farrier::image::{Connection, Proxies};
use farrier::wire::ErrorCode;
use farrier_testbed::http::{Fault, Tls};
use farrier_testbed::squid::{Squid, SquidOptions};
use farrier_testbed::tls::Authority;
use farrier_testbed::wait::wait_for;

use crate::lab::{BOUND, Origin, faulty, fetch_badly, fetch_well, sent};

/// Names below it are at the loopback for everybody.
const NAME: &str = "images.example.localhost";

fn squid(options: SquidOptions<'_>) -> Squid {
    Squid::start(SquidOptions { names: &[NAME], ..options }).unwrap()
}

/// Both kinds of images by one proxy, but for what `no_proxy` says.
fn by(proxy: &str, no_proxy: &str) -> Connection {
    let proxy = Some(proxy.parse().unwrap());
    let no_proxy = no_proxy.parse().unwrap();
    let proxies = Proxies { http: proxy.clone(), https: proxy, no_proxy };
    Connection { proxies, ..Connection::default() }
}

fn trusting(connection: Connection, authority: &Authority) -> Connection {
    Connection { authorities: Some(fs::read(authority.ca_pem_path()).unwrap()), ..connection }
}

/// What a Squid was asked for, once that is as much as it must be.
async fn asked(squid: &Squid, requests: usize) -> Vec<String> {
    let all = async || {
        let asked = squid.requests()?;
        Ok((asked.len() >= requests).then_some(asked))
    };
    wait_for("Squid has logged what it was asked for", BOUND, all).await.unwrap()
}

#[tokio::test]
async fn images_of_both_kinds_come_through_proxies_of_both_kinds() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::create(dir.path()).unwrap();
    let plain = Origin::start();
    let secure = Origin::start_tls(&Tls { authority: &authority, require_client: false });
    for tls in [None, Some(&authority)] {
        let squid = squid(SquidOptions { tls, ..SquidOptions::default() });
        let connection = trusting(by(&squid.url(), ""), &authority);
        fetch_well(&[plain.url()], connection.clone()).await;
        fetch_well(&[secure.nginx.url_by("localhost", "image")], connection).await;
        let tunnel = format!("CONNECT localhost:{} 200", secure.nginx.port());
        assert_eq!(asked(&squid, 2).await, [format!("GET {} 200", plain.url()), tunnel]);
    }
}

#[tokio::test]
async fn the_proxy_is_chosen_by_the_scheme_of_the_image() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::create(dir.path()).unwrap();
    let plain = Origin::start();
    let secure = Origin::start_tls(&Tls { authority: &authority, require_client: false });
    // The proxy for http images is an https one, and the other way round.
    let for_http = squid(SquidOptions { tls: Some(&authority), ..SquidOptions::default() });
    let for_https = squid(SquidOptions::default());
    let proxies = Proxies {
        http: Some(for_http.url().parse().unwrap()),
        https: Some(for_https.url().parse().unwrap()),
        ..Proxies::default()
    };
    let connection = trusting(Connection { proxies, ..Connection::default() }, &authority);
    fetch_well(&[plain.url()], connection.clone()).await;
    fetch_well(&[secure.url()], connection.clone()).await;
    assert_eq!(asked(&for_http, 1).await, [format!("GET {} 200", plain.url())]);
    assert_eq!(asked(&for_https, 1).await, [format!("CONNECT 127.0.0.1:{} 200", secure.nginx.port())]);

    let proxies = Proxies { http: None, ..connection.proxies };
    fetch_well(&[plain.url()], Connection { proxies, ..Connection::default() }).await;
    assert_eq!(for_http.requests().unwrap().len(), 1, "there is none for http images any more");
}

#[tokio::test]
async fn what_is_redirected_to_the_other_scheme_goes_through_the_other_proxy() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::create(dir.path()).unwrap();
    let secure = Origin::start_tls(&Tls { authority: &authority, require_client: false });
    let named = faulty(&[Fault::RedirectTo(secure.url())]).await;
    let (for_http, for_https) = (squid(SquidOptions::default()), squid(SquidOptions::default()));
    let proxies = Proxies {
        http: Some(for_http.url().parse().unwrap()),
        https: Some(for_https.url().parse().unwrap()),
        ..Proxies::default()
    };
    let connection = Connection { proxies, ..Connection::default() };
    fetch_well(&[named.url("image")], trusting(connection, &authority)).await;
    assert_eq!(asked(&for_http, 1).await, [format!("GET {} 302", named.url("image"))]);
    assert_eq!(asked(&for_https, 1).await, [format!("CONNECT 127.0.0.1:{} 200", secure.nginx.port())]);
}

#[tokio::test]
async fn what_breaks_behind_a_proxy_goes_on_where_it_broke() {
    let squid = squid(SquidOptions::default());
    let server = faulty(&[Fault::CutAfter(1_200_000), Fault::Status(503), Fault::Nothing]).await;
    fetch_well(&[server.url("image")], by(&squid.url(), "")).await;
    let requests = server.requests();
    assert_eq!(sent(&requests, "range"), [None, Some("bytes=1200000-"), Some("bytes=1200000-")]);
    assert!(requests[2].header("if-range").is_some_and(|tag| tag.starts_with('"')));
    assert_eq!(asked(&squid, 3).await.len(), 3);
}

#[tokio::test]
async fn proxies_may_ask_for_credentials() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::create(dir.path()).unwrap();
    let plain = Origin::start();
    let secure = Origin::start_tls(&Tls { authority: &authority, require_client: false });
    let credentials = Some(("node", "s3cr:t@"));
    for tls in [None, Some(&authority)] {
        let squid = squid(SquidOptions { credentials, tls, ..SquidOptions::default() });
        for url in [plain.url(), secure.url()] {
            let good = squid.url_with("node", "s3cr%3At%40");
            fetch_well(&[&url], trusting(by(&good, ""), &authority)).await;
            for bad in [squid.url(), squid.url_with("node", "wr0ng")] {
                let report = fetch_badly(&[&url], trusting(by(&bad, ""), &authority)).await;
                assert_eq!(report.code, ErrorCode::HttpStatus, "{url}: {report}");
                let message = &report.message;
                assert!(message.contains("407") && message.contains(&squid.url()), "{report}");
                assert!(!message.contains("wr0ng") && !message.contains("node"), "{report}");
            }
        }
        // It is final, and asked once.
        assert_eq!(asked(&squid, 6).await.len(), 6);
    }
}

#[tokio::test]
async fn credentials_of_a_proxy_are_not_for_servers() {
    let squid = squid(SquidOptions { credentials: Some(("node", "secret")), ..SquidOptions::default() });
    let direct = faulty(&[]).await;
    fetch_well(&[direct.url("image")], by(&squid.url_with("node", "secret"), "*")).await;
    fetch_well(&[direct.url("image")], by(&squid.url_with("node", "secret"), "")).await;
    assert_eq!(sent(&direct.requests(), "proxy-authorization"), [None, None]);
    assert_eq!(asked(&squid, 1).await.len(), 1);
}

#[tokio::test]
async fn a_proxy_that_is_not_there_is_named() {
    let nobody = farrier_testbed::ports::free_address().unwrap();
    let report = fetch_badly(&[Origin::start().url()], by(&format!("u:secret@{nobody}"), "")).await;
    assert_eq!(report.code, ErrorCode::HttpConnect, "{report}");
    assert!(report.message.contains(&format!("through the proxy http://{nobody}/")), "{report}");
    assert!(!report.message.contains("secret"), "{report}");
}

#[tokio::test]
async fn what_no_proxy_names_is_reached_without_one_and_nothing_else() {
    let (origin, squid) = (Origin::start(), squid(SquidOptions::default()));
    let port = origin.nginx.port();
    let (here, elsewhere) = (format!(":{port}"), format!(":{}", port ^ 1));
    let with = |text: &str, suffix: &str| format!("{text}{suffix}");
    let mut cases = vec![
        ("127.0.0.1", "127.0.0.1".to_owned(), true),
        ("127.0.0.1", with("127.0.0.1", &here), true),
        ("127.0.0.1", with("127.0.0.1", &elsewhere), false),
        ("127.0.0.1", "127.0.0.2, 27.0.0.1, localhost".to_owned(), false),
        ("127.0.0.1", "10.0.0.0/8,127.0.0.0/8".to_owned(), true),
        ("127.0.0.1", with("127.0.0.0/8", &here), true),
        ("127.0.0.1", with("127.0.0.0/8", &elsewhere), false),
        ("127.0.0.1", "127.0.1.0/24".to_owned(), false),
        ("127.0.0.1", "::ffff:127.0.0.1".to_owned(), true),
        ("127.0.0.1", "*".to_owned(), true),
        ("127.0.0.1", with("*", &elsewhere), false),
        ("127.0.0.1", String::new(), false),
        (NAME, NAME.to_uppercase(), true),
        (NAME, with(NAME, &here), true),
        (NAME, with(NAME, &elsewhere), false),
        (NAME, "example.localhost".to_owned(), true),
        (NAME, " , .example.localhost ".to_owned(), true),
        (NAME, "ample.localhost".to_owned(), false),
        (NAME, format!("x.{NAME}"), false),
        (NAME, "127.0.0.0/8".to_owned(), false),
    ];
    if std::net::TcpListener::bind(("::1", 0)).is_ok() {
        cases.extend([
            ("[::1]", "::1".to_owned(), true),
            ("[::1]", "[::1]".to_owned(), true),
            ("[::1]", with("[::1]", &here), true),
            ("[::1]", with("[::1]", &elsewhere), false),
            ("[::1]", "::/64".to_owned(), true),
            ("[::1]", "::2,fd00::/8".to_owned(), false),
        ]);
    }
    let mut proxied = Vec::new();
    for (number, (host, no_proxy, bypassed)) in cases.iter().enumerate() {
        let url = origin.nginx.url_by(host, &format!("image?{number}"));
        fetch_well(&[&url], by(&squid.url(), no_proxy)).await;
        if !bypassed {
            proxied.push(format!("GET {url} 200"));
        }
    }
    assert_eq!(asked(&squid, proxied.len()).await, proxied);
    assert_eq!(origin.nginx.requests().unwrap().len(), cases.len(), "every image has come from the origin");
}
