//! Through which proxies an image is fetched: what the job says, else the node, else its rack, else the fleet; for each key by
//! itself. An empty text says that there is none, whatever the layers below say.

use std::collections::HashMap;
use std::fmt::Display;
use std::str::FromStr;

use farrier::broker::topology;
use farrier::config::ConfigError;
use farrier::wire::{DeploySpec, NoProxy, ProxyUrl, Source};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;

use crate::driver_info::{Choice, ImageInfo};

/// The table `[image_proxies]` as it stands in the file: for the whole fleet, with a `[[image_proxies.rack]]` for each rack that
/// has others.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProxySettings {
    image_http_proxy: Option<SecretString>,
    image_https_proxy: Option<SecretString>,
    image_no_proxy: Option<String>,
    #[serde(default)]
    rack: Vec<RackSettings>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RackSettings {
    site: String,
    rack: String,
    image_http_proxy: Option<SecretString>,
    image_https_proxy: Option<SecretString>,
    image_no_proxy: Option<String>,
}

/// What the configuration says. Checked.
#[derive(Clone, Debug, Default)]
pub struct ProxyDefaults {
    fleet: Layer,
    /// By site and rack.
    racks: HashMap<(String, String), Layer>,
}

/// What one layer says.
#[derive(Clone, Debug, Default)]
struct Layer {
    http: Choice<ProxyUrl>,
    https: Choice<ProxyUrl>,
    no_proxy: Choice<NoProxy>,
}

/// The proxies of one deploy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proxies {
    /// For images at `http` URLs.
    pub http: Option<ProxyUrl>,
    /// For images at `https` URLs.
    pub https: Option<ProxyUrl>,
    /// The servers that are reached without them.
    pub no_proxy: Option<NoProxy>,
}

impl ProxyDefaults {
    /// The proxies of a job on a node that stands in `rack` of `site`. A job that shall go around all of them says so by
    /// `image_no_proxy: "*"`.
    #[must_use]
    pub fn choose<S: Source>(
        &self,
        site: &str,
        rack: &str,
        node: &ImageInfo,
        job: &DeploySpec<S>,
    ) -> Proxies {
        let rack = self.racks.get(&(site.to_owned(), rack.to_owned())).cloned().unwrap_or_default();
        let node = Layer {
            http: node.http_proxy.clone(),
            https: node.https_proxy.clone(),
            no_proxy: node.no_proxy.clone(),
        };
        let job = Layer {
            http: said(job.image_http_proxy.clone()),
            https: said(job.image_https_proxy.clone()),
            no_proxy: match job.image_no_proxy.clone() {
                Some(list) if list.is_empty() => Choice::Nothing,
                list => said(list),
            },
        };
        // From the bottom up: each layer counts over what those below it came to.
        [self.fleet.clone(), rack, node, job].into_iter().fold(Proxies::default(), |below, layer| Proxies {
            http: layer.http.or(below.http),
            https: layer.https.or(below.https),
            no_proxy: layer.no_proxy.or(below.no_proxy),
        })
    }
}

fn said<T>(value: Option<T>) -> Choice<T> {
    value.map_or(Choice::Unset, Choice::Given)
}

impl ProxySettings {
    /// Checks it.
    ///
    /// # Errors
    /// Every part that does not fit, at once. None shows a value that may hold credentials.
    pub fn check(self) -> Result<ProxyDefaults, ConfigError> {
        let mut faults = Faults::default();
        let fleet = faults.layer("", self.image_http_proxy, self.image_https_proxy, self.image_no_proxy);
        let mut racks = HashMap::new();
        for settings in self.rack {
            let RackSettings { site, rack, image_http_proxy, image_https_proxy, image_no_proxy } = settings;
            let name = format!("of rack {site}/{rack}");
            for (field, word) in [("site", &site), ("rack", &rack)] {
                if let Err(error) = topology::check_word(field, word) {
                    faults.note(field, &name, &error);
                }
            }
            let layer = faults.layer(&name, image_http_proxy, image_https_proxy, image_no_proxy);
            if racks.insert((site, rack), layer).is_some() {
                faults.note("the table", &name, &"it is there twice; put its keys into one table");
            }
        }
        faults.check()?;
        Ok(ProxyDefaults { fleet, racks })
    }
}

/// What was found wrong.
#[derive(Default)]
struct Faults(Vec<String>);

impl Faults {
    fn note(&mut self, key: &str, whose: &str, fault: &dyn Display) {
        let whose = if whose.is_empty() { String::new() } else { format!(" {whose}") };
        self.0.push(format!("{key}{whose}: {fault}"));
    }

    fn layer(
        &mut self,
        whose: &str,
        http: Option<SecretString>,
        https: Option<SecretString>,
        no_proxy: Option<String>,
    ) -> Layer {
        let text =
            |secret: &Option<SecretString>| secret.as_ref().map(|text| text.expose_secret().to_owned());
        Layer {
            http: self.choice("image_http_proxy", whose, text(&http)),
            https: self.choice("image_https_proxy", whose, text(&https)),
            no_proxy: self.choice("image_no_proxy", whose, no_proxy),
        }
    }

    fn choice<T: FromStr<Err: Display>>(
        &mut self,
        key: &str,
        whose: &str,
        text: Option<String>,
    ) -> Choice<T> {
        match text.as_deref().map(str::trim) {
            None => Choice::Unset,
            Some("") => Choice::Nothing,
            Some(text) => text.parse().map(Choice::Given).unwrap_or_else(|error| {
                self.note(key, whose, &error);
                Choice::Unset
            }),
        }
    }

    fn check(self) -> Result<(), ConfigError> {
        if self.0.is_empty() { Ok(()) } else { Err(ConfigError::setting("image_proxies", self.0.join("; "))) }
    }
}

#[cfg(test)]
mod tests {
    use farrier::wire::ImageUrl;
    use proptest::prelude::*;
    use serde_json::{Map, Value, json};

    use super::*;
    use crate::driver_info::DriverInfo;

    const FLEET: &str = r#"
        image_http_proxy = "http://fleet:3128"
        image_no_proxy = "10.0.0.0/8"
        [[rack]]
        site = "iad1"
        rack = "r12"
        image_http_proxy = "user:hunter2@r12:3128"
        image_https_proxy = "http://r12:3128"
        [[rack]]
        site = "iad1"
        rack = "r13"
        image_http_proxy = ""
    "#;

    fn defaults(text: &str) -> Result<ProxyDefaults, String> {
        let settings: ProxySettings = toml::from_str(text).map_err(|error| error.message().to_owned())?;
        settings.check().map_err(|error| error.to_string())
    }

    fn node(driver_info: Value) -> ImageInfo {
        let map: Map<String, Value> = serde_json::from_value(driver_info).unwrap();
        DriverInfo::read(&map).unwrap().image
    }

    fn job(more: Value) -> DeploySpec<ImageUrl> {
        let mut spec = json!({"image_source": "http://h/i"});
        spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        serde_json::from_value(spec).unwrap()
    }

    /// The proxies as text, `-` for none.
    fn chosen(defaults: &ProxyDefaults, rack: &str, node_says: Value, job_says: Value) -> [String; 3] {
        let Proxies { http, https, no_proxy } =
            defaults.choose("iad1", rack, &node(node_says), &job(job_says));
        let url = |proxy: Option<ProxyUrl>| {
            proxy.map_or_else(|| "-".to_owned(), |proxy| proxy.expose().to_string())
        };
        [url(http), url(https), no_proxy.map_or_else(|| "-".to_owned(), String::from)]
    }

    #[test]
    fn each_key_is_taken_from_the_highest_layer_that_says_it() {
        let defaults = defaults(FLEET).unwrap();
        let none = json!({});
        for (rack, node, job, expected) in [
            ("r1", none.clone(), none.clone(), ["http://fleet:3128/", "-", "10.0.0.0/8"]),
            (
                "r12",
                none.clone(),
                none.clone(),
                ["http://user:hunter2@r12:3128/", "http://r12:3128/", "10.0.0.0/8"],
            ),
            ("r13", none.clone(), none.clone(), ["-", "-", "10.0.0.0/8"]),
            (
                "r12",
                json!({"image_https_proxy": "node:1", "image_no_proxy": ""}),
                none.clone(),
                ["http://user:hunter2@r12:3128/", "http://node:1/", "-"],
            ),
            (
                "r13",
                json!({"image_http_proxy": "node:1"}),
                none.clone(),
                ["http://node:1/", "-", "10.0.0.0/8"],
            ),
            (
                "r12",
                json!({"image_http_proxy": "", "image_https_proxy": "", "image_no_proxy": "h"}),
                none.clone(),
                ["-", "-", "h"],
            ),
            (
                "r12",
                json!({"image_http_proxy": "node:1", "image_no_proxy": "h"}),
                json!({"image_http_proxy": "job:1", "image_no_proxy": ""}),
                ["http://job:1/", "http://r12:3128/", "-"],
            ),
            ("r1", json!({"image_http_proxy": ""}), json!({"image_no_proxy": "*"}), ["-", "-", "*"]),
        ] {
            assert_eq!(chosen(&defaults, rack, node.clone(), job.clone()), expected, "{rack} {node} {job}");
        }
        assert_eq!(
            ProxyDefaults::default().choose("iad1", "r12", &ImageInfo::default(), &self::job(none)),
            Proxies::default()
        );
    }

    #[test]
    fn a_rack_is_named_with_its_site() {
        let defaults = defaults(FLEET).unwrap();
        let proxies = defaults.choose("fra1", "r12", &ImageInfo::default(), &job(json!({})));
        assert_eq!(proxies.http.unwrap().to_string(), "http://fleet:3128/");
    }

    #[test]
    fn every_bad_part_is_named_and_no_credentials_are_shown() {
        let error = defaults(
            r#"
            image_http_proxy = "socks5://user:hunter2@proxy"
            image_no_proxy = "10.0.0.0/99"
            [[rack]]
            site = "iad 1"
            rack = "r12"
            image_https_proxy = "http://user:hunter2@:1"
            [[rack]]
            site = "iad1"
            rack = "r13"
            [[rack]]
            site = "iad1"
            rack = "r13"
            "#,
        )
        .unwrap_err();
        for part in [
            "the setting `image_proxies`: image_http_proxy: ",
            "; image_no_proxy: ",
            "; site of rack iad 1/r12: ",
            "; image_https_proxy of rack iad 1/r12: ",
            "; the table of rack iad1/r13: it is there twice",
        ] {
            assert!(error.contains(part), "{part}: {error}");
        }
        assert!(!error.contains("hunter2"), "{error}");
    }

    #[test]
    fn an_unknown_key_is_refused() {
        for text in ["image_htp_proxy = \"x\"", "[[rack]]\nsite = \"a\"\nrack = \"b\"\nhttp_proxy = \"x\""] {
            assert!(defaults(text).unwrap_err().contains("unknown field"), "{text}");
        }
        assert!(defaults("[[rack]]\nsite = \"a\"").unwrap_err().contains("rack"));
        let shown = format!("{:?}", toml::from_str::<ProxySettings>(FLEET).unwrap());
        assert!(!shown.contains("hunter2"), "{shown}");
        assert!(!format!("{:?}", defaults(FLEET).unwrap()).contains("hunter2"));
    }

    /// What a layer says of a key: nothing, that there is none, or a proxy.
    fn said_by_a_layer() -> impl Strategy<Value = Option<&'static str>> {
        prop::sample::select(vec![None, Some(""), Some("http://a:1"), Some("http://b:2")])
    }

    proptest! {
        #[test]
        fn the_highest_that_says_something_counts(
            http in prop::array::uniform3(said_by_a_layer()),
            https in prop::array::uniform3(said_by_a_layer()),
            by_job in prop::option::of(Just("http://c:3")),
        ) {
            let layer = |level: usize| {
                let pairs = [("image_http_proxy", http[level]), ("image_https_proxy", https[level])];
                pairs.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?.into()))).collect::<Map<_, _>>()
            };
            let table = |level| layer(level).iter().map(|(key, value)| format!("{key} = {value}\n")).collect::<String>();
            let text = format!("{}[[rack]]\nsite = \"iad1\"\nrack = \"r1\"\n{}", table(0), table(1));
            let job = by_job.map_or_else(|| json!({}), |proxy| json!({"image_http_proxy": proxy}));
            let chosen = chosen(&defaults(&text).unwrap(), "r1", Value::Object(layer(2)), job);

            let expected = |said: &[Option<&str>]| match said.iter().rev().find_map(|said| *said) {
                None | Some("") => "-".to_owned(),
                Some(proxy) => format!("{proxy}/"),
            };
            let with_job = [http[0], http[1], http[2], by_job];
            prop_assert_eq!(&chosen[..2], &[expected(&with_job), expected(&https)][..]);
        }
    }
}
