//! What people and automation ask for.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::digest::digest_of_pair;
use super::envelope::{DecodeError, Payload, from_value};
use super::{
    Checksum, Digest, DigestAlgorithm, ImageDownloadSource, ImageFormat, ImageSource, ImageUrl, JobId,
    NoProxy, ProxyUrl, RootDeviceHints, Secret, Source,
};

/// A verb with its spec.
///
/// A spec refuses fields that it does not know: a misspelt `root_device` must not send an image to another disk. `S` says how the
/// source of an image is written: [`ImageSource`] in a job, [`ImageUrl`] in a command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "verb", content = "spec", rename_all = "snake_case", bound = "S: Source")]
pub enum Work<S = ImageUrl> {
    /// Find out what the node is made of.
    Inspect(InspectSpec),
    /// Erase the disks of the node.
    Clean(CleanSpec),
    /// Write an image to the root device of the node.
    Deploy(Box<DeploySpec<S>>),
    /// Do nothing: proves the road to the node and back.
    Noop(NoopSpec),
}

/// A verb alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Verb {
    /// See [`Work::Inspect`].
    Inspect,
    /// See [`Work::Clean`].
    Clean,
    /// See [`Work::Deploy`].
    Deploy,
    /// See [`Work::Noop`].
    Noop,
    /// A verb that this reader is too old to know.
    #[serde(other)]
    Unknown,
}

impl Verb {
    /// Every verb there is.
    pub const ALL: &[Self] = &[Self::Inspect, Self::Clean, Self::Deploy, Self::Noop];

    /// The verb as text.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Inspect => "inspect",
            Self::Clean => "clean",
            Self::Deploy => "deploy",
            Self::Noop => "noop",
            Self::Unknown => "unknown",
        }
    }
}

impl std::fmt::Display for Verb {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

impl<S: Source> Work<S> {
    /// The verb alone.
    #[must_use]
    pub fn verb(&self) -> Verb {
        match self {
            Self::Inspect(_) => Verb::Inspect,
            Self::Clean(_) => Verb::Clean,
            Self::Deploy(_) => Verb::Deploy,
            Self::Noop(_) => Verb::Noop,
        }
    }

    /// The same without secrets: what may be shown.
    #[must_use]
    pub fn redacted(self) -> Self {
        match self {
            Self::Deploy(spec) => Self::Deploy(Box::new(spec.redacted())),
            other => other,
        }
    }

    /// Whether carrying it out changes what is on a disk.
    #[must_use]
    pub fn is_destructive(&self) -> bool {
        matches!(self, Self::Clean(_) | Self::Deploy(_))
    }

    /// Reads a verb and its spec; an absent spec is an empty one. Errors name fields below `spec`.
    ///
    /// # Errors
    /// [`DecodeError::UnknownVerb`] or [`DecodeError::Schema`].
    pub fn from_parts(verb: &str, spec: Option<Value>) -> Result<Self, DecodeError> {
        let spec = spec.unwrap_or_else(|| Value::Object(Map::new()));
        match verb {
            "inspect" => from_value("spec", spec).map(Self::Inspect),
            "clean" => from_value("spec", spec).map(Self::Clean),
            "deploy" => from_value("spec", spec).map(Box::new).map(Self::Deploy),
            "noop" => from_value("spec", spec).map(Self::Noop),
            _ => Err(DecodeError::UnknownVerb {
                found: verb.to_owned(),
                expected: Verb::ALL.iter().map(|verb| verb.as_str()).collect::<Vec<_>>().join(", "),
            }),
        }
    }
}

/// The spec of `inspect`: nothing to choose yet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct InspectSpec {}

/// The spec of `noop`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NoopSpec {}

/// The spec of `clean`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CleanSpec {
    /// What to do, in this order.
    #[schemars(length(min = 1))]
    pub steps: Vec<CleanStep>,
    /// Disks that are left alone; each entry is a set of hints. The node's own list is added.
    pub skip_block_devices: Vec<RootDeviceHints>,
    /// Whether a node without a disk to erase is clean. Otherwise that is a failure.
    pub allow_no_devices: bool,
}

impl Default for CleanSpec {
    fn default() -> Self {
        Self {
            steps: vec![CleanStep::EraseDevicesMetadata, CleanStep::EraseDevices],
            skip_block_devices: Vec::new(),
            allow_no_devices: false,
        }
    }
}

/// One step of cleaning, in Ironic's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CleanStep {
    /// Wipe partition tables and signatures at both ends of every disk.
    EraseDevicesMetadata,
    /// Erase every disk whole.
    EraseDevices,
}

/// The spec of `deploy`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, bound = "S: Source")]
pub struct DeploySpec<S = ImageUrl> {
    /// Where the whole-disk image is.
    pub image_source: S,
    /// Where else it is. They are tried in this order when `image_source` does not deliver.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub image_mirrors: Vec<S>,
    /// How the coordinator makes the URL of the image; what the node or the configuration says where absent. Agents do not look at it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_download_source: Option<ImageDownloadSource>,
    /// The digest of the bytes that the server sends, compressed as they may be; or the URL of a checksum file. An agent refuses an
    /// image without one unless it is configured otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_checksum: Option<Checksum>,
    /// The algorithm of `image_os_hash_value`. The two stand together, and before `image_checksum`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_os_hash_algo: Option<DigestAlgorithm>,
    /// The digest of the bytes that the server sends, in hex digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_os_hash_value: Option<String>,
    /// The format that the image must have. What is found is refused when it is another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_disk_format: Option<ImageFormat>,
    /// The `Authorization` header for the servers of the image and of the checksum file. Not sent to another host that they
    /// redirect to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_request_authorization: Option<Secret>,
    /// The proxy for images at `http` URLs: an `http` or `https` URL, with credentials where it wants some. Without a scheme it is
    /// `http`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_http_proxy: Option<ProxyUrl>,
    /// The proxy for images at `https` URLs, in the same way. The proxy is chosen by the scheme of the image's URL, not its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_https_proxy: Option<ProxyUrl>,
    /// The servers that are reached without the proxies, with commas between them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_no_proxy: Option<NoProxy>,
    /// Whether to read the disk back and compare it with what was written.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub image_read_back: bool,
    /// Which disk to write; the node's own hints where absent. Without any there must be exactly one disk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root_device: Option<RootDeviceHints>,
    /// Disks that are never chosen, whatever the hints say. The node's own list is added.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub skip_block_devices: Vec<RootDeviceHints>,
}

impl<S: Source> DeploySpec<S> {
    /// An image with its digest, written to the node's own root device.
    #[must_use]
    pub fn new(image_source: S, image_checksum: Digest) -> Self {
        Self {
            image_source,
            image_mirrors: Vec::new(),
            image_download_source: None,
            image_checksum: Some(Checksum::Digest(image_checksum)),
            image_os_hash_algo: None,
            image_os_hash_value: None,
            image_disk_format: None,
            image_request_authorization: None,
            image_http_proxy: None,
            image_https_proxy: None,
            image_no_proxy: None,
            image_read_back: false,
            root_device: None,
            skip_block_devices: Vec::new(),
        }
    }

    /// The same without credentials of servers and proxies, signatures of URLs, and headers: what may be shown.
    #[must_use]
    pub fn redacted(self) -> Self {
        Self {
            image_source: self.image_source.without_secrets(),
            image_mirrors: self.image_mirrors.iter().map(S::without_secrets).collect(),
            image_checksum: self.image_checksum.as_ref().map(Checksum::redacted),
            image_http_proxy: self.image_http_proxy.map(|proxy| proxy.redacted()),
            image_https_proxy: self.image_https_proxy.map(|proxy| proxy.redacted()),
            image_request_authorization: self.image_request_authorization.map(|_| Secret::new("***")),
            ..self
        }
    }

    /// The same with its sources written in another way.
    #[must_use]
    pub fn with_sources<T>(self, image_source: T, image_mirrors: Vec<T>) -> DeploySpec<T> {
        DeploySpec {
            image_source,
            image_mirrors,
            image_download_source: self.image_download_source,
            image_checksum: self.image_checksum,
            image_os_hash_algo: self.image_os_hash_algo,
            image_os_hash_value: self.image_os_hash_value,
            image_disk_format: self.image_disk_format,
            image_request_authorization: self.image_request_authorization,
            image_http_proxy: self.image_http_proxy,
            image_https_proxy: self.image_https_proxy,
            image_no_proxy: self.image_no_proxy,
            image_read_back: self.image_read_back,
            root_device: self.root_device,
            skip_block_devices: self.skip_block_devices,
        }
    }

    /// The checksum, wherever it stands.
    ///
    /// # Errors
    /// [`DecodeError::Schema`] when one of the `image_os_hash` pair is missing, or the value is no digest of that algorithm.
    pub fn checksum(&self) -> Result<Option<Checksum>, DecodeError> {
        let pair = (self.image_os_hash_algo, self.image_os_hash_value.as_deref());
        let digest = digest_of_pair(pair, ("spec.image_os_hash_algo", "spec.image_os_hash_value"))?;
        Ok(digest.map(Checksum::Digest).or_else(|| self.image_checksum.clone()))
    }
}

/// How often and how soon a job is tried again. Only errors that may pass are tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RetryPolicy {
    /// How many attempts there may be, the first one included.
    #[schemars(range(min = 1, max = 100))]
    pub max_attempts: u32,
    /// Seconds before the second attempt; doubled for each one after it, and never more than an hour.
    #[schemars(range(max = 3600))]
    pub backoff_seconds: u32,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self { max_attempts: 3, backoff_seconds: 5 }
    }
}

/// The deadline of a job that names none: six hours.
pub const DEFAULT_TIMEOUT_SECONDS: u32 = 6 * 3600;

/// A job, as sent to `farrier.jobs` or `POST /v1/jobs`. Fields that are not known are refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct JobRequest {
    /// The identifier that the job shall have. The coordinator makes one where it is absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub job: Option<JobId>,
    /// The UUID or the name of the node.
    #[schemars(length(min = 1))]
    pub node: String,
    /// What to do.
    #[serde(flatten)]
    pub work: Work<ImageSource>,
    /// A job submitted again with the same key is the same job.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 255))]
    pub idempotency_key: Option<String>,
    /// How often to try. By default three times.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry: Option<RetryPolicy>,
    /// Seconds from submission after which the job is given up. By default six hours.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub timeout_seconds: Option<u32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawJobRequest {
    job: Option<JobId>,
    node: String,
    verb: String,
    spec: Option<Value>,
    idempotency_key: Option<String>,
    retry: Option<RetryPolicy>,
    timeout_seconds: Option<u32>,
}

impl JobRequest {
    /// Reads a request. Errors name its fields without a prefix.
    ///
    /// # Errors
    /// [`DecodeError::UnknownVerb`] or [`DecodeError::Schema`] with the field.
    pub fn from_json(value: Value) -> Result<Self, DecodeError> {
        let raw: RawJobRequest = from_value("", value)?;
        let out_of_bounds = |field: &str, reason: &str| {
            Err(DecodeError::Schema { field: field.into(), reason: reason.into() })
        };
        if raw.node.is_empty() {
            return out_of_bounds("node", "it is empty; expected the UUID or the name of a node");
        }
        if raw.idempotency_key.as_ref().is_some_and(|key| key.is_empty() || key.len() > 255) {
            return out_of_bounds("idempotency_key", "expected 1 to 255 characters");
        }
        if raw.retry.is_some_and(|retry| !(1..=100).contains(&retry.max_attempts)) {
            return out_of_bounds("retry.max_attempts", "expected 1 to 100");
        }
        if raw.retry.is_some_and(|retry| retry.backoff_seconds > 3600) {
            return out_of_bounds("retry.backoff_seconds", "expected at most 3600");
        }
        if raw.timeout_seconds == Some(0) {
            return out_of_bounds("timeout_seconds", "expected at least 1");
        }
        let work = Work::from_parts(&raw.verb, raw.spec)?;
        match &work {
            Work::Clean(spec) if spec.steps.is_empty() => {
                return out_of_bounds("spec.steps", "it is empty; expected at least one step");
            }
            Work::Deploy(spec) => drop(spec.checksum()?),
            _ => {}
        }
        Ok(Self {
            job: raw.job,
            node: raw.node,
            work,
            idempotency_key: raw.idempotency_key,
            retry: raw.retry,
            timeout_seconds: raw.timeout_seconds,
        })
    }
}

impl Payload for JobRequest {
    const TYPE: &'static str = "dev.farrier.job.v1";

    fn from_data(data: Value) -> Result<Self, DecodeError> {
        Self::from_json(data)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_of_a_deploy_has_no_secret() {
        let url = "https://user:secret@h/i?temp_url_sig=secret#secret";
        let spec = serde_json::json!({
            "image_source": url,
            "image_mirrors": [url],
            "image_checksum": url,
            "image_http_proxy": "http://user:secret@proxy:3128",
            "image_https_proxy": "http://user:secret@proxy:3128",
            "image_request_authorization": "Bearer secret",
            "image_no_proxy": "h2",
        });
        let work = Work::<ImageSource>::from_parts("deploy", Some(spec)).unwrap().redacted();
        let shown = serde_json::to_string(&work).unwrap();
        assert!(!shown.contains("secret") && !shown.contains("user"), "{shown}");
        for part in ["https://h/i", "proxy:3128", "\"h2\""] {
            assert!(shown.contains(part), "{shown}");
        }
    }
}
