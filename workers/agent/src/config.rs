//! The configuration: flags over environment (`FARRIER_*`) over file over kernel command line (`farrier.*`).

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use farrier::broker::{BadBrokerUrl, BrokerConfig, BrokerUrl, topology};
use farrier::config::{ConfigError, Layer as _, read_file, read_kernel_command_line};
use farrier::image::{self, ImageOptions};
use farrier::layer;
use farrier::telemetry::log::Format;
use farrier::wire::NodeId;
use nix::unistd::{AccessFlags, access};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;

/// Runs on a node: takes its commands from RabbitMQ, and inspects, cleans or deploys it.
#[derive(Debug, Parser)]
#[command(name = "farrier-agent", version)]
pub struct Flags {
    /// A TOML file with any of these settings, in snake_case. Keys that do not exist are errors.
    #[arg(long, env = "FARRIER_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    settings: Settings,
}

/// The settings, each of them from any of the sources.
#[derive(Debug, Default, Deserialize, clap::Args)]
#[serde(deny_unknown_fields, default)]
struct Settings {
    /// The UUID of this node, or `random` for a lab node that is another one at every start.
    #[arg(long, env = "FARRIER_NODE", value_name = "UUID")]
    node: Option<String>,
    /// Where the node stands [default: default].
    #[arg(long, env = "FARRIER_SITE")]
    site: Option<String>,
    /// Where the node stands [default: default].
    #[arg(long, env = "FARRIER_RACK")]
    rack: Option<String>,
    /// The broker: amqp[s]://user:password@host:port/vhost.
    #[arg(long, env = "FARRIER_BROKER", hide_env_values = true, value_name = "URL")]
    broker: Option<SecretString>,
    /// The certificate authority of the broker, in PEM, instead of the system's.
    #[arg(long, env = "FARRIER_BROKER_CA", value_name = "FILE")]
    broker_ca: Option<PathBuf>,
    /// A disk that this agent may erase and write: a file or a whole block device. May be given several times. Outside a RAM disk
    /// no other is ever opened.
    #[arg(long, env = "FARRIER_LAB_DISK", value_delimiter = ',', value_name = "PATH")]
    lab_disk: Option<Vec<PathBuf>>,
    /// A program that switches the power of this machine, called with `off` or `reboot`, in the place of the kernel. Outside a RAM disk
    /// the power is never switched in another way.
    #[arg(long, env = "FARRIER_POWER_COMMAND", value_name = "PATH")]
    power_command: Option<PathBuf>,
    /// Serve Prometheus metrics here. Not served by default.
    #[arg(long, env = "FARRIER_METRICS_LISTEN", value_name = "ADDRESS:PORT")]
    metrics_listen: Option<SocketAddr>,
    /// Seconds between heartbeats [default: 10].
    #[arg(long, env = "FARRIER_HEARTBEAT_SECONDS", value_name = "N")]
    heartbeat_seconds: Option<u64>,
    /// Seconds that a running command has to end after SIGTERM, before it is cancelled [default: 600].
    #[arg(long, env = "FARRIER_DRAIN_SECONDS", value_name = "N")]
    drain_seconds: Option<u64>,
    /// How log lines look, on standard error [default: text].
    #[arg(long, env = "FARRIER_LOG_FORMAT")]
    log_format: Option<Format>,
    /// In the file: the table `[image]`, with the keys of the flags below without `image_`.
    #[command(flatten)]
    image: ImageOptions,
}

layer!(Settings {
    node,
    site,
    rack,
    broker,
    broker_ca,
    lab_disk,
    power_command,
    metrics_listen,
    heartbeat_seconds,
    drain_seconds,
    log_format,
    image,
});

/// A configuration that was checked.
#[derive(Debug)]
pub struct Config {
    /// Who this node is.
    pub node: NodeId,
    /// Where it stands: one word of a routing key.
    pub site: String,
    /// Where it stands: one word of a routing key.
    pub rack: String,
    /// The broker.
    pub broker: BrokerConfig,
    /// The disks that were named.
    pub lab_disks: Vec<PathBuf>,
    /// What switches the power of the machine in the place of the kernel.
    pub power_command: Option<PathBuf>,
    /// Where metrics are served.
    pub metrics_listen: Option<SocketAddr>,
    /// The time between heartbeats.
    pub heartbeat: Duration,
    /// The time that a running command has to end.
    pub drain: Duration,
    /// How images are fetched, and which are taken.
    pub images: image::Settings,
    /// How log lines look.
    pub log_format: Format,
}

impl Config {
    /// Reads every source.
    ///
    /// # Errors
    /// Names the setting, what was expected and what was found.
    pub fn load(flags: Flags) -> Result<Self, ConfigError> {
        let command_line = std::fs::read_to_string("/proc/cmdline").map_err(|source| {
            ConfigError::Unreadable { what: "the kernel command line", path: "/proc/cmdline".into(), source }
        })?;
        let kernel: Settings = read_kernel_command_line(&command_line)?;
        let file: Settings = match &flags.config {
            Some(path) => read_file(path)?,
            None => Settings::default(),
        };
        Self::check(flags.settings.over(file.over(kernel)))
    }

    fn check(settings: Settings) -> Result<Self, ConfigError> {
        let node = match settings.node.as_deref() {
            None => return Err(ConfigError::setting("node", "not set; give the UUID of this node")),
            Some("random") => NodeId::new(),
            Some(text) => {
                text.parse().map_err(|_| ConfigError::setting("node", "expected a UUID, or `random`"))?
            }
        };
        let word = |setting, value: Option<String>| {
            let value = value.unwrap_or_else(|| "default".to_owned());
            match topology::check_word(setting, &value) {
                Ok(()) => Ok(value),
                Err(error) => Err(ConfigError::setting(setting, error.to_string())),
            }
        };
        let url = settings.broker.ok_or_else(|| {
            ConfigError::setting("broker", "not set; give amqp[s]://user:password@host:port/vhost")
        })?;
        let url: BrokerUrl = url
            .expose_secret()
            .parse()
            .map_err(|error: BadBrokerUrl| ConfigError::setting("broker", error.to_string()))?;
        let heartbeat = settings.heartbeat_seconds.unwrap_or(10);
        if !(1..=300).contains(&heartbeat) {
            return Err(ConfigError::setting(
                "heartbeat_seconds",
                format!("expected 1 to 300, found {heartbeat}"),
            ));
        }
        Ok(Self {
            node,
            site: word("site", settings.site)?,
            rack: word("rack", settings.rack)?,
            broker: BrokerConfig {
                url,
                ca: settings.broker_ca,
                connection_name: format!("farrier-agent {node}"),
            },
            lab_disks: settings.lab_disk.unwrap_or_default(),
            power_command: settings.power_command.map(program).transpose()?,
            metrics_listen: settings.metrics_listen,
            heartbeat: Duration::from_secs(heartbeat),
            drain: Duration::from_secs(settings.drain_seconds.unwrap_or(600)),
            images: settings.image.load()?,
            log_format: settings.log_format.unwrap_or_default(),
        })
    }
}

/// The power is switched at the end of a long job: that there is no such program shall be known before.
fn program(path: PathBuf) -> Result<PathBuf, ConfigError> {
    if path.is_absolute() && access(&path, AccessFlags::X_OK).is_ok() && path.is_file() {
        return Ok(path);
    }
    let found = format!("expected the absolute path of a program, found {}", path.display());
    Err(ConfigError::setting("power_command", found))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(node: &str) -> Settings {
        Settings {
            node: Some(node.into()),
            broker: Some("amqp://u:p@h/v".to_owned().into()),
            ..Settings::default()
        }
    }

    #[test]
    fn the_upper_source_wins() {
        let upper = Settings { rack: Some("r1".into()), ..Settings::default() };
        let lower = Settings { rack: Some("r2".into()), site: Some("s2".into()), ..Settings::default() };
        let both = upper.over(lower);
        assert_eq!((both.rack.as_deref(), both.site.as_deref()), (Some("r1"), Some("s2")));
    }

    #[test]
    fn a_bad_setting_is_named() {
        for (settings, name) in [
            (Settings::default(), "node"),
            (settings("7"), "node"),
            (Settings { rack: Some("r.1".into()), ..settings("random") }, "rack"),
            (Settings { heartbeat_seconds: Some(0), ..settings("random") }, "heartbeat_seconds"),
            (Settings { broker: None, ..settings("random") }, "broker"),
            (Settings { power_command: Some("bin/true".into()), ..settings("random") }, "power_command"),
            (Settings { power_command: Some("/etc/passwd".into()), ..settings("random") }, "power_command"),
            (Settings { power_command: Some("/bin".into()), ..settings("random") }, "power_command"),
        ] {
            let message = Config::check(settings).unwrap_err().to_string();
            assert!(message.contains(name), "{message}");
        }
        assert!(Config::check(settings("random")).is_ok());
    }

    #[test]
    fn the_password_is_not_printed() {
        let config = Config::check(Settings {
            broker: Some("amqp://u:hunter2@h/v".to_owned().into()),
            ..settings("random")
        })
        .unwrap();
        assert!(!format!("{config:?}").contains("hunter2"));
    }
}
