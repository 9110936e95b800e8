//! What to do, as flags: shared by `farrier job submit` and `farrier run`.

use std::path::{Path, PathBuf};

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use farrier::wire::{
    Checksum, DecodeError, ImageDownloadSource, ImageFormat, ImageSource, NoProxy, ProxyUrl, Source, Verb,
    Work,
};
use serde_json::{Map, Value, json};

use super::error::Failure;

/// The flags that make up a spec.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "What to do")]
pub(crate) struct SpecArgs {
    /// The whole spec as JSON, from a file or from standard input (-), instead of the flags below
    #[arg(long, value_name = "FILE", conflicts_with_all = ["image_source", "image_mirrors", "image_download_source", "image_checksum", "image_disk_format", "image_http_proxy", "image_https_proxy", "image_no_proxy", "image_read_back", "root_device", "skip", "step", "allow_no_devices"])]
    spec: Option<PathBuf>,
    /// deploy: where the whole-disk image is: an http, https or file URL; for a job also the UUID of an image or
    /// swift://container/object
    #[arg(long, value_name = "SOURCE")]
    image_source: Option<ImageSource>,
    /// deploy: where else the image is; may be repeated, and is tried in this order
    #[arg(long, value_name = "SOURCE")]
    image_mirrors: Vec<ImageSource>,
    /// deploy: how the coordinator makes the URL of the image: swift, http or local
    #[arg(long, value_name = "WAY")]
    image_download_source: Option<ImageDownloadSource>,
    /// deploy: the digest of the image as it is served: sha256:<hex digits>, sha512:..., or the digits alone; or the URL of a
    /// checksum file
    #[arg(long, value_name = "SUM")]
    image_checksum: Option<Checksum>,
    /// deploy: the format that the image must have: raw, qcow2, gzip, xz, zstd, bzip2 or lz4; by default any of them
    #[arg(long, value_name = "FORMAT")]
    image_disk_format: Option<ImageFormat>,
    /// deploy: the proxy for http image URLs, such as http://user:password@proxy:3128
    #[arg(long, value_name = "URL")]
    image_http_proxy: Option<ProxyUrl>,
    /// deploy: the proxy for https image URLs
    #[arg(long, value_name = "URL")]
    image_https_proxy: Option<ProxyUrl>,
    /// deploy: hosts that are reached without a proxy: names, domains, addresses, networks, *, each with or without a port
    #[arg(long, value_name = "LIST")]
    image_no_proxy: Option<NoProxy>,
    /// deploy: read the disk back and compare it with what was written
    #[arg(long)]
    image_read_back: bool,
    /// deploy: what the disk to write must be like, such as serial=S123 or size='>= 100'; all given must hold
    #[arg(long, value_name = "KEY=VALUE")]
    root_device: Vec<String>,
    /// clean, deploy: disks to leave alone: KEY=VALUE[,KEY=VALUE...] or a JSON object; may be repeated
    #[arg(long, value_name = "HINTS")]
    skip: Vec<String>,
    /// clean: a step, erase_devices_metadata or erase_devices; may be repeated, in this order; by default both
    #[arg(long, value_name = "STEP")]
    step: Vec<String>,
    /// clean: a node without a disk to erase is clean, and not a failure
    #[arg(long)]
    allow_no_devices: bool,
}

/// A parser of the verbs, which lists them in the help.
pub(crate) fn verb_parser() -> impl TypedValueParser<Value = Verb> {
    PossibleValuesParser::new(Verb::ALL.iter().map(|verb| verb.as_str())).map(|text| {
        let found = Verb::ALL.iter().find(|verb| verb.as_str() == text);
        found.copied().unwrap_or(Verb::Unknown)
    })
}

impl SpecArgs {
    /// What the flags ask for. Those that do not belong to the verb are refused, as unknown fields of its spec are.
    pub(crate) async fn work<S: Source>(&self, verb: Verb) -> Result<Work<S>, Failure> {
        let spec = match &self.spec {
            Some(path) => read_json(path).await?,
            None => Value::Object(self.fields()?),
        };
        Ok(Work::from_parts(verb.as_str(), Some(spec))?)
    }

    fn fields(&self) -> Result<Map<String, Value>, Failure> {
        let mut spec = Map::new();
        if let Some(source) = &self.image_source {
            spec.insert("image_source".into(), json!(source));
        }
        if !self.image_mirrors.is_empty() {
            spec.insert("image_mirrors".into(), json!(self.image_mirrors));
        }
        if let Some(way) = &self.image_download_source {
            spec.insert("image_download_source".into(), json!(way));
        }
        if let Some(checksum) = &self.image_checksum {
            spec.insert("image_checksum".into(), json!(checksum));
        }
        if let Some(format) = &self.image_disk_format {
            spec.insert("image_disk_format".into(), json!(format));
        }
        if let Some(proxy) = &self.image_http_proxy {
            spec.insert("image_http_proxy".into(), json!(proxy));
        }
        if let Some(proxy) = &self.image_https_proxy {
            spec.insert("image_https_proxy".into(), json!(proxy));
        }
        if let Some(list) = &self.image_no_proxy {
            spec.insert("image_no_proxy".into(), json!(list));
        }
        if self.image_read_back {
            spec.insert("image_read_back".into(), Value::Bool(true));
        }
        if !self.root_device.is_empty() {
            let hints = hint_set("--root-device", self.root_device.iter().map(String::as_str))?;
            spec.insert("root_device".into(), hints);
        }
        if !self.skip.is_empty() {
            let sets = self.skip.iter().map(|set| skip_set(set)).collect::<Result<Vec<_>, _>>()?;
            spec.insert("skip_block_devices".into(), Value::Array(sets));
        }
        if !self.step.is_empty() {
            spec.insert("steps".into(), json!(self.step));
        }
        if self.allow_no_devices {
            spec.insert("allow_no_devices".into(), Value::Bool(true));
        }
        Ok(spec)
    }
}

async fn read_json(path: &Path) -> Result<Value, Failure> {
    let source = if path == Path::new("-") { Path::new("/dev/stdin") } else { path };
    let text = tokio::fs::read_to_string(source).await;
    let text =
        text.map_err(|source| Failure::Unreadable { what: "the spec", path: path.to_owned(), source })?;
    serde_json::from_str(&text).map_err(|error| {
        Failure::Spec(DecodeError::Schema { field: "spec".into(), reason: format!("not JSON: {error}") })
    })
}

fn skip_set(text: &str) -> Result<Value, Failure> {
    if text.trim_start().starts_with('{') {
        return hint_set("--skip", std::iter::once(text));
    }
    hint_set("--skip", text.split(','))
}

/// Hints from `KEY=VALUE` pairs or JSON objects, as one set.
fn hint_set<'a>(flag: &'static str, pairs: impl Iterator<Item = &'a str>) -> Result<Value, Failure> {
    let mut hints = Map::new();
    for pair in pairs {
        if pair.trim_start().starts_with('{') {
            let more: Map<String, Value> =
                serde_json::from_str(pair).map_err(|error| Failure::flag(flag, pair, error.to_string()))?;
            hints.extend(more);
            continue;
        }
        let (key, value) = key_value(flag, pair)?;
        hints.insert(key.to_owned(), hint_value(key, value));
    }
    Ok(Value::Object(hints))
}

pub(crate) fn key_value<'a>(flag: &'static str, pair: &'a str) -> Result<(&'a str, &'a str), Failure> {
    match pair.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => Ok((key.trim(), value)),
        _ => Err(Failure::flag(flag, pair, "expected KEY=VALUE")),
    }
}

/// Which hints are text and which are not is known by their names: a serial number may well look like a number.
fn hint_value(key: &str, value: &str) -> Value {
    match key {
        "rotational" => boolean(value).map_or_else(|| json!(value), Value::Bool),
        "size" => value.parse::<u64>().map_or_else(|_| json!(value), |size| json!(size)),
        _ => json!(value),
    }
}

/// A value as Ironic's client reads it: JSON where it is JSON, a boolean in Python's spelling, else text.
pub(crate) fn loose_value(text: &str) -> Value {
    match boolean(text) {
        Some(value) => Value::Bool(value),
        None => serde_json::from_str(text).unwrap_or_else(|_| json!(text)),
    }
}

fn boolean(text: &str) -> Option<bool> {
    match text {
        "true" | "True" => Some(true),
        "false" | "False" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn spec(verb: Verb, args: SpecArgs) -> Result<Value, String> {
        let work = args.work::<ImageSource>(verb).await.map_err(|failure| failure.to_string())?;
        Ok(serde_json::to_value(work).unwrap())
    }

    fn deploy() -> SpecArgs {
        SpecArgs {
            image_source: Some("http://h/i.raw".parse().unwrap()),
            image_checksum: Some("ab".repeat(32).parse().unwrap()),
            ..SpecArgs::default()
        }
    }

    #[tokio::test]
    async fn hints_keep_their_kinds() {
        let args = SpecArgs {
            root_device: ["serial=123", "size=100", "rotational=False"].map(str::to_owned).into(),
            skip: ["tran=usb,vendor=<in> x", r#"{"size": ">= 5", "model": "a,b"}"#].map(str::to_owned).into(),
            ..deploy()
        };
        let work = spec(Verb::Deploy, args).await.unwrap();
        assert_eq!(work["spec"]["root_device"], json!({"serial": "123", "size": 100, "rotational": false}));
        assert_eq!(
            work["spec"]["skip_block_devices"],
            json!([{"tran": "usb", "vendor": "<in> x"}, {"size": ">= 5", "model": "a,b"}])
        );
    }

    #[tokio::test]
    async fn what_does_not_belong_is_refused_and_named() {
        let misspelt = SpecArgs { root_device: vec!["serail=1".into()], ..deploy() };
        let error = spec(Verb::Deploy, misspelt).await.unwrap_err();
        assert!(error.contains("`spec.root_device.serail`") && error.contains("`serial`"), "{error}");
        let error = spec(Verb::Clean, deploy()).await.unwrap_err();
        assert!(error.contains("spec.image_"), "{error}");
        let step = SpecArgs { step: vec!["scrub".into()], ..SpecArgs::default() };
        let error = spec(Verb::Clean, step).await.unwrap_err();
        assert!(error.contains("erase_devices_metadata"), "{error}");
        let error = spec(Verb::Deploy, SpecArgs::default()).await.unwrap_err();
        assert!(error.contains("image_source"), "{error}");
        let pair = SpecArgs { root_device: vec!["serial".into()], ..deploy() };
        assert!(spec(Verb::Deploy, pair).await.unwrap_err().contains("expected KEY=VALUE"));
    }

    #[test]
    fn loose_values_are_read_as_ironic_reads_them() {
        assert_eq!(loose_value("True"), json!(true));
        assert_eq!(loose_value("[1]"), json!([1]));
        assert_eq!(loose_value("http://h"), json!("http://h"));
    }
}
