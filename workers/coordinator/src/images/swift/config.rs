//! The table `[glance]` of the coordinator's file, with Ironic's names.

use std::path::{Path, PathBuf};
use std::time::Duration;

use farrier::config::ConfigError;
use farrier::wire::{HttpUrl, SwiftObject};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use url::Url;
use uuid::Uuid;

use super::temp_url::DigestAlgorithm;

const DEFAULT_DURATION_SECONDS: u32 = 1200;
/// Ten years: beyond that it is a mistake.
const LONGEST_SECONDS: u32 = 315_360_000;
const DEFAULT_API_VERSION: &str = "v1";
const DEFAULT_ACCOUNT_PREFIX: &str = "AUTH";
const DEFAULT_CONTAINER: &str = "glance";
/// The digits of a UUID.
const LARGEST_SEED: u32 = 32;

/// The table as it stands in the file.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GlanceSettings {
    /// One of the two temporary URL keys of the account.
    swift_temp_url_key: Option<SecretString>,
    /// A file with that key.
    swift_temp_url_key_file: Option<PathBuf>,
    /// For how many seconds a URL is good [default: 1200].
    swift_temp_url_duration: Option<u32>,
    /// Hand out the same URL for as long as that may be [default: false].
    swift_temp_url_cache_enabled: Option<bool>,
    /// For how many seconds a URL that is handed out again must still be good [default: 0].
    swift_temp_url_expected_download_start_delay: Option<u32>,
    /// Swift, as the coordinator reaches it.
    swift_endpoint_url: Option<String>,
    /// Swift, as agents or their proxy reach it, where that is another URL.
    swift_temp_url_endpoint_url: Option<String>,
    /// The version in its paths [default: v1].
    swift_api_version: Option<String>,
    /// The account of the images [default: the one that the endpoint ends in].
    swift_account: Option<String>,
    /// What the name of an account begins with, for one at the end of the endpoint [default: AUTH].
    swift_account_prefix: Option<String>,
    /// The container of images that are named by UUID [default: glance].
    swift_container: Option<String>,
    /// How many digits of an image's UUID stand at the end of its container's name [default: 0].
    swift_store_multiple_containers_seed: Option<u32>,
    /// The digest that signatures are made by [default: sha256].
    swift_temp_url_digest_algorithm: Option<String>,
    /// Certificate authorities in PEM that the coordinator trusts Swift by, beside those of the system. Agents have their own.
    swift_ca_file: Option<PathBuf>,
}

/// Where images are in Swift, and how their URLs are signed. Checked.
#[derive(Clone, Debug)]
pub struct Glance {
    pub(super) key: SecretString,
    pub(super) duration: Duration,
    /// Whether URLs are handed out again, and for how long they must then be good.
    pub(super) start_delay: Option<Duration>,
    /// Without a slash at the end.
    pub(super) endpoint: String,
    pub(super) agents_endpoint: String,
    pub(super) api_version: String,
    pub(super) account: String,
    container: String,
    seed: usize,
    pub(super) digest: DigestAlgorithm,
    pub(super) authorities: Option<Vec<u8>>,
}

impl Glance {
    /// The object of the image with this UUID.
    #[must_use]
    pub fn object_of_image(&self, image: Uuid) -> SwiftObject {
        let object = image.to_string();
        let container = match seeded(&object, self.seed) {
            "" => self.container.clone(),
            seed => format!("{}_{seed}", self.container),
        };
        SwiftObject::new(&container, &object).expect("the container's name was checked with its longest seed")
    }
}

/// The beginning of a UUID with so many digits, counted as Glance does: a dash among the first `digits` characters makes it one
/// character longer, one behind them does not.
fn seeded(uuid: &str, digits: usize) -> &str {
    let dashes = uuid.chars().take(digits).filter(|&character| character == '-').count();
    uuid.get(..digits + dashes).unwrap_or(uuid)
}

impl GlanceSettings {
    /// Checks it, and reads the files that it names. Blocks: for the time before the runtime is started.
    ///
    /// # Errors
    /// Names the setting, what was expected and what was found.
    pub fn check(self) -> Result<Glance, ConfigError> {
        let duration = duration(self.swift_temp_url_duration)?;
        let delay = self.swift_temp_url_expected_download_start_delay.unwrap_or(0);
        if duration < delay {
            return Err(ConfigError::setting(
                "glance.swift_temp_url_duration",
                format!(
                    "it is {duration} seconds, and glance.swift_temp_url_expected_download_start_delay is {delay}: a \
                     temporary URL would run out before a download by it begins; give at least {delay}"
                ),
            ));
        }
        let cached = self.swift_temp_url_cache_enabled.unwrap_or(false);
        let version = self.swift_api_version.unwrap_or_else(|| DEFAULT_API_VERSION.to_owned());
        let version = path_segment("glance.swift_api_version", version)?;
        let prefix = self.swift_account_prefix.unwrap_or_else(|| DEFAULT_ACCOUNT_PREFIX.to_owned());
        let given = self.swift_endpoint_url.ok_or_else(|| {
            ConfigError::setting(
                "glance.swift_endpoint_url",
                "it is missing; give the URL of Swift, as in https://swift.example.com:8080",
            )
        })?;
        let own = endpoint("glance.swift_endpoint_url", &given, &version, &prefix)?;
        let agents = match self.swift_temp_url_endpoint_url {
            None => own.clone(),
            Some(given) => endpoint("glance.swift_temp_url_endpoint_url", &given, &version, &prefix)?,
        };
        let account = self.swift_account.or(own.account).ok_or_else(|| {
            ConfigError::setting(
                "glance.swift_account",
                format!("it is missing, and glance.swift_endpoint_url does not end in /{version}/<account>, with an \
                         account that begins with {prefix:?} (glance.swift_account_prefix)"),
            )
        })?;
        Ok(Glance {
            key: key(self.swift_temp_url_key, self.swift_temp_url_key_file)?,
            duration: Duration::from_secs(duration.into()),
            start_delay: cached.then_some(Duration::from_secs(delay.into())),
            endpoint: own.url,
            agents_endpoint: agents.url,
            account: path_segment("glance.swift_account", account)?,
            api_version: version,
            seed: seed(self.swift_store_multiple_containers_seed)?,
            container: container(self.swift_container)?,
            digest: digest(self.swift_temp_url_digest_algorithm)?,
            authorities: self
                .swift_ca_file
                .map(|path| read("the CA certificates for Swift", &path))
                .transpose()?,
        })
    }
}

fn duration(given: Option<u32>) -> Result<u32, ConfigError> {
    match given.unwrap_or(DEFAULT_DURATION_SECONDS) {
        seconds @ 1..=LONGEST_SECONDS => Ok(seconds),
        other => Err(ConfigError::setting(
            "glance.swift_temp_url_duration",
            format!("expected 1 to {LONGEST_SECONDS} seconds, found {other}"),
        )),
    }
}

fn seed(given: Option<u32>) -> Result<usize, ConfigError> {
    let seed = given.unwrap_or(0);
    usize::try_from(seed).ok().filter(|_| seed <= LARGEST_SEED).ok_or_else(|| {
        ConfigError::setting(
            "glance.swift_store_multiple_containers_seed",
            format!("expected 0 to {LARGEST_SEED}, found {seed}"),
        )
    })
}

fn digest(given: Option<String>) -> Result<DigestAlgorithm, ConfigError> {
    let Some(given) = given else { return Ok(DigestAlgorithm::default()) };
    given.parse().map_err(|unknown| {
        ConfigError::setting("glance.swift_temp_url_digest_algorithm", format!("{unknown}, found {given:?}"))
    })
}

/// A name that every seed and object can follow.
fn container(given: Option<String>) -> Result<String, ConfigError> {
    let name = given.unwrap_or_else(|| DEFAULT_CONTAINER.to_owned());
    let bad = |reason: String| ConfigError::setting("glance.swift_container", reason);
    SwiftObject::new(&name, "image").map_err(|error| bad(error.to_string()))?;
    SwiftObject::new(&format!("{name}_{}", Uuid::nil()), "image").map_err(|error| bad(error.to_string()))?;
    Ok(name)
}

fn key(given: Option<SecretString>, file: Option<PathBuf>) -> Result<SecretString, ConfigError> {
    let name = "glance.swift_temp_url_key";
    let key = match (given, file) {
        (Some(_), Some(_)) => {
            return Err(ConfigError::setting(
                name,
                "given together with glance.swift_temp_url_key_file; leave one of them out",
            ));
        }
        (Some(key), None) => key,
        (None, Some(path)) => {
            let bytes = read("the file with the temporary URL key", &path)?;
            let text = String::from_utf8(bytes).map_err(|_| ConfigError::setting(name, "it is not UTF-8"))?;
            // An editor ends every file with a line end.
            text.trim_end_matches(['\r', '\n']).into()
        }
        (None, None) => {
            return Err(ConfigError::setting(
                name,
                "it is missing; give it, or glance.swift_temp_url_key_file, as it was set on the account with \
                 `swift post -m Temp-URL-Key:...`",
            ));
        }
    };
    // Swift strips a header of its spaces, so that no key has any at its ends.
    let text = key.expose_secret();
    if text.is_empty() || text.trim() != text {
        return Err(ConfigError::setting(name, "expected a key without spaces at its ends"));
    }
    Ok(key)
}

/// An endpoint without its account.
#[derive(Clone, Debug)]
struct Endpoint {
    url: String,
    account: Option<String>,
}

fn endpoint(
    setting: &'static str,
    given: &str,
    version: &str,
    prefix: &str,
) -> Result<Endpoint, ConfigError> {
    let bad = |reason: String| ConfigError::setting(setting, reason);
    let url: HttpUrl = given.parse().map_err(|error| bad(format!("{error}")))?;
    let mut url: Url = url.expose().clone();
    if url.query().is_some() || url.fragment().is_some() {
        return Err(bad("expected a URL without query and fragment".to_owned()));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(bad("expected a URL without credentials: temporary URLs need none".to_owned()));
    }
    let path = url.path().trim_end_matches('/').to_owned();
    let (before, last) = path.rsplit_once('/').unwrap_or(("", ""));
    let prefix = match prefix.trim_end_matches('_') {
        "" => String::new(),
        prefix => format!("{prefix}_"),
    };
    let is_account = before.ends_with(&format!("/{version}"))
        && last.strip_prefix(&prefix).is_some_and(|rest| !rest.is_empty());
    let (rest, account) = if is_account {
        (before.trim_end_matches(version), Some(last.to_owned()))
    } else {
        (path.as_str(), None)
    };
    url.set_path(rest);
    if rest.ends_with(&format!("/{version}")) {
        return Err(bad(format!("it ends in /{version}, which is added to it; leave that out")));
    }
    Ok(Endpoint { url: url.as_str().trim_end_matches('/').to_owned(), account })
}

fn path_segment(setting: &'static str, text: String) -> Result<String, ConfigError> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~:".contains(&byte);
    if text.is_empty() || matches!(text.as_str(), "." | "..") || !text.bytes().all(plain) {
        return Err(ConfigError::setting(
            setting,
            format!("expected letters, digits and any of - _ . ~ :, found {text:?}"),
        ));
    }
    Ok(text)
}

fn read(what: &'static str, path: &Path) -> Result<Vec<u8>, ConfigError> {
    std::fs::read(path).map_err(|source| ConfigError::Unreadable { what, path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENOUGH: &str =
        "swift_temp_url_key = \"hunter2\"\nswift_endpoint_url = \"https://swift:8080/v1/AUTH_p/\"\n";

    fn read(text: &str) -> Result<Glance, String> {
        let settings: GlanceSettings = toml::from_str(text).map_err(|error| error.to_string())?;
        settings.check().map_err(|error| error.to_string())
    }

    fn with(more: &str) -> Result<Glance, String> {
        read(&format!("{ENOUGH}{more}"))
    }

    #[test]
    fn the_defaults_are_ironics() {
        let glance = with("").unwrap();
        assert_eq!((glance.duration.as_secs(), glance.start_delay), (1200, None));
        assert_eq!((glance.endpoint.as_str(), glance.account.as_str()), ("https://swift:8080", "AUTH_p"));
        assert_eq!(
            (glance.agents_endpoint.as_str(), glance.api_version.as_str()),
            ("https://swift:8080", "v1")
        );
        assert_eq!(glance.digest, DigestAlgorithm::Sha256);
        let image = "0198F2A4-3B7E-7CC0-8F00-5D1C7F2B9A10".parse().unwrap();
        let object = glance.object_of_image(image);
        assert_eq!(object.to_string(), "swift://glance/0198f2a4-3b7e-7cc0-8f00-5d1c7f2b9a10");
        assert!(!format!("{glance:?}").contains("hunter2"), "a debug print must not show the key");
    }

    #[test]
    fn an_endpoint_may_end_in_its_account() {
        let of = |url: &str, more: &str| {
            let text = format!("swift_temp_url_key = \"k\"\nswift_endpoint_url = {url:?}\n{more}");
            read(&text).map(|glance| (glance.endpoint, glance.account))
        };
        let is = |url: &str, account: &str| Ok((url.to_owned(), account.to_owned()));
        assert_eq!(of("http://h/v1/AUTH_p", ""), is("http://h", "AUTH_p"));
        assert_eq!(of("http://h/swift/v1/AUTH_p/", ""), is("http://h/swift", "AUTH_p"));
        assert_eq!(of("http://h/v1/AUTH_p", "swift_account = \"AUTH_q\""), is("http://h", "AUTH_q"));
        assert_eq!(of("http://h/swift/", "swift_account = \"q\""), is("http://h/swift", "q"));
        assert_eq!(of("http://h/v1/KEY_p", "swift_account_prefix = \"KEY_\""), is("http://h", "KEY_p"));
        assert_eq!(of("http://h/v1/p", "swift_account_prefix = \"\""), is("http://h", "p"));
        let missing = of("http://h/v1/p", "").unwrap_err();
        assert!(missing.starts_with("the setting `glance.swift_account`: it is missing"), "{missing}");
    }

    /// The rule of Glance's Swift store: a dash among the first `seed` characters does not count.
    #[test]
    fn containers_follow_the_seed() {
        for (seed, container) in [
            (0, "glance"),
            (1, "glance_0"),
            (8, "glance_0198f2a4"),
            (9, "glance_0198f2a4-3"),
            (10, "glance_0198f2a4-3b"),
            (32, "glance_0198f2a4-3b7e-7cc0-8f00-5d1c7f2b9a10"),
        ] {
            let glance = with(&format!("swift_store_multiple_containers_seed = {seed}")).unwrap();
            let image = "0198f2a4-3b7e-7cc0-8f00-5d1c7f2b9a10".parse().unwrap();
            assert_eq!(glance.object_of_image(image).container(), container, "{seed}");
        }
    }

    #[test]
    fn the_key_may_be_in_a_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        std::fs::write(&path, "k e y\r\n").unwrap();
        let text = format!("swift_endpoint_url = \"http://h/v1/AUTH_p\"\nswift_temp_url_key_file = {path:?}");
        assert_eq!(read(&text).unwrap().key.expose_secret(), "k e y");
        assert!(
            read(&format!("{text}\nswift_temp_url_key = \"k\""))
                .unwrap_err()
                .contains("leave one of them out")
        );
    }

    #[test]
    fn urls_that_would_run_out_before_their_download_are_refused() {
        for cached in [true, false] {
            let more = format!(
                "swift_temp_url_cache_enabled = {cached}\nswift_temp_url_duration = 60\nswift_temp_url_expected_download_start_delay"
            );
            let error = with(&format!("{more} = 61")).unwrap_err();
            assert!(error.contains("swift_temp_url_duration`: it is 60 seconds"), "{error}");
            assert!(error.contains("swift_temp_url_expected_download_start_delay is 61"), "{error}");
            let equal = with(&format!("{more} = 60")).unwrap();
            assert_eq!(equal.start_delay.is_some(), cached);
        }
    }

    #[test]
    fn wrong_settings_are_named() {
        for (more, word) in [
            ("swift_temp_url_duration = 0", "`glance.swift_temp_url_duration`: expected 1 to"),
            ("swift_temp_url_duration = -1", "expected u32"),
            ("swift_temp_url_lifetime = 1", "unknown field"),
            ("swift_store_multiple_containers_seed = 33", "expected 0 to 32, found 33"),
            ("swift_temp_url_digest_algorithm = \"md5\"", "expected sha1, sha256 or sha512, found \"md5\""),
            ("swift_container = \"a/b\"", "`glance.swift_container`"),
            ("swift_container = \"\"", "`glance.swift_container`"),
            ("swift_api_version = \"v1/x\"", "`glance.swift_api_version`"),
            ("swift_account = \"a/b\"", "`glance.swift_account`"),
            ("swift_ca_file = \"/nonexistent\"", "cannot read the CA certificates for Swift /nonexistent"),
            (
                "swift_temp_url_endpoint_url = \"ftp://h\"",
                "`glance.swift_temp_url_endpoint_url`: not an http",
            ),
            ("swift_temp_url_endpoint_url = \"http://h/?x\"", "without query"),
            ("swift_temp_url_endpoint_url = \"http://u:p@h/\"", "without credentials"),
            ("swift_temp_url_endpoint_url = \"http://h/v1\"", "it ends in /v1"),
        ] {
            let error = with(more).unwrap_err();
            assert!(error.contains(word) && !error.contains("hunter2"), "{more}: {error}");
        }
        assert!(read("").unwrap_err().contains("`glance.swift_endpoint_url`: it is missing"));
        let keyless = read("swift_endpoint_url = \"http://h/v1/AUTH_p\"").unwrap_err();
        assert!(keyless.starts_with("the setting `glance.swift_temp_url_key`: it is missing"), "{keyless}");
        let spaced = read("swift_endpoint_url = \"http://h/v1/AUTH_p\"\nswift_temp_url_key = \" hunter2\"");
        assert!(spaced.unwrap_err().contains("without spaces at its ends"));
    }
}
