//! The operator's settings for images: the flags of the agent and of `farrier run`, and the `[image]` table of the agent's file.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use super::{Connection, Limits, Policy, Settings, Spool};
use crate::config::ConfigError;
use crate::layer;
use crate::wire::{ImageFormat, Secret};

/// The settings, each of them from any of the sources.
#[derive(Clone, Debug, Default, Deserialize, clap::Args)]
#[serde(deny_unknown_fields, default)]
#[command(next_help_heading = "Images")]
pub struct ImageOptions {
    /// Seconds until a server of images must be connected [default: 10].
    #[arg(long = "image-connect-seconds", env = "FARRIER_IMAGE_CONNECT_SECONDS", value_name = "N")]
    connect_seconds: Option<u64>,
    /// Seconds that a server of images may be silent [default: 30].
    #[arg(long = "image-stall-seconds", env = "FARRIER_IMAGE_STALL_SECONDS", value_name = "N")]
    stall_seconds: Option<u64>,
    /// Seconds that fetching an image may take, all tries together [default: 14400].
    #[arg(long = "image-deadline-seconds", env = "FARRIER_IMAGE_DEADLINE_SECONDS", value_name = "N")]
    deadline_seconds: Option<u64>,
    /// How often a server is tried in a row without a byte coming [default: 8].
    #[arg(long = "image-tries", env = "FARRIER_IMAGE_TRIES", value_name = "N")]
    tries: Option<u32>,
    /// Formats that are taken [default: all: raw,qcow2,gzip,xz,zstd,bzip2,lz4].
    #[arg(
        long = "image-formats",
        env = "FARRIER_IMAGE_FORMATS",
        value_delimiter = ',',
        value_name = "FORMAT"
    )]
    formats: Option<Vec<ImageFormat>>,
    /// Take MD5 and SHA-1 for the digest of an image: anybody can make another image of the same digest [default: false].
    #[arg(
        long = "image-weak-digests",
        env = "FARRIER_IMAGE_WEAK_DIGESTS",
        num_args = 0..=1,
        default_missing_value = "true",
        value_name = "BOOL"
    )]
    weak_digests: Option<bool>,
    /// Write images that no digest is given for [default: false].
    #[arg(
        long = "image-without-digest",
        env = "FARRIER_IMAGE_WITHOUT_DIGEST",
        num_args = 0..=1,
        default_missing_value = "true",
        value_name = "BOOL"
    )]
    without_digest: Option<bool>,
    /// A directory to keep a qcow2 in whose server has no ranges. Without it such an image is refused.
    #[arg(long = "image-spool-dir", env = "FARRIER_IMAGE_SPOOL_DIR", value_name = "DIR")]
    spool_dir: Option<PathBuf>,
    /// The largest image that is kept there, in MiB.
    #[arg(long = "image-spool-mib", env = "FARRIER_IMAGE_SPOOL_MIB", value_name = "N")]
    spool_mib: Option<u64>,
    /// Certificate authorities in PEM that servers of images are trusted by, beside those of the system.
    #[arg(long = "image-ca", env = "FARRIER_IMAGE_CA", value_name = "FILE")]
    ca: Option<PathBuf>,
    /// The client certificate with its chain and its key, in one PEM file, for servers of images that ask for one.
    #[arg(long = "image-client-certificate", env = "FARRIER_IMAGE_CLIENT_CERTIFICATE", value_name = "FILE")]
    client_certificate: Option<PathBuf>,
}

layer!(ImageOptions {
    connect_seconds,
    stall_seconds,
    deadline_seconds,
    tries,
    formats,
    weak_digests,
    without_digest,
    spool_dir,
    spool_mib,
    ca,
    client_certificate,
});

impl ImageOptions {
    /// Checks them, and reads the files that they name. Blocks: for the time before the runtime is started.
    ///
    /// # Errors
    /// Names the setting, what was expected and what was found.
    pub fn load(self) -> Result<Settings, ConfigError> {
        let default = Limits::default();
        let limits = Limits {
            connect: seconds("image.connect_seconds", self.connect_seconds, default.connect)?,
            stall: seconds("image.stall_seconds", self.stall_seconds, default.stall)?,
            deadline: seconds("image.deadline_seconds", self.deadline_seconds, default.deadline)?,
            tries: self.tries.unwrap_or(default.tries),
            ..default
        };
        if limits.tries == 0 {
            return Err(ConfigError::setting("image.tries", "expected at least 1, found 0"));
        }
        let formats = self.formats.unwrap_or_else(|| ImageFormat::ALL.to_vec());
        if formats.is_empty() {
            return Err(ConfigError::setting("image.formats", "it is empty; expected at least one format"));
        }
        let policy = Policy {
            formats,
            weak_digests: self.weak_digests.unwrap_or(false),
            without_digest: self.without_digest.unwrap_or(false),
            spool: spool(self.spool_dir, self.spool_mib)?,
        };
        let authorities = self.ca.map(|path| read("the CA certificates for images", &path)).transpose()?;
        let identity = self
            .client_certificate
            .map(|path| read("the client certificate for images", &path))
            .transpose()?;
        let identity = identity.map(|pem| Secret::new(String::from_utf8_lossy(&pem)));
        let connection = Connection { authorities, identity, ..Connection::default() };
        Ok(Settings { limits, policy, connection, ..Settings::default() })
    }
}

fn seconds(setting: &'static str, given: Option<u64>, default: Duration) -> Result<Duration, ConfigError> {
    match given {
        None => Ok(default),
        Some(0) => Err(ConfigError::setting(setting, "expected at least 1, found 0")),
        Some(seconds) => Ok(Duration::from_secs(seconds)),
    }
}

fn spool(directory: Option<PathBuf>, mib: Option<u64>) -> Result<Option<Spool>, ConfigError> {
    match (directory, mib) {
        (None, None) => Ok(None),
        (Some(directory), Some(mib)) => Ok(Some(Spool { directory, bytes: mib.saturating_mul(1 << 20) })),
        (Some(_), None) => {
            Err(ConfigError::setting("image.spool_mib", "not set; it goes with image.spool_dir"))
        }
        (None, Some(_)) => {
            Err(ConfigError::setting("image.spool_dir", "not set; it goes with image.spool_mib"))
        }
    }
}

fn read(what: &'static str, path: &Path) -> Result<Vec<u8>, ConfigError> {
    std::fs::read(path).map_err(|source| ConfigError::Unreadable { what, path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_set_is_strict() {
        let settings = ImageOptions::default().load().unwrap();
        assert!(!settings.policy.weak_digests && !settings.policy.without_digest);
        assert_eq!((settings.limits, settings.policy), (Limits::default(), Policy::default()));
    }

    #[test]
    fn a_bad_setting_is_named() {
        let absent = Some(PathBuf::from("/nonexistent/ca.pem"));
        for (options, name) in [
            (ImageOptions { stall_seconds: Some(0), ..ImageOptions::default() }, "image.stall_seconds"),
            (ImageOptions { tries: Some(0), ..ImageOptions::default() }, "image.tries"),
            (ImageOptions { formats: Some(Vec::new()), ..ImageOptions::default() }, "image.formats"),
            (ImageOptions { spool_mib: Some(1), ..ImageOptions::default() }, "image.spool_dir"),
            (ImageOptions { spool_dir: Some("/tmp".into()), ..ImageOptions::default() }, "image.spool_mib"),
            (ImageOptions { ca: absent, ..ImageOptions::default() }, "/nonexistent/ca.pem"),
        ] {
            let message = options.load().unwrap_err().to_string();
            assert!(message.contains(name), "{message}");
        }
    }
}
