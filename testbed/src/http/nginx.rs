//! A private nginx.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

use crate::process::Process;
use crate::tls::Authority;

const READY_WITHIN: Duration = Duration::from_secs(10);
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(10);
/// How often another port is tried when somebody took the one that was free.
const PORTS_TRIED: u32 = 5;

/// An nginx on a random port of the loopback, with all its files in a directory of its own. It is killed when this is dropped,
/// and when this process dies.
#[derive(Debug)]
pub struct Nginx {
    process: Process,
    port: u16,
    scheme: &'static str,
    access_log: PathBuf,
}

/// TLS at a server.
#[derive(Debug)]
pub struct Tls<'a> {
    /// Who signs for it.
    pub authority: &'a Authority,
    /// Whether a client needs a certificate of the same authority.
    pub require_client: bool,
}

impl Nginx {
    /// Serves the files below `docroot`; configuration, logs and temporary files go to `dir`. Returns once it listens.
    ///
    /// # Errors
    /// When nginx is not installed or does not begin to listen: with the end of its log.
    pub fn start(dir: &Path, docroot: &Path) -> anyhow::Result<Self> {
        Self::start_maybe_tls(dir, docroot, None)
    }

    /// The same, with TLS.
    ///
    /// # Errors
    /// As [`Nginx::start`], and when no certificate can be made.
    pub fn start_tls(dir: &Path, docroot: &Path, tls: &Tls<'_>) -> anyhow::Result<Self> {
        tls.authority.sign_server("nginx")?;
        Self::start_maybe_tls(dir, docroot, Some(tls))
    }

    fn start_maybe_tls(dir: &Path, docroot: &Path, tls: Option<&Tls<'_>>) -> anyhow::Result<Self> {
        fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
        let dir = absolute(dir)?;
        let docroot = absolute(docroot)?;
        let mut last = None;
        for _ in 0..PORTS_TRIED {
            match start_on(free_port()?, &dir, &docroot, tls) {
                Ok(nginx) => return Ok(nginx),
                Err(error) => last = Some(error),
            }
        }
        Err(last.context("no port was tried")?)
    }

    /// The URL of the file `path` below the document root.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        self.url_by("127.0.0.1", path)
    }

    /// The same, by a name of the loopback: `localhost` or one below it, or `[::1]`.
    #[must_use]
    pub fn url_by(&self, host: &str, path: &str) -> String {
        format!("{}://{host}:{}/{path}", self.scheme, self.port)
    }

    /// The requests that have ended: what their `Host` was, their path and the status of the answer.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn requests(&self) -> anyhow::Result<Vec<String>> {
        let log = fs::read_to_string(&self.access_log).context("cannot read the access log of nginx")?;
        Ok(log.lines().map(str::to_owned).collect())
    }

    /// The URL at which the file comes at no more than `bytes_per_second`.
    #[must_use]
    pub fn slow_url(&self, path: &str, bytes_per_second: u64) -> String {
        self.url(&format!("at/{bytes_per_second}/{path}"))
    }

    /// The port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }
}

fn start_on(port: u16, dir: &Path, docroot: &Path, tls: Option<&Tls<'_>>) -> anyhow::Result<Nginx> {
    let pid_file = dir.join("nginx.pid");
    let _ = fs::remove_file(&pid_file);
    let config = dir.join("nginx.conf");
    fs::write(&config, configuration(port, dir, docroot, tls)).context("cannot write nginx.conf")?;
    let mut nginx = Command::new("nginx");
    nginx.arg("-p").arg(dir).arg("-e").arg(dir.join("error.log")).arg("-c").arg(&config);
    nginx.env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    let mut nginx = Nginx {
        process: Process::spawn(&nginx)?,
        port,
        scheme: if tls.is_some() { "https" } else { "http" },
        access_log: dir.join("access.log"),
    };
    // It is written once the port is bound, so that no stranger on the same port is taken for ours.
    wait_for_pid(&mut nginx.process, &pid_file)
        .with_context(|| format!("nginx does not serve; is nginx-light installed? {}", log_of(dir)))?;
    Ok(nginx)
}

fn wait_for_pid(process: &mut Process, pid_file: &Path) -> anyhow::Result<()> {
    let began = Instant::now();
    loop {
        if fs::metadata(pid_file).is_ok_and(|file| file.len() > 0) {
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

fn configuration(port: u16, dir: &Path, docroot: &Path, tls: Option<&Tls<'_>>) -> String {
    let (dir, docroot) = (dir.display(), docroot.display());
    let ssl = if tls.is_some() { " ssl" } else { "" };
    let listen_v6 = if has_ipv6() { format!("listen [::1]:{port}{ssl};") } else { String::new() };
    let certificates = tls.map_or_else(String::new, certificates);
    format!(
        // One process and no master: nothing is left when that one is killed.
        r#"daemon off;
master_process off;
pid "{dir}/nginx.pid";
error_log "{dir}/error.log";
events {{ worker_connections 512; }}
http {{
    log_format plain '$http_host$request_uri $status';
    access_log "{dir}/access.log" plain;
    client_body_temp_path "{dir}/body";
    proxy_temp_path "{dir}/proxy";
    fastcgi_temp_path "{dir}/fastcgi";
    uwsgi_temp_path "{dir}/uwsgi";
    scgi_temp_path "{dir}/scgi";
    default_type application/octet-stream;
    sendfile on;
    tcp_nopush on;
    server {{
        listen 127.0.0.1:{port}{ssl};
        {listen_v6}
        {certificates}
        root "{docroot}";
        location ~ "^/at/(?<rate>[0-9]+)/(?<file>.+)$" {{
            alias "{docroot}/$file";
            limit_rate $rate;
            # The first chunk is sent before the rate holds.
            sendfile_max_chunk 64k;
        }}
    }}
}}
"#
    )
}

fn certificates(tls: &Tls<'_>) -> String {
    let (pem, key) = tls.authority.pair("nginx");
    let mut text =
        format!("ssl_certificate \"{}\"; ssl_certificate_key \"{}\";", pem.display(), key.display());
    if tls.require_client {
        let ca = tls.authority.ca_pem_path();
        text += &format!(" ssl_client_certificate \"{}\"; ssl_verify_client on;", ca.display());
    }
    text
}

/// Containers often have none.
fn has_ipv6() -> bool {
    TcpListener::bind(("::1", 0)).is_ok()
}

fn free_port() -> anyhow::Result<u16> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).context("cannot bind a port of the loopback")?;
    Ok(listener.local_addr()?.port())
}

fn absolute(path: &Path) -> anyhow::Result<PathBuf> {
    path.canonicalize().with_context(|| format!("cannot find {}", path.display()))
}

fn log_of(dir: &Path) -> String {
    let log = fs::read_to_string(dir.join("error.log")).unwrap_or_default();
    log.lines().last().map_or_else(|| "its log is empty".to_owned(), |line| format!("it said: {line}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read as _, Write as _};
    use std::net::TcpStream;

    fn get(nginx: &Nginx, url: &str) -> String {
        let path = url.strip_prefix(&format!("http://127.0.0.1:{}", nginx.port())).unwrap();
        let mut stream = TcpStream::connect(("127.0.0.1", nginx.port())).unwrap();
        write!(stream, "GET {path} HTTP/1.0\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    #[test]
    fn serves_files_also_slowly_and_ends_when_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let docroot = dir.path().join("files");
        fs::create_dir(&docroot).unwrap();
        fs::write(docroot.join("hello"), "hello, node").unwrap();
        let nginx = Nginx::start(&dir.path().join("nginx"), &docroot).unwrap();

        assert!(get(&nginx, &nginx.url("hello")).ends_with("hello, node"));
        assert!(get(&nginx, &nginx.slow_url("hello", 1000)).ends_with("hello, node"));
        assert!(get(&nginx, &nginx.url("absent")).starts_with("HTTP/1.1 404"));

        let port = nginx.port();
        drop(nginx);
        assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
    }
}
