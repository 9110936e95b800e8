//! A real Redfish service: sushy-tools' emulator, with machines that exist in its memory alone.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use uuid::Uuid;

use crate::ports::free_address;
use crate::process::Process;
use crate::tls::Authority;
use crate::venv;
use crate::wait::{blocking, wait_for};

/// The release.
pub const VERSION: &str = "2.2.0";
const READY_WITHIN: Duration = Duration::from_secs(60);
/// How often another port is tried when somebody took the one that was free.
const PORTS_TRIED: u32 = 5;

/// How a service shall be.
#[derive(Clone, Copy, Debug)]
pub struct RedfishOptions<'a> {
    /// How many systems it has; they are off.
    pub systems: usize,
    /// The user and the password that requests need.
    pub credentials: Option<(&'a str, &'a str)>,
    /// TLS, with a certificate of this authority.
    pub tls: Option<&'a Authority>,
}

impl Default for RedfishOptions<'_> {
    fn default() -> Self {
        Self { systems: 1, credentials: None, tls: None }
    }
}

/// A service on a random port of the loopback, with all its files in a directory of its own. Its machines take 1 to 11 seconds to
/// change their power. It is killed when this is dropped, and when this process dies.
#[derive(Debug)]
pub struct RedfishEmulator {
    process: Process,
    address: SocketAddr,
    scheme: &'static str,
    systems: Vec<Uuid>,
    log: PathBuf,
}

impl RedfishEmulator {
    /// Starts it, after installing it where it has not been before. Returns once it answers.
    ///
    /// # Errors
    /// When it cannot be installed or does not answer: with its log.
    pub async fn start(dir: &Path, options: RedfishOptions<'_>) -> anyhow::Result<Self> {
        let python = blocking(|| venv::install(&venv::kept()?, "sushy-tools", VERSION)).await?;
        fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
        let dir = dir.canonicalize()?;
        let mut last = None;
        for _ in 0..PORTS_TRIED {
            let mut emulator = start_on(free_address()?, &python, &dir, options)?;
            match emulator.answers().await {
                Ok(()) => return Ok(emulator),
                Err(error) => last = Some(error),
            }
        }
        Err(last.context("no port was tried")?)
    }

    /// Its URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("{}://{}", self.scheme, self.address)
    }

    /// The path of a system.
    #[must_use]
    pub fn system(&self, place: usize) -> String {
        format!("/redfish/v1/Systems/{}", self.systems[place])
    }

    /// The requests that have been answered: method, path, protocol and status.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn requests(&self) -> anyhow::Result<Vec<String>> {
        let log = fs::read_to_string(&self.log).context("cannot read the log of the Redfish service")?;
        let request = |line: &str| {
            let (_, rest) = line.split_once("] \"")?;
            Some(without_colours(rest).trim_end_matches(" -").replace('"', ""))
        };
        Ok(log.lines().filter_map(request).collect())
    }

    async fn answers(&mut self) -> anyhow::Result<()> {
        // Fails only where the process has chosen its cryptography already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder()
            .no_proxy()
            .tls_danger_accept_invalid_certs(true)
            .build()
            .context("cannot make an HTTP client")?;
        let url = format!("{}/redfish/v1/", self.url());
        let (process, log) = (&mut self.process, &self.log);
        let mut ended = None;
        let answered = wait_for("the Redfish service answers", READY_WITHIN, async || {
            ended = process.ended()?;
            if ended.is_some() {
                return Ok(Some(()));
            }
            let text = http.get(&url).send().await?.text().await?;
            // A stranger on the same port is not ours.
            Ok(text.contains("RedvirtService").then_some(()))
        });
        let answered = answered.await;
        let told = || fs::read_to_string(log).unwrap_or_default();
        ensure!(ended.is_none(), "the Redfish service has ended: {}", told());
        answered.with_context(told)
    }
}

fn start_on(
    address: SocketAddr,
    python: &Path,
    dir: &Path,
    options: RedfishOptions<'_>,
) -> anyhow::Result<RedfishEmulator> {
    let systems: Vec<_> = (0..options.systems).map(|_| Uuid::now_v7()).collect();
    let state = dir.join("state");
    fs::create_dir_all(&state).with_context(|| format!("cannot make {}", state.display()))?;
    let mut configuration =
        format!("SUSHY_EMULATOR_STATE_DIR = {state:?}\nSUSHY_EMULATOR_FAKE_SYSTEMS = [\n");
    for (place, uuid) in systems.iter().enumerate() {
        writeln!(
            configuration,
            "  {{'uuid': '{uuid}', 'name': 'node{place}', 'power_state': 'Off', 'external_notifier': False, 'nics': []}},"
        )?;
    }
    configuration.push_str("]\n");
    if let Some((user, password)) = options.credentials {
        let file = dir.join("users");
        fs::write(&file, format!("{user}:{}\n", bcrypt(python, password)?))
            .with_context(|| format!("cannot write {}", file.display()))?;
        writeln!(configuration, "SUSHY_EMULATOR_AUTH_FILE = {file:?}")?;
    }
    let file = dir.join("emulator.conf");
    fs::write(&file, configuration).with_context(|| format!("cannot write {}", file.display()))?;
    let mut command = Command::new(python);
    // As the script of that name does.
    command
        .args(["-c", "from sushy_tools.emulator.main import main; main()", "--fake", "--config"])
        .arg(&file);
    command.args(["--interface", &address.ip().to_string(), "--port", &address.port().to_string()]);
    if let Some(authority) = options.tls {
        authority.sign_server("redfish")?;
        let (certificate, key) = authority.pair("redfish");
        command.arg("--ssl-certificate").arg(certificate).arg("--ssl-key").arg(key);
    }
    let log = dir.join("emulator.log");
    let process = Process::spawn_to(&command, &File::create(&log)?)?;
    let scheme = if options.tls.is_some() { "https" } else { "http" };
    Ok(RedfishEmulator { process, address, scheme, systems, log })
}

/// Statuses other than 200 are in colours: `ESC [ ... m`.
fn without_colours(text: &str) -> String {
    let mut pieces = text.split('\x1b');
    let first = pieces.next().unwrap_or_default().to_owned();
    first + &pieces.filter_map(|piece| piece.split_once('m')).map(|(_, rest)| rest).collect::<String>()
}

/// The digest of a password, by the library that the emulator checks it with.
fn bcrypt(python: &Path, password: &str) -> anyhow::Result<String> {
    let hash =
        "import bcrypt, os; print(bcrypt.hashpw(os.environ['WORD'].encode(), bcrypt.gensalt(4)).decode())";
    let output = Command::new(python)
        .args(["-c", hash])
        .env("WORD", password)
        .output()
        .with_context(|| format!("cannot start {}", python.display()))?;
    ensure!(output.status.success(), "bcrypt has failed: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}
