//! Figures and tables as people read them.

use std::io::IsTerminal as _;
use std::time::Duration;

use chrono::TimeDelta;
use comfy_table::{ContentArrangement, Table, presets};
use indicatif::HumanBytes;

/// A table without borders, no wider than the terminal, its columns two blanks apart.
#[must_use]
pub fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(header.iter().copied());
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    // Programs that read the tables after all, and logs, want one line a row.
    if std::io::stdout().is_terminal() {
        table.set_content_arrangement(ContentArrangement::Dynamic);
    }
    table
}

/// The table as text, without blanks at the ends of its lines.
#[must_use]
pub fn table_text(table: &Table) -> String {
    table.trim_fmt()
}

/// A duration in its two largest units.
#[must_use]
pub fn duration(span: TimeDelta) -> String {
    seconds(span.num_seconds().try_into().unwrap_or(0))
}

/// See [`duration`].
#[must_use]
pub fn seconds(seconds: u64) -> String {
    let text = humantime::format_duration(Duration::from_secs(seconds)).to_string();
    text.split(' ').take(2).collect::<Vec<_>>().join(" ")
}

/// A count of bytes in a binary unit: `1.50 GiB`.
#[must_use]
pub fn bytes(count: u64) -> String {
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
}
