//! What `farrier` prints: tables and lines for people, JSON for programs.

use std::io::Write as _;

use chrono::{DateTime, SecondsFormat, Utc};
pub(crate) use farrier::terminal::{bytes, duration, table, table_text};
use serde::Serialize;

use super::error::Failure;

/// Standard output, in one of its two forms.
#[derive(Debug)]
pub(crate) struct Output {
    json: bool,
}

impl Output {
    pub(crate) fn new(json: bool) -> Self {
        Self { json }
    }

    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    /// Prints `value` as one line of JSON, or what `show` makes of it for people.
    pub(crate) fn show<T: Serialize>(
        &mut self,
        value: &T,
        show: impl FnOnce(&T) -> String,
    ) -> Result<(), Failure> {
        if self.json {
            let mut line = serde_json::to_vec(value).map_err(std::io::Error::other)?;
            line.push(b'\n');
            self.raw(&line)
        } else {
            self.raw(format!("{}\n", printable(&show(value))).as_bytes())
        }
    }

    /// Writes bytes as they are.
    pub(crate) fn raw(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let mut stdout = std::io::stdout().lock();
        stdout.write_all(bytes)?;
        stdout.flush()?;
        Ok(())
    }

    /// A remark on standard error, for people alone.
    pub(crate) fn note(&self, text: &str) {
        if !self.json {
            eprintln!("{}", printable(text));
        }
    }

    /// Says on standard error what went wrong.
    pub(crate) fn failure(&self, failure: &Failure) {
        let report = failure.report();
        if self.json {
            // An error report has nothing that cannot be JSON; were it otherwise, its text would do.
            let text = serde_json::to_string(&report).unwrap_or_else(|_| report.to_string());
            eprintln!("{text}");
            return;
        }
        eprintln!("error: {}", printable(&report.to_string()));
        if let Some(field) = report.field.filter(|field| !report.message.contains(field.as_str())) {
            eprintln!("field: {}", printable(&field));
        }
    }
}

/// Text that came over the network, made harmless for a terminal: its control characters could do more than look odd.
fn printable(text: &str) -> String {
    text.chars()
        .map(|character| match character {
            '\n' | '\t' => character,
            other if other.is_control() => char::REPLACEMENT_CHARACTER,
            other => other,
        })
        .collect()
}

/// What is there, or a dash.
pub(crate) fn or_dash(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

pub(crate) fn time(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// How long ago something was: `3m 20s ago`. What lies ahead, for clocks differ, is `now`.
pub(crate) fn ago(at: DateTime<Utc>) -> String {
    match duration(Utc::now() - at).as_str() {
        "0s" => "now".to_owned(),
        text => format!("{text} ago"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_control_character_reaches_the_terminal() {
        assert_eq!(printable("a\u{1b}[2Jb\r\nc"), "a\u{fffd}[2Jb\u{fffd}\nc");
    }
}
