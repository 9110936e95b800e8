//! The tables `[conductor]`, `[deploy]` and `[agent]` of the configuration, in the words of Ironic where that has them.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use farrier::config::ConfigError;
use farrier::wire::{HttpUrl, ImageDownloadSource};
use serde::Deserialize;

use super::AllowedPaths;

const DEFAULT_CACHE_BYTES: u64 = 20 << 30;
const DEFAULT_DOWNLOADS: usize = 20;
const MOST_DOWNLOADS: usize = 1000;
const DEFAULT_POWER_STATE_RETRIES: u32 = 6;
const DEFAULT_POWER_STATE_INTERVAL: u32 = 5;
const LONGEST_OFF: Duration = Duration::from_secs(3600);

/// The table `[conductor]`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConductorSettings {
    /// The directories below which a `file` URL may name a file.
    file_url_allowed_paths: Option<Vec<PathBuf>>,
}

/// The table `[deploy]`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeploySettings {
    /// What nodes reach the image server by.
    http_url: Option<String>,
    /// Where the image server listens.
    http_listen: Option<SocketAddr>,
    /// Gets the address that was bound.
    http_listen_file: Option<PathBuf>,
    /// Where images of other servers are kept.
    image_cache_dir: Option<PathBuf>,
    /// How many bytes of them.
    image_cache_size: Option<u64>,
    /// How many are fetched at a time.
    image_download_concurrency: Option<usize>,
}

/// The table `[agent]`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AgentSettings {
    /// Where agents fetch images from, unless the job or the node says.
    image_download_source: Option<ImageDownloadSource>,
    /// How often it is looked again whether an agent has powered its machine off, before the management controller does [default: 6].
    post_deploy_get_power_state_retries: Option<u32>,
    /// Seconds before each time [default: 5].
    post_deploy_get_power_state_retry_interval: Option<u32>,
}

impl AgentSettings {
    /// How long an agent may take to power its machine off.
    ///
    /// # Errors
    /// It is longer than an hour.
    pub fn off_within(&self) -> Result<Duration, ConfigError> {
        let retries = self.post_deploy_get_power_state_retries.unwrap_or(DEFAULT_POWER_STATE_RETRIES);
        let interval =
            self.post_deploy_get_power_state_retry_interval.unwrap_or(DEFAULT_POWER_STATE_INTERVAL);
        let within = Duration::from_secs(u64::from(retries) * u64::from(interval));
        if within > LONGEST_OFF {
            return Err(ConfigError::setting(
                "agent.post_deploy_get_power_state_retries",
                format!(
                    "{retries} times post_deploy_get_power_state_retry_interval are {} s, expected an hour at most",
                    within.as_secs()
                ),
            ));
        }
        Ok(within)
    }

    /// Where agents fetch images from, unless the job or the node says.
    #[must_use]
    pub fn image_download_source(&self) -> ImageDownloadSource {
        self.image_download_source.unwrap_or_default()
    }
}

/// What is served, where, and what is kept for that.
#[derive(Clone, Debug, Default)]
pub struct LocalConfig {
    /// The directories below which files are served.
    pub allowed: Arc<AllowedPaths>,
    /// The image server, if there is one.
    pub server: Option<ServerConfig>,
    /// Where images of other servers are kept, if they are.
    pub cache: Option<CacheConfig>,
}

/// The image server.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// Where it listens; port 0 for any free one.
    pub listen: SocketAddr,
    /// Gets the address that was bound.
    pub listen_file: Option<PathBuf>,
    /// What nodes reach it by; `http://` and the address that was bound where absent.
    pub url: Option<HttpUrl>,
}

/// The images of other servers that are kept.
#[derive(Clone, Debug)]
pub struct CacheConfig {
    /// Where. No other coordinator may have the same.
    pub directory: PathBuf,
    /// How many bytes.
    pub bytes: u64,
    /// How many are fetched at a time.
    pub downloads: usize,
}

impl LocalConfig {
    /// Checks the tables, and opens the allowed directories. Blocks.
    ///
    /// # Errors
    /// The setting that is wrong.
    pub fn read(conductor: ConductorSettings, deploy: DeploySettings) -> Result<Self, ConfigError> {
        let allowed = AllowedPaths::open(&conductor.file_url_allowed_paths.unwrap_or_default())?;
        let downloads = match deploy.image_download_concurrency.unwrap_or(DEFAULT_DOWNLOADS) {
            downloads @ 1..=MOST_DOWNLOADS => downloads,
            other => {
                let reason = format!("expected 1 to {MOST_DOWNLOADS}, found {other}");
                return Err(ConfigError::setting("deploy.image_download_concurrency", reason));
            }
        };
        let bytes = deploy.image_cache_size.unwrap_or(DEFAULT_CACHE_BYTES);
        let cache = deploy.image_cache_dir.map(|directory| CacheConfig { directory, bytes, downloads });
        if cache.is_some() && deploy.http_listen.is_none() {
            let reason = "there is no image server to serve what is kept there; set `http_listen` too";
            return Err(ConfigError::setting("deploy.image_cache_dir", reason));
        }
        let server = server(deploy.http_listen, deploy.http_listen_file, deploy.http_url)?;
        Ok(Self { allowed: Arc::new(allowed), server, cache })
    }
}

fn server(
    listen: Option<SocketAddr>,
    listen_file: Option<PathBuf>,
    url: Option<String>,
) -> Result<Option<ServerConfig>, ConfigError> {
    let url = url.map(|text| checked_url(&text)).transpose()?;
    let Some(listen) = listen else {
        return match url {
            None => Ok(None),
            Some(_) => Err(ConfigError::setting(
                "deploy.http_url",
                "there is no image server that it could lead to; set `http_listen` too",
            )),
        };
    };
    if url.is_none() && listen.ip().is_unspecified() {
        let reason =
            format!("nodes cannot be told to go to {listen}; set `http_url` to what they reach it by");
        return Err(ConfigError::setting("deploy.http_listen", reason));
    }
    Ok(Some(ServerConfig { listen, listen_file, url }))
}

fn checked_url(text: &str) -> Result<HttpUrl, ConfigError> {
    let wrong = |reason: String| ConfigError::setting("deploy.http_url", reason);
    let url: HttpUrl = text.parse().map_err(|error| wrong(format!("{error}")))?;
    let whole = url.expose();
    if whole.query().is_some() || whole.fragment().is_some() || url.redacted() != url {
        return Err(wrong("expected an address without user, query and fragment".to_owned()));
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(conductor: &str, deploy: &str) -> Result<LocalConfig, String> {
        let conductor = toml::from_str(conductor).map_err(|error| error.to_string())?;
        let deploy = toml::from_str(deploy).map_err(|error| error.to_string())?;
        LocalConfig::read(conductor, deploy).map_err(|error| error.to_string())
    }

    #[test]
    fn nothing_is_served_unless_asked_for() {
        let config = read("", "").unwrap();
        assert!(config.server.is_none() && config.cache.is_none());
        let config = read("", "http_listen = \"10.0.0.1:0\"\nimage_cache_dir = \"/c\"").unwrap();
        let (server, cache) = (config.server.unwrap(), config.cache.unwrap());
        assert!(server.url.is_none());
        assert_eq!((cache.bytes, cache.downloads), (20 << 30, 20));
    }

    #[test]
    fn wrong_settings_are_named() {
        for (deploy, expected) in [
            (
                "http_listen = \"0.0.0.0:80\"",
                "`deploy.http_listen`: nodes cannot be told to go to 0.0.0.0:80",
            ),
            ("http_url = \"http://h/\"", "`deploy.http_url`: there is no image server"),
            ("image_cache_dir = \"/c\"", "`deploy.image_cache_dir`: there is no image server"),
            ("http_listen = \"1.1.1.1:1\"\nhttp_url = \"http://u:hunter2@h/\"", "without user"),
            ("http_listen = \"1.1.1.1:1\"\nhttp_url = \"http://h/?hunter2\"", "without user"),
            ("http_listen = \"1.1.1.1:1\"\nhttp_url = \"ftp://h/\"", "its scheme is \"ftp\""),
            ("image_download_concurrency = 0", "expected 1 to 1000, found 0"),
            ("http_lisen = 1", "unknown field `http_lisen`"),
        ] {
            let error = read("", deploy).unwrap_err();
            assert!(error.contains(expected), "{error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn a_path_that_must_not_be_served_is_refused_at_the_start() {
        for path in ["/", "/etc", "/etc/ssl", "/dev/shm", "/proc/self/cwd", "/sys", "/var/run", "/etc/../etc"]
        {
            let error = read(&format!("file_url_allowed_paths = [{path:?}]"), "").unwrap_err();
            assert!(error.contains("from which nothing is served"), "{path}: {error}");
        }
        for path in ["/nonexistent", "images", "/bin/sh"] {
            let error = read(&format!("file_url_allowed_paths = [{path:?}]"), "").unwrap_err();
            assert!(error.contains("cannot be used"), "{path}: {error}");
        }
    }

    #[test]
    fn agents_go_to_swift_unless_told_otherwise() {
        let read = |text| toml::from_str::<AgentSettings>(text).unwrap().image_download_source();
        assert_eq!(read(""), ImageDownloadSource::Swift);
        assert_eq!(read("image_download_source = \"local\""), ImageDownloadSource::Local);
    }
}
