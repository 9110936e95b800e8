//! What `farrier` prints: tables and lines for people, JSON for programs.

use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use comfy_table::{ContentArrangement, Table, presets};
use indicatif::HumanBytes;
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
        if let Some(field) = &report.field {
            eprintln!("field: {}", printable(field));
        }
    }
}

/// A table without borders, no wider than the terminal.
pub(crate) fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(header.iter().copied());
    // Programs that read the tables after all, and logs, want one line a row.
    if std::io::stdout().is_terminal() {
        table.set_content_arrangement(ContentArrangement::Dynamic);
    }
    table
}

/// The table as text, without the blanks that fill its last column.
pub(crate) fn table_text(table: &Table) -> String {
    table.trim_fmt()
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

/// A duration in its two largest units.
pub(crate) fn duration(span: TimeDelta) -> String {
    seconds(span.num_seconds().try_into().unwrap_or(0))
}

/// See [`duration`].
pub(crate) fn seconds(seconds: u64) -> String {
    let text = humantime::format_duration(Duration::from_secs(seconds)).to_string();
    text.split(' ').take(2).collect::<Vec<_>>().join(" ")
}

pub(crate) fn bytes(count: u64) -> String {
    HumanBytes(count).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_short() {
        assert_eq!(duration(TimeDelta::seconds(-5)), "0s");
        assert_eq!(duration(TimeDelta::milliseconds(900)), "0s");
        assert_eq!(duration(TimeDelta::seconds(200)), "3m 20s");
        assert_eq!(duration(TimeDelta::seconds(86_400 + 7_261)), "1day 2h");
    }

    #[test]
    fn no_control_character_reaches_the_terminal() {
        assert_eq!(printable("a\u{1b}[2Jb\r\nc"), "a\u{fffd}[2Jb\u{fffd}\nc");
    }
}
