//! Runs `ipmitool`: with bounds, and without a secret where others can see it.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::process::Stdio;
use std::sync::Arc;

use backon::{ConstantBuilder, Retryable as _};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use super::answer::{Failure, failure};
use crate::driver_info::{CipherSuite, IpmiInfo, ProtocolVersion};
use crate::power::error::Fault;
use crate::power::settings::IpmiSettings;

/// The program.
const PROGRAM: &str = "ipmitool";
/// The most that is read of what it prints, in bytes.
const LONGEST_PRINTED: u64 = 64 << 10;
/// The suites that are tried where none is said. Left to itself, `ipmitool` asks the controller first, which takes ten seconds where
/// that does not answer.
const SUITES: &[CipherSuite] = &[CipherSuite::Seventeen, CipherSuite::Three];

/// Runs commands against one controller.
#[derive(Debug)]
pub(super) struct IpmiTool {
    info: IpmiInfo,
    shown: Arc<str>,
    settings: IpmiSettings,
}

impl IpmiTool {
    pub(super) fn new(info: IpmiInfo, settings: IpmiSettings) -> Self {
        let shown = format!("{} port {}", info.address, info.port).into();
        Self { info, shown, settings }
    }

    pub(super) fn shown(&self) -> &Arc<str> {
        &self.shown
    }

    pub(super) fn settings(&self) -> &IpmiSettings {
        &self.settings
    }

    pub(super) fn info(&self) -> &IpmiInfo {
        &self.info
    }

    /// Runs a command and gives what it prints, again for a while where it fails for a reason that may pass.
    pub(super) async fn run(&self, words: &[&str]) -> Result<String, Fault> {
        let window = self.settings.command_retry_timeout;
        let interval = self.settings.min_command_interval;
        let times = window.as_millis() / interval.as_millis().max(1);
        let again = ConstantBuilder::default()
            .with_delay(interval)
            .with_max_times(usize::try_from(times).unwrap_or(usize::MAX));
        let mut last = None;
        let trying = (|| self.with_suites(words))
            .retry(again)
            .when(|failure| matches!(failure, Failure::MayPass(_)))
            .notify(|failure, _| last = Some(failure.clone()));
        let failure = match timeout(window, trying).await {
            Ok(Ok(printed)) => return Ok(printed),
            Ok(Err(failure)) => failure,
            Err(_) => last.unwrap_or_else(|| {
                Failure::Final(Fault::Unreachable(format!("ipmitool did not end within {window:?}")))
            }),
        };
        Err(match failure {
            Failure::MayPass(fault) | Failure::Final(fault) => fault,
            Failure::CipherSuite(said) => Fault::Refused(format!(
                "{said}; it takes none of the cipher suites that were tried: set ipmi_cipher_suite to 3 or 17"
            )),
        })
    }

    async fn with_suites(&self, words: &[&str]) -> Result<String, Failure> {
        if self.info.protocol_version == ProtocolVersion::V1_5 {
            return self.once(words, None).await;
        }
        let said = self.info.cipher_suite;
        let mut suites = said.as_ref().map_or(SUITES, std::slice::from_ref).iter().copied();
        let mut answer = self.once(words, suites.next()).await;
        for suite in suites {
            if !matches!(answer, Err(Failure::CipherSuite(_))) {
                break;
            }
            answer = self.once(words, Some(suite)).await;
        }
        answer
    }

    async fn once(&self, words: &[&str], suite: Option<CipherSuite>) -> Result<String, Failure> {
        let mut child = self.command(words, suite).spawn().map_err(|error| {
            Failure::Final(Fault::Coordinator(format!(
                "{PROGRAM} cannot be started: {error}; install the Debian package ipmitool where the coordinator runs"
            )))
        })?;
        let broken = |error: std::io::Error| {
            Failure::Final(Fault::Coordinator(format!("{PROGRAM} cannot be read: {error}")))
        };
        self.tell_password(&mut child).await;
        let (out, err) = (child.stdout.take(), child.stderr.take());
        let (printed, complaints) = tokio::try_join!(read(out), read(err)).map_err(broken)?;
        let status = child.wait().await.map_err(broken)?;
        if status.success() { Ok(printed) } else { Err(failure(&complaints)) }
    }

    /// The password goes in by a pipe: the arguments of a process are for all to see, and a file might stay behind.
    async fn tell_password(&self, child: &mut Child) {
        if let Some(mut input) = child.stdin.take() {
            let line = format!("{}\n", self.info.password.expose());
            // A program that does not listen has ended, and says why by its status.
            let _ = input.write_all(line.as_bytes()).await;
        }
    }

    fn command(&self, words: &[&str], suite: Option<CipherSuite>) -> Command {
        let IpmiInfo { address, port, username, privilege_level, .. } = &self.info;
        let interface = match self.info.protocol_version {
            ProtocolVersion::V2_0 => "lanplus",
            ProtocolVersion::V1_5 => "lan",
        };
        let mut command = Command::new(PROGRAM);
        command
            .env_clear()
            .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
            .env("LC_ALL", "C")
            // Says why a session was not established.
            .args(["-v", "-I", interface, "-H", address])
            .args(["-p", &port.to_string()])
            .args(["-L", privilege_level.as_str(), "-f", "/dev/stdin"])
            // One packet is sent once, and waited for as long as lies between two commands.
            .args(["-R", "1", "-N", &self.settings.min_command_interval.as_secs().max(1).to_string()]);
        if !username.is_empty() {
            command.args(["-U", username]);
        }
        if let Some(suite) = suite {
            command.args(["-C", suite.number()]);
        }
        if let Some(key) = &self.info.kg_key {
            // The environment is for the same user alone; there is no other way in that is not the command line.
            command.env("IPMI_KGKEY", OsStr::from_bytes(key.expose())).arg("-K");
        }
        command
            .args(words)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }
}

/// What comes out of a pipe, as text. What is too much is left in it; the program then ends when it is dropped.
async fn read(pipe: Option<impl AsyncRead + Unpin>) -> std::io::Result<String> {
    let mut bytes = Vec::new();
    if let Some(pipe) = pipe {
        pipe.take(LONGEST_PRINTED).read_to_end(&mut bytes).await?;
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
