//! A private RabbitMQ.

use std::fs::{self, File, Permissions};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use nix::sys::signal::Signal;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::process::Process;
use crate::tls::Authority;

/// The server itself: the one on the usual path is a wrapper that insists on being `root` and becomes `rabbitmq`.
const SERVER: &str = "/usr/lib/rabbitmq/bin/rabbitmq-server";
/// It takes four seconds where nothing else runs.
const READY_WITHIN: Duration = Duration::from_secs(60);
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(20);
/// How often other ports are tried when somebody took those that were free.
const PORTS_TRIED: u32 = 3;
/// The user that every instance has, an administrator.
const USER: &str = "guest";
const PASSWORD: &str = "guest";

/// What an instance shall have beside the usual.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// A TLS listener, with a certificate of an authority of its own for `127.0.0.1` and `localhost`.
    pub tls: bool,
    /// How long a delivery may be left without acknowledgement before the server closes its channel; else 30 minutes, as usual.
    /// Looked at twice a second.
    pub consumer_timeout: Option<Duration>,
}

/// A RabbitMQ on random ports of the loopback, with all its files in a directory of its own. It is killed when this is dropped
/// and when this process dies.
#[derive(Debug)]
pub struct RabbitMq {
    dir: PathBuf,
    options: Options,
    ports: Ports,
    running: Option<Running>,
    http: reqwest::Client,
}

#[derive(Clone, Copy, Debug)]
struct Ports {
    amqp: u16,
    amqps: u16,
    management: u16,
    distribution: u16,
    epmd: u16,
}

/// The processes of a running instance, in the order in which they are to be dropped.
#[derive(Debug)]
struct Running {
    server: Process,
    _epmd: Process,
}

impl RabbitMq {
    /// Starts an instance with its files in `dir`, which is made, and returns once it serves.
    ///
    /// # Errors
    /// When RabbitMQ is not installed or does not begin to serve: with the end of its log.
    pub fn start(dir: &Path) -> anyhow::Result<Self> {
        Self::start_with(dir, Options::default())
    }

    /// The same with [`Options`].
    ///
    /// # Errors
    /// As [`RabbitMq::start`].
    pub fn start_with(dir: &Path, options: Options) -> anyhow::Result<Self> {
        ensure!(
            Path::new(SERVER).exists(),
            "{SERVER} is missing: install the Debian package rabbitmq-server"
        );
        fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
        let dir = dir.canonicalize()?;
        if options.tls {
            Authority::create(&dir.join("tls"))?.sign_server("server")?;
        }
        let mut last = None;
        for _ in 0..PORTS_TRIED {
            let ports = Ports::free()?;
            let http = http_client()?;
            let mut rabbitmq = Self { dir: dir.clone(), options, ports, running: None, http };
            match rabbitmq.start_again() {
                Ok(()) => return Ok(rabbitmq),
                Err(error) => last = Some(error),
            }
        }
        Err(last.context("no ports were tried")?)
    }

    /// Starts it again after [`RabbitMq::stop`], with the same data on the same ports.
    ///
    /// # Errors
    /// As [`RabbitMq::start`].
    pub fn start_again(&mut self) -> anyhow::Result<()> {
        if self.running.is_some() {
            return Ok(());
        }
        self.write_configuration()?;
        let epmd = self.start_epmd()?;
        let server = self.start_server()?;
        let mut running = Running { server, _epmd: epmd };
        self.wait_until_it_serves(&mut running.server)
            .with_context(|| format!("RabbitMQ does not serve; {}", end_of(&self.dir.join("out.log"))))?;
        self.running = Some(running);
        Ok(())
    }

    /// Kills it, as if the machine had lost power. What was confirmed is there when it is started again.
    pub fn stop(&mut self) {
        self.running = None;
    }

    /// Stops all its threads, as if its machine or the network had frozen: connections stay open and nothing comes.
    ///
    /// # Errors
    /// When it does not run.
    pub fn freeze(&self) -> anyhow::Result<()> {
        Ok(self.running.as_ref().context("RabbitMQ does not run")?.server.signal(Signal::SIGSTOP)?)
    }

    /// Ends [`RabbitMq::freeze`].
    ///
    /// # Errors
    /// When it does not run.
    pub fn thaw(&self) -> anyhow::Result<()> {
        Ok(self.running.as_ref().context("RabbitMQ does not run")?.server.signal(Signal::SIGCONT)?)
    }

    /// The URL of the default virtual host.
    #[must_use]
    pub fn amqp_url(&self) -> String {
        self.amqp_url_of(USER, PASSWORD, "/")
    }

    /// The URL of a virtual host for a user.
    #[must_use]
    pub fn amqp_url_of(&self, user: &str, password: &str, vhost: &str) -> String {
        let vhost = vhost.replace('/', "%2f");
        format!("amqp://{user}:{password}@127.0.0.1:{}/{vhost}", self.ports.amqp)
    }

    /// The URL of the default virtual host over TLS. Nothing listens there without [`Options::tls`].
    #[must_use]
    pub fn amqps_url(&self) -> String {
        format!("amqps://{USER}:{PASSWORD}@127.0.0.1:{}/%2f", self.ports.amqps)
    }

    /// The certificate of the authority that signed that of the TLS listener.
    #[must_use]
    pub fn ca_pem_path(&self) -> PathBuf {
        self.dir.join("tls/ca.pem")
    }

    /// The URL of the management plugin, credentials included, without a slash at the end.
    #[must_use]
    pub fn management_url(&self) -> String {
        format!("http://{USER}:{PASSWORD}@127.0.0.1:{}", self.ports.management)
    }

    /// The id of the server process, while it runs.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.running.as_ref().map(|running| running.server.pid())
    }

    /// The port of plain AMQP.
    #[must_use]
    pub fn amqp_port(&self) -> u16 {
        self.ports.amqp
    }

    /// Makes a virtual host with nothing in it and gives its URL.
    ///
    /// # Errors
    /// When the management plugin refuses.
    pub async fn create_vhost(&self, name: &str) -> anyhow::Result<String> {
        self.management(Method::PUT, &format!("vhosts/{name}"), None).await?;
        self.permit(USER, name, [".*", ".*", ".*"]).await?;
        Ok(self.amqp_url_of(USER, PASSWORD, name))
    }

    /// Makes a user without permissions.
    ///
    /// # Errors
    /// When the management plugin refuses.
    pub async fn create_user(&self, name: &str, password: &str) -> anyhow::Result<()> {
        let user = json!({ "password": password, "tags": "" });
        self.management(Method::PUT, &format!("users/{name}"), Some(user)).await.map(drop)
    }

    /// Permits a user to configure, to write and to read what these patterns match.
    ///
    /// # Errors
    /// When the management plugin refuses.
    pub async fn permit(&self, user: &str, vhost: &str, patterns: [&str; 3]) -> anyhow::Result<()> {
        let [configure, write, read] = patterns;
        let permissions = json!({ "configure": configure, "write": write, "read": read });
        let path = format!("permissions/{}/{user}", vhost.replace('/', "%2f"));
        self.management(Method::PUT, &path, Some(permissions)).await.map(drop)
    }

    /// Has the server close all connections to a virtual host, and says how many there were. It learns of a new one with up to
    /// a second of delay.
    ///
    /// # Errors
    /// When the management plugin refuses.
    pub async fn close_connections(&self, vhost: &str) -> anyhow::Result<usize> {
        let vhost = vhost.replace('/', "%2f");
        let connections = self.management(Method::GET, &format!("vhosts/{vhost}/connections"), None).await?;
        let names: Vec<_> =
            connections.as_array().into_iter().flatten().filter_map(|one| one["name"].as_str()).collect();
        for name in &names {
            // The names are like `127.0.0.1:1 -> 127.0.0.1:2`.
            let name = name.replace(' ', "%20").replace('>', "%3E");
            self.management(Method::DELETE, &format!("connections/{name}"), None).await?;
        }
        Ok(names.len())
    }

    /// Asks the management plugin for `/api/<path>`; `Null` where the answer has no body.
    ///
    /// # Errors
    /// When it cannot be reached or the status is not one of success.
    pub async fn management(&self, method: Method, path: &str, body: Option<Value>) -> anyhow::Result<Value> {
        let url = format!("http://127.0.0.1:{}/api/{path}", self.ports.management);
        let mut request = self.http.request(method, &url).basic_auth(USER, Some(PASSWORD));
        if let Some(body) = body {
            request = request.json(&body);
        }
        let response = request.send().await.with_context(|| format!("cannot ask {url}"))?;
        let status = response.status();
        let text = response.text().await?;
        ensure!(status.is_success(), "{url} answered {status}: {text}");
        if status == StatusCode::NO_CONTENT || text.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_str(&text).with_context(|| format!("{url} did not answer with JSON: {text}"))
    }

    fn write_configuration(&self) -> anyhow::Result<()> {
        let cookie = self.dir.join(".erlang.cookie");
        if !cookie.exists() {
            fs::write(&cookie, hex::encode(rand::random::<[u8; 16]>()))?;
            fs::set_permissions(&cookie, Permissions::from_mode(0o400))?;
        }
        fs::create_dir_all(self.dir.join("mnesia"))?;
        fs::write(self.dir.join("enabled_plugins"), "[rabbitmq_management].\n")?;
        // An empty one, or the one of the system is read.
        fs::write(self.dir.join("rabbitmq-env.conf"), "")?;
        fs::write(self.dir.join("rabbitmq.conf"), self.rabbitmq_conf())?;
        fs::write(self.dir.join("advanced.config"), self.advanced_config())?;
        Ok(())
    }

    fn rabbitmq_conf(&self) -> String {
        let Ports { amqp, amqps, management, .. } = self.ports;
        let mut conf = format!(
            "listeners.tcp.default = 127.0.0.1:{amqp}\n\
             management.tcp.ip = 127.0.0.1\n\
             management.tcp.port = {management}\n\
             collect_statistics_interval = 1000\n"
        );
        if self.options.tls {
            let tls = self.dir.join("tls");
            let tls = tls.display();
            conf.push_str(&format!(
                "listeners.ssl.default = 127.0.0.1:{amqps}\n\
                 ssl_options.cacertfile = {tls}/ca.pem\n\
                 ssl_options.certfile = {tls}/server.pem\n\
                 ssl_options.keyfile = {tls}/server.key\n\
                 ssl_options.verify = verify_none\n\
                 ssl_options.fail_if_no_peer_cert = false\n"
            ));
        }
        conf
    }

    fn advanced_config(&self) -> String {
        let timeout = self.options.consumer_timeout.map_or_else(String::new, |timeout| {
            format!("{{consumer_timeout, {}}}, {{channel_tick_interval, 500}}", timeout.as_millis())
        });
        format!("[{{rabbit, [{timeout}]}}].\n")
    }

    fn start_epmd(&self) -> anyhow::Result<Process> {
        let mut command = Command::new("epmd");
        command.args(["-address", "127.0.0.1", "-port", &self.ports.epmd.to_string()]);
        Process::spawn(&command)
    }

    fn start_server(&self) -> anyhow::Result<Process> {
        let dir = |name: &str| self.dir.join(name);
        let Ports { amqp, distribution, epmd, .. } = self.ports;
        let mut command = Command::new(SERVER);
        command
            .current_dir(&self.dir)
            .env("HOME", &self.dir)
            .env("RABBITMQ_NODENAME", format!("farrier{amqp}@localhost"))
            .env("RABBITMQ_NODE_IP_ADDRESS", "127.0.0.1")
            .env("RABBITMQ_NODE_PORT", amqp.to_string())
            .env("RABBITMQ_DIST_PORT", distribution.to_string())
            .env("RABBITMQ_BASE", &self.dir)
            .env("RABBITMQ_MNESIA_BASE", dir("mnesia"))
            .env("RABBITMQ_LOG_BASE", &self.dir)
            .env("RABBITMQ_LOGS", dir("node.log"))
            .env("RABBITMQ_CONFIG_FILE", dir("rabbitmq.conf"))
            .env("RABBITMQ_ADVANCED_CONFIG_FILE", dir("advanced.config"))
            .env("RABBITMQ_CONF_ENV_FILE", dir("rabbitmq-env.conf"))
            .env("RABBITMQ_ENABLED_PLUGINS_FILE", dir("enabled_plugins"))
            .env("RABBITMQ_PID_FILE", dir("node.pid"))
            .env("RABBITMQ_GENERATED_CONFIG_DIR", dir("gen"))
            .env("RABBITMQ_FEATURE_FLAGS_FILE", dir("feature_flags"))
            .env("ERL_EPMD_PORT", epmd.to_string())
            .env("ERL_EPMD_ADDRESS", "127.0.0.1")
            // Two schedulers that do not spin while they wait: it shares the machine with the tests.
            .env(
                "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS",
                "-kernel inet_dist_use_interface {127,0,0,1} +S 2:2 +sbwt none +sbwtdcpu none +sbwtdio none",
            )
            // What makes the start script become the server instead of watching over it.
            .env("RUNNING_UNDER_SYSTEMD", "true")
            .env_remove("NOTIFY_SOCKET");
        let out = dir("out.log");
        Process::spawn_to(&command, &File::create(&out)?)
    }

    fn wait_until_it_serves(&self, server: &mut Process) -> anyhow::Result<()> {
        let began = Instant::now();
        let mut ports = vec![self.ports.amqp, self.ports.management];
        if self.options.tls {
            ports.push(self.ports.amqps);
        }
        loop {
            if let Some(status) = server.ended()? {
                bail!("it ended with {status}");
            }
            ports.retain(|port| TcpStream::connect(("127.0.0.1", *port)).is_err());
            if ports.is_empty() {
                return Ok(());
            }
            ensure!(began.elapsed() < READY_WITHIN, "it does not listen on {ports:?} after {READY_WITHIN:?}");
            std::thread::park_timeout(LOOK_AGAIN_AFTER);
        }
    }
}

impl Ports {
    fn free() -> anyhow::Result<Self> {
        let mut held = Vec::new();
        let mut next = || -> anyhow::Result<u16> {
            let listener =
                TcpListener::bind(("127.0.0.1", 0)).context("cannot bind a port of the loopback")?;
            let port = listener.local_addr()?.port();
            held.push(listener);
            Ok(port)
        };
        Ok(Self { amqp: next()?, amqps: next()?, management: next()?, distribution: next()?, epmd: next()? })
    }
}

fn http_client() -> anyhow::Result<reqwest::Client> {
    // Fails only where the process has chosen its cryptography already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
        .timeout(Duration::from_secs(10))
        // A connection that was kept would be a dead one after a kill.
        .pool_max_idle_per_host(0)
        .build()
        .context("cannot make an HTTP client")
}

fn end_of(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<_> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let end = lines[lines.len().saturating_sub(12)..].join("\n");
    if end.is_empty() { format!("{} is empty", log.display()) } else { format!("it said:\n{end}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The processes with this name of an Erlang node in their environment.
    fn processes_of(port: u16) -> usize {
        let mark = format!("farrier{port}@localhost");
        fs::read_dir("/proc")
            .unwrap()
            .filter_map(|entry| fs::read(entry.ok()?.path().join("environ")).ok())
            .filter(|environ| environ.windows(mark.len()).any(|window| window == mark.as_bytes()))
            .count()
    }

    #[tokio::test]
    async fn keeps_its_data_over_a_kill_and_leaves_no_process() {
        let dir = tempfile::tempdir().unwrap();
        let mut rabbitmq =
            RabbitMq::start_with(dir.path(), Options { tls: true, ..Options::default() }).unwrap();
        let port = rabbitmq.amqp_port();
        rabbitmq.create_vhost("kept").await.unwrap();
        assert!(processes_of(port) > 0);

        rabbitmq.stop();
        assert!(TcpStream::connect(("127.0.0.1", port)).is_err());

        rabbitmq.start_again().unwrap();
        let vhosts = rabbitmq.management(Method::GET, "vhosts", None).await.unwrap();
        assert!(vhosts.as_array().unwrap().iter().any(|vhost| vhost["name"] == "kept"));

        drop(rabbitmq);
        let began = Instant::now();
        while processes_of(port) > 0 {
            assert!(began.elapsed() < Duration::from_secs(5), "a process is left");
            std::thread::park_timeout(LOOK_AGAIN_AFTER);
        }
    }
}
