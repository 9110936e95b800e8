//! How long management controllers are waited for, and how often they are asked.

use std::time::Duration;

use farrier::config::ConfigError;
use serde::Deserialize;

/// The longest of these times, in seconds.
const LONGEST_SECONDS: u32 = 7200;
/// The most that something is tried.
const MOST_ATTEMPTS: u32 = 100;

/// The table `[power]` of the configuration file. The names are those that Ironic has for them, below its `[conductor]`, `[redfish]`
/// and `[ipmi]`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PowerTable {
    power_state_change_timeout: Option<u32>,
    soft_power_off_timeout: Option<u32>,
    default_boot_mode: Option<BootMode>,
    #[serde(default)]
    redfish: RedfishTable,
    #[serde(default)]
    ipmi: IpmiTable,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RedfishTable {
    connection_attempts: Option<u32>,
    connection_retry_interval: Option<u32>,
    connect_timeout: Option<u32>,
    read_timeout: Option<u32>,
    power_on_attempts: Option<u32>,
    power_on_retry_interval: Option<u32>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct IpmiTable {
    command_retry_timeout: Option<u32>,
    min_command_interval: Option<u32>,
}

/// The same, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PowerSettings {
    /// How long a machine may take to reach a state after the controller has taken the request: `power_state_change_timeout`.
    pub state_change: Duration,
    /// How long an operating system may take to shut down before it is forced: `soft_power_off_timeout`.
    pub soft_off: Duration,
    /// How machines boot that are told over IPMI what to boot from: `default_boot_mode`.
    pub boot_mode: BootMode,
    /// For Redfish.
    pub redfish: RedfishSettings,
    /// For IPMI.
    pub ipmi: IpmiSettings,
}

/// How a machine boots.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BootMode {
    /// By UEFI.
    #[default]
    Uefi,
    /// As before UEFI.
    Bios,
}

/// For Redfish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedfishSettings {
    /// How often a service is tried that cannot be reached, or says that it is not ready: `connection_attempts`.
    pub connection_attempts: u32,
    /// How long after each: `connection_retry_interval`.
    pub connection_retry_interval: Duration,
    /// How long a connection may take: `connect_timeout`.
    pub connect: Duration,
    /// How long an answer may take, from the request to its last byte: `read_timeout`.
    pub read: Duration,
    /// How often to switch on is tried while the service says that this contradicts its state: `power_on_attempts`.
    pub power_on_attempts: u32,
    /// How long after each: `power_on_retry_interval`.
    pub power_on_retry_interval: Duration,
    /// How long after one look at the state comes the next.
    pub look_again_after: Duration,
}

/// For IPMI.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IpmiSettings {
    /// How long a command is tried: `command_retry_timeout`.
    pub command_retry_timeout: Duration,
    /// How long after one command to a controller comes the next: `min_command_interval`.
    pub min_command_interval: Duration,
}

impl Default for PowerSettings {
    fn default() -> Self {
        Self {
            state_change: Duration::from_secs(60),
            soft_off: Duration::from_secs(600),
            boot_mode: BootMode::default(),
            redfish: RedfishSettings {
                connection_attempts: 5,
                connection_retry_interval: Duration::from_secs(4),
                connect: Duration::from_secs(30),
                read: Duration::from_secs(60),
                power_on_attempts: 6,
                power_on_retry_interval: Duration::from_secs(10),
                look_again_after: Duration::from_secs(1),
            },
            ipmi: IpmiSettings {
                command_retry_timeout: Duration::from_secs(60),
                min_command_interval: Duration::from_secs(5),
            },
        }
    }
}

impl PowerTable {
    /// Checks it, with the defaults in place of what is absent.
    ///
    /// # Errors
    /// The first value that does not fit.
    pub fn check(self) -> Result<PowerSettings, ConfigError> {
        let default = PowerSettings::default();
        let (redfish, ipmi) = (self.redfish, self.ipmi);
        Ok(PowerSettings {
            state_change: seconds(
                "power.power_state_change_timeout",
                self.power_state_change_timeout,
                default.state_change,
            )?,
            soft_off: seconds("power.soft_power_off_timeout", self.soft_power_off_timeout, default.soft_off)?,
            boot_mode: self.default_boot_mode.unwrap_or_default(),
            redfish: RedfishSettings {
                connection_attempts: attempts(
                    "power.redfish.connection_attempts",
                    redfish.connection_attempts,
                    default.redfish.connection_attempts,
                )?,
                connection_retry_interval: seconds(
                    "power.redfish.connection_retry_interval",
                    redfish.connection_retry_interval,
                    default.redfish.connection_retry_interval,
                )?,
                connect: seconds(
                    "power.redfish.connect_timeout",
                    redfish.connect_timeout,
                    default.redfish.connect,
                )?,
                read: seconds("power.redfish.read_timeout", redfish.read_timeout, default.redfish.read)?,
                power_on_attempts: attempts(
                    "power.redfish.power_on_attempts",
                    redfish.power_on_attempts,
                    default.redfish.power_on_attempts,
                )?,
                power_on_retry_interval: seconds(
                    "power.redfish.power_on_retry_interval",
                    redfish.power_on_retry_interval,
                    default.redfish.power_on_retry_interval,
                )?,
                look_again_after: default.redfish.look_again_after,
            },
            ipmi: IpmiSettings {
                command_retry_timeout: seconds(
                    "power.ipmi.command_retry_timeout",
                    ipmi.command_retry_timeout,
                    default.ipmi.command_retry_timeout,
                )?,
                min_command_interval: seconds(
                    "power.ipmi.min_command_interval",
                    ipmi.min_command_interval,
                    default.ipmi.min_command_interval,
                )?,
            },
        })
    }
}

impl PowerSettings {
    /// The longest that an action may take, and so the longest that another one waits for its turn.
    #[must_use]
    pub fn longest_action(&self) -> Duration {
        let requests =
            self.redfish.read.max(self.ipmi.command_retry_timeout) * self.redfish.connection_attempts;
        self.soft_off + 2 * (self.state_change + requests)
    }
}

fn seconds(setting: &'static str, given: Option<u32>, default: Duration) -> Result<Duration, ConfigError> {
    match given {
        None => Ok(default),
        Some(seconds @ 1..=LONGEST_SECONDS) => Ok(Duration::from_secs(seconds.into())),
        Some(other) => Err(ConfigError::setting(
            setting,
            format!("expected 1 to {LONGEST_SECONDS} seconds, found {other}"),
        )),
    }
}

fn attempts(setting: &'static str, given: Option<u32>, default: u32) -> Result<u32, ConfigError> {
    match given.unwrap_or(default) {
        attempts @ 1..=MOST_ATTEMPTS => Ok(attempts),
        other => Err(ConfigError::setting(setting, format!("expected 1 to {MOST_ATTEMPTS}, found {other}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<PowerSettings, String> {
        let table: PowerTable = toml::from_str(text).map_err(|error| error.to_string())?;
        table.check().map_err(|error| error.to_string())
    }

    #[test]
    fn an_empty_table_is_the_defaults_of_the_reference() {
        let settings = read("").unwrap();
        assert_eq!(settings, PowerSettings::default());
        assert_eq!((settings.state_change.as_secs(), settings.soft_off.as_secs()), (60, 600));
        assert_eq!(settings.redfish.connection_attempts, 5);
    }

    #[test]
    fn what_is_given_counts_and_what_does_not_fit_is_named() {
        let settings =
            read("soft_power_off_timeout = 9\ndefault_boot_mode = 'bios'\n[ipmi]\ncommand_retry_timeout = 7")
                .unwrap();
        assert_eq!((settings.soft_off.as_secs(), settings.ipmi.command_retry_timeout.as_secs()), (9, 7));
        assert_eq!(settings.boot_mode, BootMode::Bios);
        for (bad, named) in [
            ("power_state_change_timeout = 0", "power.power_state_change_timeout"),
            ("[redfish]\nconnection_attempts = 101", "power.redfish.connection_attempts"),
            ("[ipmi]\nmin_interval = 1", "min_interval"),
        ] {
            let error = read(bad).unwrap_err();
            assert!(error.contains(named), "{bad}: {error}");
        }
    }
}
