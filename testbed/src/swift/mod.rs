//! A private OpenStack Swift: one account on one device, with temporary URLs.

mod server;

use std::fmt::Write as _;
use std::fs;
use std::sync::{Arc, Weak};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use reqwest::{Certificate, Client, Method, RequestBuilder};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::sync::Mutex;

use self::server::{PASSWORD, Ports};
use crate::process::Process;
use crate::tls::Authority;
use crate::wait::{blocking, wait_for};

const READY_WITHIN: Duration = Duration::from_secs(60);
const ANSWERED_WITHIN: Duration = Duration::from_secs(60);
/// How often other ports are tried when somebody took those that were free.
const PORTS_TRIED: u32 = 5;
const PATH: AsciiSet = NON_ALPHANUMERIC.remove(b'/').remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// A Swift on random ports of the loopback, with all its files in a directory of its own. It is killed when this is dropped, and
/// when this process dies. Needs root.
#[derive(Debug)]
pub struct Swift {
    process: Option<Process>,
    ports: Ports,
    scheme: &'static str,
    client: Client,
    dir: TempDir,
}

/// A request that Swift's proxy server has answered to the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Served {
    /// Its method.
    pub method: String,
    /// Its path, decoded: `/v1/account/container/object`.
    pub path: String,
    /// The status of the answer.
    pub status: u16,
    /// The bytes of its body that were sent.
    pub bytes: u64,
}

impl Swift {
    /// The account that objects are in.
    pub const ACCOUNT: &str = "AUTH_test";
    /// The key that temporary URLs of this account are signed with.
    pub const KEY: &str = "correct horse battery staple";

    /// Starts it, with a certificate of `authority` where there is one. Returns once the account and its key are there.
    ///
    /// # Errors
    /// When Swift is not installed, this is not root, or it does not serve: with the ends of its logs.
    pub async fn start(authority: Option<&Authority>) -> anyhow::Result<Self> {
        let mut last = None;
        for _ in 0..PORTS_TRIED {
            match Self::start_on(Ports::free()?, authority).await {
                Ok(swift) => return Ok(swift),
                Err(error) => last = Some(error),
            }
        }
        Err(last.context("no ports were tried")?)
    }

    /// One without TLS that whoever needs one at the same time shares. Everybody has containers of their own in it, and nobody
    /// stops it.
    ///
    /// # Errors
    /// As [`Swift::start`].
    pub async fn shared() -> anyhow::Result<Arc<Self>> {
        static SHARED: Mutex<Weak<Swift>> = Mutex::const_new(Weak::new());
        let mut shared = SHARED.lock().await;
        if let Some(swift) = shared.upgrade() {
            return Ok(swift);
        }
        let swift = Arc::new(Self::start(None).await?);
        *shared = Arc::downgrade(&swift);
        Ok(swift)
    }

    /// Its URL, without account.
    #[must_use]
    pub fn url(&self) -> String {
        format!("{}://127.0.0.1:{}", self.scheme, self.ports.proxy)
    }

    /// The port that it serves at.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.ports.proxy
    }

    /// Makes an object and, where it is missing, its container. Returns its `ETag`.
    ///
    /// # Errors
    /// Swift does not take it.
    pub async fn put(&self, container: &str, object: &str, content: Vec<u8>) -> anyhow::Result<String> {
        self.ask(Method::PUT, container, |request| request).await?;
        let path = format!("{container}/{object}");
        let answer = self.ask(Method::PUT, &path, |request| request.body(content)).await?;
        let etag = answer.headers().get("etag").context("Swift gives the object no ETag")?;
        Ok(etag.to_str()?.trim_matches('"').to_owned())
    }

    /// Deletes an object.
    ///
    /// # Errors
    /// It is not there.
    pub async fn delete(&self, container: &str, object: &str) -> anyhow::Result<()> {
        self.ask(Method::DELETE, &format!("{container}/{object}"), |request| request).await.map(drop)
    }

    /// Ends it; what it holds stays.
    pub fn stop(&mut self) {
        self.process = None;
    }

    /// Starts it again after [`Swift::stop`], at the same URL.
    ///
    /// # Errors
    /// It does not serve.
    pub async fn start_again(&mut self) -> anyhow::Result<()> {
        ensure!(self.process.is_none(), "Swift has not been stopped");
        self.run().await
    }

    /// What was asked of it and has been answered to the end, in that order.
    ///
    /// # Errors
    /// The log cannot be read.
    pub fn requests(&self) -> anyhow::Result<Vec<Served>> {
        let log = fs::read_to_string(self.dir.path().join("proxy.log")).context("cannot read Swift's log")?;
        log.lines().filter_map(|line| line.split_once(" REQUEST ")).map(|(_, line)| served(line)).collect()
    }

    /// The `GET`s of this object that were answered with it or with a part of it.
    ///
    /// # Errors
    /// The log cannot be read.
    pub fn fetches(&self, container: &str, object: &str) -> anyhow::Result<Vec<Served>> {
        let path = format!("/v1/{}/{container}/{object}", Self::ACCOUNT);
        let mut requests = self.requests()?;
        let answered = |request: &Served| matches!(request.status, 200 | 206);
        requests.retain(|request| request.method == "GET" && request.path == path && answered(request));
        Ok(requests)
    }

    async fn start_on(ports: Ports, authority: Option<&Authority>) -> anyhow::Result<Self> {
        let dir = tempfile::Builder::new().prefix("swift-").tempdir()?;
        server::prepare(dir.path(), &ports, authority)?;
        let scheme = if authority.is_some() { "https" } else { "http" };
        let mut swift = Self { process: None, ports, scheme, client: client(authority)?, dir };
        swift.run().await?;
        let key = |request: RequestBuilder| request.header("X-Account-Meta-Temp-URL-Key", Self::KEY);
        swift.ask(Method::POST, "", key).await?;
        Ok(swift)
    }

    async fn run(&mut self) -> anyhow::Result<()> {
        let (dir, ports) = (self.dir.path().to_owned(), self.ports);
        let mut process = blocking(move || server::start(&dir, &ports)).await?;
        let ready = async || {
            if let Some(status) = process.ended()? {
                return Ok(Some(Err(status)));
            }
            Ok(self.is_whole().await?.then_some(Ok(())))
        };
        let told = || {
            format!(
                "Swift does not serve; are swift-proxy, swift-account, swift-container, swift-object and memcached installed, and is this root? {}",
                server::end_of_log(self.dir.path())
            )
        };
        match wait_for("Swift answers", READY_WITHIN, ready).await.with_context(told)? {
            Ok(()) => self.process = Some(process),
            Err(status) => bail!("it ended with {status}: {}", told()),
        }
        Ok(())
    }

    /// Whether all its parts answer. The account is made by being asked for.
    async fn is_whole(&self) -> anyhow::Result<bool> {
        // The proxy server would remember of the others that they did not answer.
        for port in self.ports.all() {
            TcpStream::connect(("127.0.0.1", port)).await?;
        }
        self.ask(Method::GET, "", |request| request).await.map(|_| true)
    }

    async fn ask(
        &self,
        method: Method,
        path: &str,
        with: impl FnOnce(RequestBuilder) -> RequestBuilder,
    ) -> anyhow::Result<reqwest::Response> {
        let login = self.client.get(format!("{}/auth/v1.0", self.url()));
        let login = login.header("X-Auth-User", "test:tester").header("X-Auth-Key", PASSWORD).send().await?;
        let token = login.headers().get("x-auth-token").context("Swift gives no token")?.clone();
        let mut url = format!("{}/v1/{}", self.url(), Self::ACCOUNT);
        if !path.is_empty() {
            write!(url, "/{}", utf8_percent_encode(path, &PATH))?;
        }
        let request = self.client.request(method.clone(), url).header("X-Auth-Token", token);
        let answer = with(request).send().await?;
        let status = answer.status();
        ensure!(status.is_success(), "Swift answers {status} to {method} {path:?}");
        Ok(answer)
    }
}

fn client(authority: Option<&Authority>) -> anyhow::Result<Client> {
    // Fails when there is a provider already, and that one serves as well.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let trusted = match authority {
        Some(authority) => Certificate::from_pem_bundle(&fs::read(authority.ca_pem_path())?)?,
        None => Vec::new(),
    };
    let builder = Client::builder().no_proxy().tls_certs_only(trusted).timeout(ANSWERED_WITHIN);
    // A connection belongs to the runtime of the test that made it, and dies with that.
    builder.pool_max_idle_per_host(0).build().context("cannot make an HTTP client")
}

/// Reads `GET /v1/a/c/o 200 5 (txn: ...)`. What was not sent has a dash; the path comes as it was asked for, with its
/// query, and encoded once more.
fn served(line: &str) -> anyhow::Result<Served> {
    let words: Vec<&str> = line.split(' ').collect();
    let [method, path, status, bytes, ..] = words[..] else { bail!("Swift logs {line:?}") };
    let asked = percent_decode_str(path).decode_utf8()?;
    let path = asked.split_once('?').map_or(&*asked, |(path, _)| path);
    Ok(Served {
        method: method.to_owned(),
        path: percent_decode_str(path).decode_utf8()?.into_owned(),
        status: status.parse().with_context(|| format!("Swift logs {line:?}"))?,
        bytes: bytes.parse().unwrap_or(0),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn keeps_objects_tells_what_it_served_and_starts_again() {
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::create(dir.path()).unwrap();
        for authority in [None, Some(&authority)] {
            let mut swift = Swift::start(authority).await.unwrap();
            let etag = swift.put("images", "a b%", b"hello".to_vec()).await.unwrap();
            assert_eq!(etag, "5d41402abc4b2a76b9719d911017c592");
            swift.stop();
            assert!(swift.ask(Method::GET, "images/a b%", |request| request).await.is_err());
            swift.start_again().await.unwrap();
            let answer = swift.ask(Method::GET, "images/a b%", |request| request).await.unwrap();
            assert_eq!(answer.text().await.unwrap(), "hello");
            let logged = async || Ok(swift.fetches("images", "a b%")?.pop());
            assert_eq!(wait_for("Swift logs it", READY_WITHIN, logged).await.unwrap().bytes, 5);
            swift.delete("images", "a b%").await.unwrap();
            assert!(swift.delete("images", "a b%").await.is_err());
        }
    }
}
