//! Takes values out of a driver info, and notes every one that does not fit.

use std::fmt::Display;
use std::str::FromStr;

use serde_json::{Map, Value};

use super::keys::SECRET_KEYS;
use super::{BadDriverInfo, BadKey, Choice};

/// The most of a value that an error shows, in characters.
const LONGEST_SHOWN: usize = 80;

/// A driver info, and what was found wrong with it so far.
pub(super) struct Reader<'a> {
    map: &'a Map<String, Value>,
    faults: Vec<BadKey>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(map: &'a Map<String, Value>) -> Self {
        Self { map, faults: Vec::new() }
    }

    /// `value`, unless something was wrong.
    pub(super) fn finish<T>(self, value: T) -> Result<T, BadDriverInfo> {
        BadDriverInfo::of(self.faults).map_or(Ok(value), Err)
    }

    pub(super) fn fault(&mut self, key: &str, reason: impl Into<String>) {
        self.faults.push(BadKey { key: key.to_owned(), reason: reason.into() });
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        self.map.keys().map(String::as_str)
    }

    /// Whether a key has a value that is not empty, be it right or wrong.
    pub(super) fn is_given(&self, key: &str) -> bool {
        self.map.get(key).is_some_and(|value| !value.is_null() && value != "")
    }

    /// Notes that a key is missing where it is.
    pub(super) fn require(&mut self, key: &str, why: &str) {
        if !self.is_given(key) {
            self.fault(key, format!("it is missing: {why}"));
        }
    }

    /// A text that is not empty. A whole number or a truth value is taken as it is written, for on a command line a password may
    /// look like one.
    pub(super) fn text(&mut self, key: &str) -> Option<String> {
        self.text_or_empty(key).filter(|text| !text.is_empty())
    }

    fn text_or_empty(&mut self, key: &str) -> Option<String> {
        match self.map.get(key)? {
            Value::Null => None,
            Value::String(text) => Some(text.clone()),
            Value::Bool(truth) => Some(truth.to_string()),
            // A fraction is written back in another way than it came: only where it cannot be a secret.
            Value::Number(number) if !number.is_f64() || !SECRET_KEYS.contains(&key) => {
                Some(number.to_string())
            }
            other => {
                let quotes = if other.is_number() { "; put it in quotes inside of JSON" } else { "" };
                self.fault(key, format!("expected text, found {}{quotes}", kind(other)));
                None
            }
        }
    }

    /// A value that is read by `read` from text.
    pub(super) fn read<T, E: Display>(
        &mut self,
        key: &str,
        read: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        let text = self.text(key)?;
        self.keep(key, read(text.trim()))
    }

    /// A value whose type knows how it is written.
    pub(super) fn parsed<T: FromStr<Err: Display>>(&mut self, key: &str) -> Option<T> {
        self.read(key, str::parse)
    }

    /// A value that may be said to be none by an empty text.
    pub(super) fn choice<T: FromStr<Err: Display>>(&mut self, key: &str) -> Choice<T> {
        let Some(text) = self.text_or_empty(key) else { return Choice::Unset };
        match text.trim() {
            "" => Choice::Nothing,
            text => self.keep(key, text.parse()).map_or(Choice::Unset, Choice::Given),
        }
    }

    /// A truth value, in any of its usual spellings.
    pub(super) fn flag(&mut self, key: &str) -> Option<bool> {
        self.read(key, |text| {
            spelled_bool(text).ok_or_else(|| {
                format!("expected true or false (also yes/no, on/off, t/f, y/n, 1/0), found {}", shown(text))
            })
        })
    }

    fn keep<T, E: Display>(&mut self, key: &str, read: Result<T, E>) -> Option<T> {
        match read {
            Ok(value) => Some(value),
            Err(error) => {
                self.fault(key, error.to_string());
                None
            }
        }
    }
}

/// The spellings that Ironic takes (`strict` in oslo's `bool_from_string`), in capitals as well.
pub(super) fn spelled_bool(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "1" | "t" | "true" | "on" | "y" | "yes" => Some(true),
        "0" | "f" | "false" | "off" | "n" | "no" => Some(false),
        _ => None,
    }
}

/// A value as an error shows it. Not for what may be a secret.
pub(super) fn shown(text: &str) -> String {
    let mut short: String = text.chars().take(LONGEST_SHOWN).collect();
    if short.len() < text.len() {
        short.push_str("...");
    }
    format!("{short:?}")
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "a truth value",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}
