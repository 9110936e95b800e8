//! A private Squid.

mod rack_cache;

use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use nix::unistd::{User, geteuid};
use tempfile::TempDir;

pub use self::rack_cache::RackCache;
use crate::ports::free_address;
use crate::process::Process;
use crate::tls::Authority;

const READY_WITHIN: Duration = Duration::from_secs(20);
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(10);
/// How often another port is tried when somebody took the one that was free.
const PORTS_TRIED: u32 = 5;
/// Squid will not be root; Debian has this user for it.
const USER: &str = "proxy";

/// What a Squid asks for.
#[derive(Clone, Copy, Debug, Default)]
pub struct SquidOptions<'a> {
    /// The user and the password that clients need.
    pub credentials: Option<(&'a str, &'a str)>,
    /// TLS between the clients and the proxy, with a certificate of this authority.
    pub tls: Option<&'a Authority>,
    /// Names that it shall find at `127.0.0.1`.
    pub names: &'a [&'a str],
    /// It keeps what it fetched, by the configuration that is shipped. Without, it keeps nothing.
    pub cache: Option<RackCache<'a>>,
}

/// A Squid on a random port of the loopback, with all its files in a directory of its own. It is killed when
/// this is dropped, and when this process dies.
#[derive(Debug)]
pub struct Squid {
    /// Ends it when dropped.
    _process: Process,
    port: u16,
    scheme: &'static str,
    dir: TempDir,
}

impl Squid {
    /// Starts it. Returns once it listens. Blocks.
    ///
    /// # Errors
    /// When Squid is not installed or does not begin to listen: with the end of its log.
    pub fn start(options: SquidOptions<'_>) -> anyhow::Result<Self> {
        let mut last = None;
        for _ in 0..PORTS_TRIED {
            match start_on(free_address()?.port(), options) {
                Ok(squid) => return Ok(squid),
                Err(error) => last = Some(error),
            }
        }
        Err(last.context("no port was tried")?)
    }

    /// Its URL, without credentials.
    #[must_use]
    pub fn url(&self) -> String {
        format!("{}://127.0.0.1:{}", self.scheme, self.port)
    }

    /// Its URL with credentials.
    #[must_use]
    pub fn url_with(&self, user: &str, password: &str) -> String {
        format!("{}://{user}:{password}@127.0.0.1:{}", self.scheme, self.port)
    }

    /// The requests that have ended: their method and URL, and the status of the answer. Of a tunnel there is the method `CONNECT`,
    /// the host and the port, once it is closed.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn requests(&self) -> anyhow::Result<Vec<String>> {
        let log =
            fs::read_to_string(self.dir.path().join("access.log")).context("cannot read Squid's log")?;
        Ok(log.lines().map(str::to_owned).collect())
    }

    /// How the same requests were answered, in Squid's words: `TCP_MISS`, `TCP_HIT` and their kin.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn outcomes(&self) -> anyhow::Result<Vec<String>> {
        let log =
            fs::read_to_string(self.dir.path().join("outcome.log")).context("cannot read Squid's log")?;
        Ok(log.lines().map(str::to_owned).collect())
    }
}

fn start_on(port: u16, options: SquidOptions<'_>) -> anyhow::Result<Squid> {
    let dir = tempfile::Builder::new().prefix("squid-").tempdir()?;
    let path = dir.path();
    let scheme = if options.tls.is_some() { "https" } else { "http" };
    prepare(path, port, options)?;
    if options.cache.is_some() {
        let output = squid(path).arg("-z").output().context("cannot start squid")?;
        ensure!(output.status.success(), "squid -z failed: {}", end_of_log(path));
    }
    let squid = squid(path);
    // A configuration that it does not take is told there alone.
    let mut process = Process::spawn_to(&squid, &File::create(path.join("stderr"))?)?;
    wait_until_it_listens(&mut process, path)
        .with_context(|| format!("Squid does not serve; is squid-openssl installed? {}", end_of_log(path)))?;
    Ok(Squid { _process: process, port, scheme, dir })
}

fn squid(dir: &Path) -> Command {
    let mut squid = Command::new("squid");
    squid.arg("-N").arg("-f").arg(dir.join("squid.conf"));
    squid.env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    squid
}

/// Writes all its files, as the user that it becomes.
fn prepare(dir: &Path, port: u16, options: SquidOptions<'_>) -> anyhow::Result<()> {
    let mut configuration = FIXED.to_owned();
    match options.cache {
        Some(cache) => {
            configuration += &cache.configuration(dir, port)?;
            fs::create_dir(dir.join("cache"))?;
        }
        None => configuration += "cache deny all\nshutdown_lifetime 0 seconds\n",
    }
    let mut line = |text: String| {
        configuration.push_str(&text);
        configuration.push('\n');
    };
    let shown = dir.display();
    match options.tls {
        None if options.cache.is_some() => {}
        None => line(format!("http_port 127.0.0.1:{port}")),
        Some(authority) => {
            authority.sign_server("squid")?;
            let (pem, key) = authority.pair("squid");
            fs::copy(pem, dir.join("squid.pem"))?;
            fs::copy(key, dir.join("squid.key"))?;
            line(format!("https_port 127.0.0.1:{port} tls-cert={shown}/squid.pem tls-key={shown}/squid.key"));
        }
    }
    if let Some((user, password)) = options.credentials {
        fs::write(dir.join("passwd"), format!("{user}:{}\n", hashed(password)?))?;
        line(format!("auth_param basic program /usr/lib/squid/basic_ncsa_auth {shown}/passwd"));
        line("acl known proxy_auth REQUIRED".to_owned());
        line("http_access deny !known".to_owned());
    }
    let names = options.names.iter().chain(options.cache.map(|_| &rack_cache::SWIFT));
    let names: String = names.map(|name| format!("127.0.0.1 {name}\n")).collect();
    fs::write(dir.join("hosts"), format!("127.0.0.1 localhost\n{names}"))?;
    line(format!("hosts_file {shown}/hosts"));
    line(format!("access_log stdio:{shown}/access.log plain"));
    line(format!("access_log stdio:{shown}/outcome.log outcome"));
    line("strip_query_terms off".to_owned());
    line(format!("cache_log {shown}/cache.log"));
    line(format!("coredump_dir {shown}"));
    line("http_access allow all".to_owned());
    fs::write(dir.join("squid.conf"), configuration)?;
    fs::write(dir.join("access.log"), "")?;
    fs::write(dir.join("outcome.log"), "")?;
    if geteuid().is_root() {
        hand_over(dir)?;
    }
    Ok(())
}

/// What is the same for all.
const FIXED: &str = "\
logformat plain %rm %ru %>Hs
logformat outcome %Ss
pid_filename none
cache_store_log none
memory_cache_shared off
cache_effective_user proxy
visible_hostname testbed
pinger_enable off
netdb_filename none
max_filedescriptors 1024
";

fn hashed(password: &str) -> anyhow::Result<String> {
    let output = Command::new("openssl")
        .args(["passwd", "-apr1", password])
        .output()
        .context("cannot start openssl; install the Debian package openssl")?;
    ensure!(output.status.success(), "openssl failed: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn hand_over(dir: &Path) -> anyhow::Result<()> {
    let user = User::from_name(USER)?.with_context(|| format!("there is no user {USER:?}"))?;
    let files: Vec<PathBuf> =
        fs::read_dir(dir)?.map(|entry| Ok(entry?.path())).collect::<std::io::Result<_>>()?;
    for path in files.iter().map(PathBuf::as_path).chain([dir]) {
        chown(path, Some(user.uid.as_raw()), Some(user.gid.as_raw()))
            .with_context(|| format!("cannot give {} to {USER}", path.display()))?;
    }
    fs::set_permissions(dir, fs::Permissions::from_mode(0o700))?;
    Ok(())
}

fn wait_until_it_listens(process: &mut Process, dir: &Path) -> anyhow::Result<()> {
    let began = Instant::now();
    loop {
        let log = fs::read_to_string(dir.join("cache.log")).unwrap_or_default();
        // It says so once the port is bound, so that no stranger on the same port is taken for ours.
        if log.contains("Accepting ") {
            return Ok(());
        }
        if let Some(status) = process.ended()? {
            bail!("it ended with {status}");
        }
        if began.elapsed() > READY_WITHIN {
            bail!("it does not listen after {READY_WITHIN:?}");
        }
        std::thread::park_timeout(LOOK_AGAIN_AFTER);
    }
}

fn end_of_log(dir: &Path) -> String {
    let log = ["cache.log", "stderr"].map(|name| fs::read_to_string(dir.join(name)).unwrap_or_default());
    log.concat()
        .lines()
        .last()
        .map_or_else(|| "its log is empty".to_owned(), |line| format!("it said: {line}"))
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpStream;

    use super::*;

    fn ask(squid: &Squid, request: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", squid.port)).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    #[test]
    fn asks_for_credentials_logs_what_it_is_asked_and_ends_when_dropped() {
        let squid =
            Squid::start(SquidOptions { credentials: Some(("u", "p")), ..Default::default() }).unwrap();
        let refused = ask(&squid, "GET http://127.0.0.1:9/image HTTP/1.0\r\n\r\n");
        assert!(refused.starts_with("HTTP/1.1 407 "), "{refused}");
        let let_through =
            ask(&squid, "GET http://127.0.0.1:9/image HTTP/1.0\r\nProxy-Authorization: Basic dTpw\r\n\r\n");
        assert!(let_through.starts_with("HTTP/1.1 503 "), "nothing is at port 9: {let_through}");
        let began = Instant::now();
        while squid.requests().unwrap().len() < 2 {
            assert!(began.elapsed() < READY_WITHIN);
            std::thread::park_timeout(LOOK_AGAIN_AFTER);
        }
        assert_eq!(
            squid.requests().unwrap(),
            ["GET http://127.0.0.1:9/image 407", "GET http://127.0.0.1:9/image 503"]
        );
        let port = squid.port;
        drop(squid);
        assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
    }
}
