//! Layers of configuration: flags over environment over file over kernel command line.
//!
//! One struct of `Option`s is both `clap::Args` (flags, and the environment through `env`) and the TOML file. It implements
//! [`Layer`] through [`layer!`](crate::layer), is filled once for each layer, and the layers are laid over each other. No error shows
//! a value: it may be a secret.

use std::path::{Path, PathBuf};

use clap::error::{ContextKind, ContextValue, ErrorKind};
use serde::de::DeserializeOwned;

use crate::wire::{Coded, ErrorCode};

/// The prefix of Farrier's words on the kernel command line.
const KERNEL_PREFIX: &str = "farrier.";

/// Settings of which any may be absent.
pub trait Layer {
    /// What is set here, and for the rest what is set in `lower`.
    #[must_use]
    fn over(self, lower: Self) -> Self;
}

impl<T> Layer for Option<T> {
    fn over(self, lower: Self) -> Self {
        self.or(lower)
    }
}

/// Implements [`Layer`](crate::config::Layer) for a struct of `Option`s and of other layers. Names every field, or does not compile.
#[macro_export]
macro_rules! layer {
    ($settings:ty { $($field:ident),* $(,)? }) => {
        impl $crate::config::Layer for $settings {
            fn over(self, lower: Self) -> Self {
                Self { $($field: $crate::config::Layer::over(self.$field, lower.$field),)* }
            }
        }
    };
}

/// Why the configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file is not there, or cannot be read.
    #[error("cannot read {what} {}", path.display())]
    Unreadable {
        /// What the file is for.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is not TOML, or a key or a value in it is wrong.
    #[error("{}, line {line}: {reason}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong, and which keys there are.
        reason: String,
    },
    /// A word on the kernel command line is wrong.
    #[error("kernel command line, `{word}`: {reason}")]
    Kernel {
        /// The word without its value.
        word: String,
        /// What is wrong, and which keys there are.
        reason: String,
    },
    /// A setting has a value that cannot be used, wherever it came from.
    #[error("the setting `{setting}`: {reason}")]
    Setting {
        /// The setting, as it is called in the file.
        setting: &'static str,
        /// What was expected, and what to do.
        reason: String,
    },
}

impl Coded for ConfigError {
    fn code(&self) -> ErrorCode {
        ErrorCode::BadConfig
    }
}

impl ConfigError {
    /// A setting that cannot be used.
    pub fn setting(setting: &'static str, reason: impl Into<String>) -> Self {
        Self::Setting { setting, reason: reason.into() }
    }
}

/// Reads a TOML file. Blocks: for the time before the runtime is started.
///
/// # Errors
/// [`ConfigError::Unreadable`], or [`ConfigError::File`] with the line and the key.
pub fn read_file<T: DeserializeOwned>(path: &Path) -> Result<T, ConfigError> {
    let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Unreadable {
        what: "the configuration file",
        path: path.to_owned(),
        source,
    })?;
    toml::from_str(&text).map_err(|error| {
        let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
        ConfigError::File {
            path: path.to_owned(),
            line: before.matches('\n').count() + 1,
            reason: without_value(error.message()).replace("unknown field", "unknown key"),
        }
    })
}

/// Serde says "invalid type: string \"hunter2\", expected u16". The value is left out.
fn without_value(message: &str) -> String {
    let told = message.strip_prefix("invalid type: ").or_else(|| message.strip_prefix("invalid value: "));
    match told.and_then(|told| Some((told.split(['`', '"']).next()?, told.rsplit_once(", expected ")?.1))) {
        Some((kind, expected)) => {
            let kind = kind.split(", expected ").next().unwrap_or(kind).trim();
            format!("expected {expected}, found another value ({kind})")
        }
        None => message.to_owned(),
    }
}

/// Reads the `farrier.key=value` words of a kernel command line (`/proc/cmdline`) as if they were the flags `--key=value`.
/// A word without a value is a switch that is on.
///
/// Flags that clap takes from the environment too are taken from it here where the command line lacks them, which changes
/// nothing in a layer that lies below the flags.
///
/// # Errors
/// [`ConfigError::Kernel`].
pub fn read_kernel_command_line<T: clap::Args>(command_line: &str) -> Result<T, ConfigError> {
    let arguments = kernel_words(command_line).into_iter().filter_map(|word| {
        let word = word.strip_prefix(KERNEL_PREFIX)?;
        let (key, value) = word.split_once('=').map_or((word, None), |(key, value)| (key, Some(value)));
        let flag = format!("--{}", key.replace('_', "-"));
        Some(value.map_or_else(|| flag.clone(), |value| format!("{flag}={value}")))
    });
    let mut command =
        T::augment_args(clap::Command::new("kernel").no_binary_name(true).disable_help_flag(true));
    let known = command
        .get_arguments()
        .filter_map(clap::Arg::get_long)
        .map(|long| format!("`{KERNEL_PREFIX}{}`", long.replace('-', "_")))
        .collect::<Vec<_>>()
        .join(", ");
    command
        .try_get_matches_from_mut(arguments)
        .and_then(|matches| T::from_arg_matches(&matches))
        .map_err(|error| kernel_error(&error, &known))
}

fn kernel_error(error: &clap::Error, known: &str) -> ConfigError {
    let flag = match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(text)) => text.as_str(),
        _ => "",
    };
    // Clap shows the flag with its value's name or with the value itself: only the key may be repeated.
    let key = flag.trim_start_matches("--").split([' ', '=']).next().unwrap_or_default().replace('-', "_");
    let reason = match error.kind() {
        ErrorKind::UnknownArgument => format!("unknown key, expected one of {known}"),
        ErrorKind::ArgumentConflict => "given more than once".to_owned(),
        ErrorKind::InvalidValue | ErrorKind::NoEquals => {
            "its value is missing or not one of those allowed".to_owned()
        }
        _ => std::error::Error::source(error).map_or_else(
            || "its value cannot be read".to_owned(),
            |cause| format!("its value cannot be read: {cause}"),
        ),
    };
    ConfigError::Kernel { word: format!("{KERNEL_PREFIX}{key}"), reason }
}

/// Splits a kernel command line as the kernel's own `next_arg` does (`lib/cmdline.c`): at white space outside double quotes, which
/// are taken away. What follows `--` is for init.
fn kernel_words(command_line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quoted = false;
    for character in command_line.chars() {
        match (character, words.last_mut()) {
            ('"', _) => quoted = !quoted,
            (space, _) if space.is_whitespace() && !quoted => words.push(String::new()),
            (other, Some(word)) => word.push(other),
            (_, None) => {}
        }
    }
    words.into_iter().take_while(|word| word != "--").filter(|word| !word.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[derive(Debug, Default, PartialEq, clap::Args, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Settings {
        #[arg(long)]
        broker: Option<String>,
        #[arg(long)]
        heartbeat_seconds: Option<u16>,
        #[arg(long, value_delimiter = ',')]
        lab_disk: Option<Vec<PathBuf>>,
        #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
        auto_enroll: Option<bool>,
    }
    layer!(Settings { broker, heartbeat_seconds, lab_disk, auto_enroll });

    fn file(text: &str) -> Result<Settings, String> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        let path = file.path().display().to_string();
        read_file(file.path()).map_err(|error| error.to_string().replace(&path, "FILE"))
    }

    #[test]
    fn what_lies_above_wins() {
        let top = Settings { heartbeat_seconds: Some(1), ..Settings::default() };
        let lower = file("heartbeat_seconds = 2\nbroker = \"b\"").unwrap();
        let merged = top.over(lower);
        assert_eq!((merged.heartbeat_seconds, merged.broker.as_deref()), (Some(1), Some("b")));
    }

    #[test]
    fn an_unknown_key_is_named_with_its_line_and_the_known_ones() {
        assert_eq!(
            file("# a comment\nbrokr = \"amqp://u:hunter2@h\"").unwrap_err(),
            "FILE, line 2: unknown key `brokr`, expected one of `broker`, `heartbeat_seconds`, `lab_disk`, `auto_enroll`"
        );
    }

    #[test]
    fn no_error_shows_a_value() {
        for text in [
            "heartbeat_seconds = \"hunter2\"",
            "heartbeat_seconds = \", expected hunter2\"",
            "broker = [\"hunter2\"]",
            "broker = \"hunter2",
            "broker = hunter2",
            "broker = \"a\"\nbroker = \"hunter2\"",
        ] {
            let error = file(text).unwrap_err();
            assert!(!error.contains("hunter2"), "{error}");
            assert!(error.starts_with("FILE, line "), "{error}");
        }
        assert_eq!(
            file("broker = 1234").unwrap_err(),
            "FILE, line 1: expected a string, found another value (integer)"
        );
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = read_file::<Settings>(Path::new("/nonexistent/f.toml")).unwrap_err();
        assert_eq!(
            error.report().message,
            "cannot read the configuration file /nonexistent/f.toml: No such file or directory (os error 2)"
        );
    }

    #[test]
    fn the_kernel_command_line_is_read_as_the_kernel_reads_it() {
        let settings: Settings = read_kernel_command_line(
            "ro quiet farrier.broker=\"a b\" \"farrier.lab_disk=/a,/b\" farrier.auto_enroll farrier.heartbeat-seconds=3\n",
        )
        .unwrap();
        assert_eq!(
            settings,
            Settings {
                broker: Some("a b".into()),
                heartbeat_seconds: Some(3),
                lab_disk: Some(vec!["/a".into(), "/b".into()]),
                auto_enroll: Some(true),
            }
        );
        let init: Settings = read_kernel_command_line("ro -- farrier.broker=x").unwrap();
        assert_eq!(init, Settings::default());
    }

    #[test]
    fn a_wrong_word_on_the_kernel_command_line_is_named_without_its_value() {
        let error = |text| read_kernel_command_line::<Settings>(text).unwrap_err().to_string();
        assert_eq!(
            error("farrier.brokr=hunter2"),
            "kernel command line, `farrier.brokr`: unknown key, expected one of `farrier.broker`, \
             `farrier.heartbeat_seconds`, `farrier.lab_disk`, `farrier.auto_enroll`"
        );
        let wrong = error("farrier.heartbeat_seconds=hunter2");
        assert!(
            wrong.starts_with("kernel command line, `farrier.heartbeat_seconds`: its value cannot be read"),
            "{wrong}"
        );
        assert!(!wrong.contains("hunter2"), "{wrong}");
        assert!(
            error("farrier.broker=a farrier.broker=b").contains("`farrier.broker`: given more than once")
        );
    }
}
