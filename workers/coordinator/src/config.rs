//! The configuration: flags over environment over a TOML file over defaults.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Parser};
use farrier::broker::{BadBrokerUrl, BrokerConfig, BrokerUrl};
use farrier::config::{ConfigError, Layer as _, read_file};
use farrier::layer;
use farrier::telemetry::log;
use farrier::wire::ImageDownloadSource;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;

use crate::images::local::{AgentSettings, ConductorSettings, DeploySettings, LocalConfig};
use crate::images::proxies::{ProxyDefaults, ProxySettings};
use crate::images::swift::{Glance, GlanceSettings};
use crate::power::{PowerSettings, PowerTable};
use crate::vault::{Vault, keys};

/// Where the API listens unless told otherwise.
const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 8470);
/// Three heartbeats and a half.
const DEFAULT_LEASE_SECONDS: u32 = 35;
const DEFAULT_ACCEPT_SECONDS: u32 = 60;
/// The longest lease and the longest wait for acceptance, in seconds.
const LONGEST_SECONDS: u32 = 3600;

/// What the coordinator is started with.
#[derive(Clone, Debug)]
pub struct Config {
    /// The broker.
    pub broker: BrokerConfig,
    /// The SQLite database.
    pub database: PathBuf,
    /// Where the API listens; port 0 for any free one.
    pub listen: SocketAddr,
    /// Gets the address that was bound.
    pub listen_file: Option<PathBuf>,
    /// What a request must carry. Always there when `listen` is not a loopback address.
    pub token: Option<SecretString>,
    /// What seals secrets in the store.
    pub vault: Vault,
    /// Whether an unknown agent's node is enrolled at its first hello.
    pub auto_enroll: bool,
    /// A running command is interrupted when no heartbeat has named it for so long.
    pub lease: Duration,
    /// An attempt has failed when its command was not accepted for so long.
    pub accept: Duration,
    /// The images that are served from here.
    pub local: LocalConfig,
    /// Where agents fetch images from, unless the job or the node says.
    pub image_download_source: ImageDownloadSource,
    /// How long an agent may take to power its machine off after a deploy.
    pub off_within: Duration,
    /// How management controllers are waited for.
    pub power: PowerSettings,
    /// How log lines look.
    pub log_format: log::Format,
    /// Where images are in Swift.
    pub glance: Option<Glance>,
    /// Through which proxies images are fetched where neither job nor node say.
    pub image_proxies: ProxyDefaults,
}

/// The command line. The doc comments are its help.
#[derive(Debug, Parser)]
#[command(
    name = "farrier-coordinator",
    version,
    about = "Turns jobs into commands, follows the fleet, and serves the HTTP API."
)]
#[command(
    after_help = "Every setting can be given as a flag, as FARRIER_<FLAG> in the environment, or in the file (snake_case \
                        keys); the first of these wins. The API token itself is FARRIER_TOKEN or the key `token`, never a flag. Tables stand in the \
                        file alone: [glance] says where images are in Swift, [conductor], [deploy] and [agent] what is served from here, \
                        [image_proxies] through which proxies images are fetched, and [power] how management controllers are waited for \
                        (docs/direct-deploy.md)."
)]
struct CommandLine {
    /// TOML file with settings; a key that is not known is an error
    #[arg(long, env = "FARRIER_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    settings: Settings,
}

/// One layer.
#[derive(Debug, Default, Args, Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// Broker: amqp[s]://user:password@host:port/vhost
    #[arg(long, env = "FARRIER_BROKER", hide_env_values = true, value_name = "URL")]
    broker: Option<SecretString>,
    /// Certificate authority of the broker, in PEM
    #[arg(long, env = "FARRIER_BROKER_CA", value_name = "PEM")]
    broker_ca: Option<PathBuf>,
    /// SQLite database [default: farrier.db]
    #[arg(long, env = "FARRIER_DATABASE", value_name = "PATH")]
    database: Option<PathBuf>,
    /// Address of the API; beyond loopback a token is needed [default: 127.0.0.1:8470]
    #[arg(long, env = "FARRIER_LISTEN", value_name = "ADDR:PORT")]
    listen: Option<SocketAddr>,
    /// File that gets the address that was bound, for port 0
    #[arg(long, env = "FARRIER_LISTEN_FILE", value_name = "PATH")]
    listen_file: Option<PathBuf>,
    #[arg(skip)]
    token: Option<SecretString>,
    /// File with the API token
    #[arg(long, env = "FARRIER_TOKEN_FILE", value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// File with the keys under which secrets are kept: lines of `openssl rand -base64 32`; the first one seals, all of them open.
    /// Without it, BMC passwords are refused
    #[arg(long, env = "FARRIER_SECRET_KEY_FILE", value_name = "FILE")]
    secret_key_file: Option<PathBuf>,
    /// Enrol the node of an unknown agent at its first hello
    #[arg(long, env = "FARRIER_AUTO_ENROLL", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    auto_enroll: Option<bool>,
    /// Interrupt a running command that no heartbeat has named for so long [default: 35]
    #[arg(long, env = "FARRIER_LEASE_SECONDS", value_name = "N")]
    lease_seconds: Option<u32>,
    /// Take a command that was not accepted for so long for a failed attempt [default: 60]
    #[arg(long, env = "FARRIER_ACCEPT_SECONDS", value_name = "N")]
    accept_seconds: Option<u32>,
    /// How log lines look [default: text]
    #[arg(long, env = "FARRIER_LOG_FORMAT", value_name = "FORMAT")]
    log_format: Option<log::Format>,
    /// How management controllers are waited for: a table, for the file alone.
    #[arg(skip)]
    power: Option<PowerTable>,
    /// Where images are in Swift: a table, for the file alone.
    #[arg(skip)]
    glance: Option<GlanceSettings>,
    /// Through which proxies images are fetched where neither job nor node say: a table, for the file alone.
    #[arg(skip)]
    image_proxies: Option<ProxySettings>,
    #[arg(skip)]
    conductor: Option<ConductorSettings>,
    #[arg(skip)]
    deploy: Option<DeploySettings>,
    #[arg(skip)]
    agent: Option<AgentSettings>,
}
layer!(Settings {
    broker,
    broker_ca,
    database,
    listen,
    listen_file,
    token,
    token_file,
    secret_key_file,
    auto_enroll,
    lease_seconds,
    accept_seconds,
    log_format,
    power,
    glance,
    image_proxies,
    conductor,
    deploy,
    agent,
});

impl Config {
    /// Reads the settings of this process. Blocks: for the time before the runtime is started. A command line that clap does
    /// not take ends the process with its help and exit code 2.
    ///
    /// # Errors
    /// The file, the line or the setting that is wrong.
    pub fn read() -> Result<Self, ConfigError> {
        let token = std::env::var("FARRIER_TOKEN").ok().map(SecretString::from);
        Self::merged(CommandLine::parse(), token)
    }

    fn merged(
        command_line: CommandLine,
        environment_token: Option<SecretString>,
    ) -> Result<Self, ConfigError> {
        let mut top = command_line.settings;
        // The file names the token more firmly than a variable that every child process inherits.
        if top.token_file.is_none() {
            top.token = environment_token;
        }
        let Some(path) = command_line.config else { return top.check() };
        let mut file: Settings = read_file(&path)?;
        if file.token.is_some() && file.token_file.is_some() {
            return Err(ConfigError::setting(
                "token",
                "given together with `token_file`; leave one of them out",
            ));
        }
        // The two keys are one setting: a token above hides a token file below, and the other way round.
        if top.token.is_some() || top.token_file.is_some() {
            (file.token, file.token_file) = (None, None);
        }
        top.over(file).check()
    }
}

impl Settings {
    fn check(self) -> Result<Config, ConfigError> {
        let listen = self.listen.unwrap_or(DEFAULT_LISTEN);
        let token = match (self.token, self.token_file) {
            (Some(token), _) => Some(checked_token("token", token)?),
            (None, Some(path)) => Some(checked_token("token_file", read_token(&path)?)?),
            (None, None) => None,
        };
        if token.is_none() && !listen.ip().is_loopback() {
            return Err(ConfigError::setting(
                "listen",
                format!(
                    "{listen} can be reached from other machines, so requests must carry a token: give one with \
                     --token-file, FARRIER_TOKEN or the key `token`, or listen on 127.0.0.1"
                ),
            ));
        }
        let agent = self.agent.unwrap_or_default();
        Ok(Config {
            broker: BrokerConfig {
                url: broker_url(self.broker)?,
                ca: self.broker_ca,
                connection_name: "farrier-coordinator".to_owned(),
            },
            database: self.database.unwrap_or_else(|| "farrier.db".into()),
            listen,
            listen_file: self.listen_file,
            token,
            vault: match self.secret_key_file {
                Some(path) => Vault::new(keys::read(&path)?),
                None => Vault::default(),
            },
            auto_enroll: self.auto_enroll.unwrap_or(false),
            lease: seconds("lease_seconds", self.lease_seconds, DEFAULT_LEASE_SECONDS)?,
            accept: seconds("accept_seconds", self.accept_seconds, DEFAULT_ACCEPT_SECONDS)?,
            local: LocalConfig::read(self.conductor.unwrap_or_default(), self.deploy.unwrap_or_default())?,
            image_download_source: agent.image_download_source(),
            off_within: agent.off_within()?,
            power: self.power.unwrap_or_default().check()?,
            log_format: self.log_format.unwrap_or_default(),
            glance: self.glance.map(GlanceSettings::check).transpose()?,
            image_proxies: self.image_proxies.unwrap_or_default().check()?,
        })
    }
}

fn broker_url(given: Option<SecretString>) -> Result<BrokerUrl, ConfigError> {
    let url = given.ok_or_else(|| {
        ConfigError::setting(
            "broker",
            "it is missing; give --broker, FARRIER_BROKER or the key `broker`, as in amqp://user:password@host:5672/%2f",
        )
    })?;
    let url = url.expose_secret().parse();
    url.map_err(|error: BadBrokerUrl| ConfigError::setting("broker", error.to_string()))
}

fn seconds(setting: &'static str, given: Option<u32>, default: u32) -> Result<Duration, ConfigError> {
    match given.unwrap_or(default) {
        seconds @ 1..=LONGEST_SECONDS => Ok(Duration::from_secs(seconds.into())),
        other => Err(ConfigError::setting(
            setting,
            format!("expected 1 to {LONGEST_SECONDS} seconds, found {other}"),
        )),
    }
}

fn read_token(path: &Path) -> Result<SecretString, ConfigError> {
    let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Unreadable {
        what: "the token file",
        path: path.to_owned(),
        source,
    })?;
    Ok(text.trim().into())
}

/// A token must fit into an `Authorization` header.
fn checked_token(setting: &'static str, token: SecretString) -> Result<SecretString, ConfigError> {
    let text = token.expose_secret();
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(ConfigError::setting(
            setting,
            "expected one word of printable ASCII characters, without spaces",
        ));
    }
    Ok(token)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    struct Given<'a> {
        flags: &'a [&'a str],
        token: Option<&'a str>,
        file: Option<&'a str>,
    }

    impl Given<'_> {
        fn read(&self) -> Result<Config, String> {
            let mut file = tempfile::NamedTempFile::new().unwrap();
            let mut words = vec!["farrier-coordinator".to_owned()];
            words.extend(self.flags.iter().map(|&flag| flag.to_owned()));
            if let Some(text) = self.file {
                file.write_all(text.as_bytes()).unwrap();
                words.push(format!("--config={}", file.path().display()));
            }
            let command_line = CommandLine::try_parse_from(words).map_err(|error| error.to_string())?;
            Config::merged(command_line, self.token.map(SecretString::from))
                .map_err(|error| error.to_string())
        }
    }

    fn flags(flags: &[&str]) -> Result<Config, String> {
        Given { flags, token: None, file: None }.read()
    }

    fn token_of(config: &Config) -> Option<&str> {
        config.token.as_ref().map(|token| token.expose_secret())
    }

    const BROKER: &str = "--broker=amqp://u:hunter2@h/v";

    #[test]
    fn the_defaults_are_those_of_the_help() {
        let config = flags(&[BROKER]).unwrap();
        assert_eq!(config.listen.to_string(), "127.0.0.1:8470");
        assert_eq!((config.lease.as_secs(), config.accept.as_secs()), (35, 60));
        assert_eq!(config.database, Path::new("farrier.db"));
        assert!(!config.auto_enroll && config.token.is_none());
        assert!(!format!("{config:?}").contains("hunter2"), "a debug print must not show the password");
    }

    #[test]
    fn a_flag_wins_over_the_file_and_the_file_over_the_default() {
        let file = "broker = \"amqp://f/\"\nlease_seconds = 7\naccept_seconds = 8\nauto_enroll = true\nlog_format = \"json\"";
        let config = Given { flags: &["--lease-seconds=9"], token: None, file: Some(file) }.read().unwrap();
        assert_eq!((config.lease.as_secs(), config.accept.as_secs()), (9, 8));
        assert_eq!(config.broker.url.host(), "f");
        assert!(config.auto_enroll);
        assert_eq!(config.log_format, log::Format::Json);
        let off = Given { flags: &["--auto-enroll=false"], token: None, file: Some(file) }.read().unwrap();
        assert!(!off.auto_enroll);
    }

    #[test]
    fn beyond_loopback_a_token_is_needed() {
        let error = flags(&[BROKER, "--listen=0.0.0.0:1"]).unwrap_err();
        assert!(error.starts_with("the setting `listen`: 0.0.0.0:1 can be reached"), "{error}");
        let given = Given { flags: &[BROKER, "--listen=0.0.0.0:1"], token: Some("t"), file: None };
        assert_eq!(token_of(&given.read().unwrap()), Some("t"));
        assert!(flags(&[BROKER, "--listen=[::1]:0"]).unwrap().token.is_none());
    }

    #[test]
    fn a_token_above_hides_a_token_file_below() {
        let mut below = tempfile::NamedTempFile::new().unwrap();
        below.write_all(b" from-file\n").unwrap();
        let file = format!("token_file = {:?}", below.path());
        let read = |token| Given { flags: &[BROKER], token, file: Some(&file) }.read().unwrap();
        assert_eq!(token_of(&read(None)), Some("from-file"));
        assert_eq!(token_of(&read(Some("from-environment"))), Some("from-environment"));
        let flag = format!("--token-file={}", below.path().display());
        let above =
            Given { flags: &[BROKER, &flag], token: Some("from-environment"), file: Some("token = \"x\"") };
        assert_eq!(token_of(&above.read().unwrap()), Some("from-file"));
    }

    #[test]
    fn the_keys_are_read_and_not_shown() {
        let mut keys = tempfile::NamedTempFile::new().unwrap();
        let key = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
        keys.write_all(key.as_bytes()).unwrap();
        let flag = format!("--secret-key-file={}", keys.path().display());
        let config = flags(&[BROKER, &flag]).unwrap();
        assert!(config.vault.key_id().is_some() && !format!("{config:?}").contains(key));
        assert!(flags(&[BROKER]).unwrap().vault.key_id().is_none());
        let missing = flags(&[BROKER, "--secret-key-file=/nonexistent"]).unwrap_err();
        assert!(missing.starts_with("cannot read the secret key file /nonexistent"), "{missing}");
    }

    #[test]
    fn wrong_settings_are_named() {
        let file = |text| Given { flags: &[BROKER], token: None, file: Some(text) }.read().unwrap_err();
        assert!(flags(&[]).unwrap_err().starts_with("the setting `broker`: it is missing"));
        assert!(
            flags(&[BROKER, "--lease-seconds=0"])
                .unwrap_err()
                .contains("`lease_seconds`: expected 1 to 3600")
        );
        assert!(
            flags(&[BROKER, "--token-file=/nonexistent"])
                .unwrap_err()
                .starts_with("cannot read the token file")
        );
        assert!(
            file("lease_second = 3").contains("line 1: unknown key `lease_second`, expected one of `broker`")
        );
        assert!(file("token = \"a\"\ntoken_file = \"b\"").contains("leave one of them out"));
        let spaced = file("token = \"hunter 2\"");
        assert!(spaced.starts_with("the setting `token`") && !spaced.contains("hunter"), "{spaced}");
    }

    #[test]
    fn proxies_are_read_from_the_file_and_checked() {
        let file = |text| Given { flags: &[BROKER], token: None, file: Some(text) }.read();
        let table = "[image_proxies]\nimage_http_proxy = \"http://user:hunter2@proxy:3128\"\n\
                     [[image_proxies.rack]]\nsite = \"iad1\"\nrack = \"r12\"\nimage_https_proxy = \"\"\n";
        assert!(!format!("{:?}", file(table).unwrap()).contains("hunter2"));
        let bad = file("[image_proxies]\nimage_http_proxy = \"ftp://user:hunter2@proxy\"\n").unwrap_err();
        assert!(
            bad.starts_with("the setting `image_proxies`: image_http_proxy: ") && !bad.contains("hunter2"),
            "{bad}"
        );
        let unknown = file("[image_proxies]\nimage_htp_proxy = \"x\"\n").unwrap_err();
        assert!(unknown.contains("line 2: unknown key `image_htp_proxy`"), "{unknown}");
    }

    #[test]
    fn swift_is_a_table_of_the_file() {
        let file = |text| Given { flags: &[BROKER], token: None, file: Some(text) }.read();
        assert!(file("").unwrap().glance.is_none());
        let endpoint = "[glance]\nswift_endpoint_url = \"http://h/v1/AUTH_p\"\n";
        assert!(file(endpoint).unwrap_err().contains("`glance.swift_temp_url_key`: it is missing"));
        let keyed = format!("{endpoint}swift_temp_url_key = \"hunter2\"\n");
        let glance = file(&keyed).unwrap();
        assert!(glance.glance.is_some() && !format!("{glance:?}").contains("hunter2"));
        let short =
            format!("{keyed}swift_temp_url_duration = 5\nswift_temp_url_expected_download_start_delay = 6");
        let error = file(&short).unwrap_err();
        assert!(error.contains("swift_temp_url_duration") && error.contains("start_delay is 6"), "{error}");
        let error = file(&format!("{keyed}swift_conteiner = 1")).unwrap_err();
        assert!(error.contains("line 4: unknown key `swift_conteiner`"), "{error}");
    }

    #[test]
    fn the_help_shows_no_secret_of_the_environment() {
        use clap::CommandFactory as _;
        CommandLine::command().debug_assert();
        let command = CommandLine::command();
        let broker = command.get_arguments().find(|argument| argument.get_id() == "broker").unwrap();
        assert!(broker.is_hide_env_values_set());
    }
}
