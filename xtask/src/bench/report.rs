//! What a bench found: rows for programs, lines for people, and limits.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use farrier::terminal::{bytes, table, table_text};
use serde::Serialize;
use serde_json::{Map, Value};

/// One case.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Row {
    /// What was measured.
    pub(super) case: String,
    /// Of what.
    pub(super) contender: &'static str,
    /// How long it took, in seconds.
    pub(super) wall_s: Option<f64>,
    /// How much processor time it took, in seconds.
    pub(super) cpu_s: Option<f64>,
    /// The most memory that it has held, in bytes.
    pub(super) peak_rss_bytes: Option<u64>,
    /// Other figures; the unit is in the name.
    #[serde(flatten)]
    pub(super) figures: Map<String, Value>,
}

impl Row {
    /// A case without figures yet.
    pub(super) fn new(case: &str, contender: &'static str) -> Self {
        Self { case: case.to_owned(), contender, ..Self::default() }
    }

    /// With one more figure.
    pub(super) fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.figures.insert(name.to_owned(), value.into());
        self
    }

    /// With the median, the 99th percentile and the largest of these times, in seconds.
    pub(super) fn with_times(self, mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        let seconds = |percent| percentile(&times, percent).map(|time| time.as_secs_f64());
        self.with("count", times.len())
            .with("median_s", seconds(50))
            .with("p99_s", seconds(99))
            .with("max_s", seconds(100))
    }
}

/// The value below or at which `percent` of the sorted values are (nearest rank).
fn percentile<T: Copy>(sorted: &[T], percent: usize) -> Option<T> {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.max(1) - 1).copied()
}

/// A figure that must stay below something.
#[derive(Debug)]
pub(super) struct Limit {
    /// Of what.
    pub(super) what: &'static str,
    /// What was measured, in bytes.
    pub(super) found: u64,
    /// What it must stay below, in bytes.
    pub(super) below: u64,
}

impl Limit {
    fn is_met(&self) -> bool {
        self.found < self.below
    }
}

/// Writes `<dir>/<name>.json`, prints rows and limits, and says whether all limits are met.
pub(super) fn publish(dir: &Path, name: &str, rows: &[Row], limits: &[Limit]) -> anyhow::Result<bool> {
    let path = write(dir, name, rows)?;
    let mut lines = table(&["CASE", "OF", "WALL", "CPU", "PEAK RSS", "FIGURES"]);
    for row in rows {
        let seconds = |value: Option<f64>| value.map_or_else(|| "-".into(), |value| format!("{value:.2} s"));
        let figures: Vec<_> = row.figures.iter().map(|(name, value)| figure(name, value)).collect();
        lines.add_row([
            row.case.clone(),
            row.contender.to_owned(),
            seconds(row.wall_s),
            seconds(row.cpu_s),
            row.peak_rss_bytes.map_or_else(|| "-".to_owned(), bytes),
            figures.join(", "),
        ]);
    }
    println!("\n{}\n", table_text(&lines));
    for limit in limits {
        let verdict = if limit.is_met() { "met" } else { "MISSED" };
        println!("{verdict:<6} {}: {}, limit {}", limit.what, bytes(limit.found), bytes(limit.below));
    }
    println!("\nrows: {}", path.display());
    Ok(limits.iter().all(Limit::is_met))
}

fn write(dir: &Path, name: &str, rows: &[Row]) -> anyhow::Result<PathBuf> {
    fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let path = dir.join(format!("{name}.json"));
    let text = serde_json::to_string_pretty(rows)? + "\n";
    fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}

/// A figure as people read it; its unit is the end of its name.
fn figure(name: &str, value: &Value) -> String {
    let text = match (name.rsplit_once('_'), value.as_f64(), value.as_u64()) {
        (Some((_, "s")), Some(seconds), _) => format!("{:.1} ms", seconds * 1000.0),
        (Some((_, "bytes")), _, Some(count)) => bytes(count),
        _ => value.to_string(),
    };
    format!("{name} {text}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_were_measured() {
        let hundred: Vec<_> = (1..=100).collect();
        assert_eq!(
            [50, 99, 100].map(|percent| percentile(&hundred, percent)),
            [Some(50), Some(99), Some(100)]
        );
        assert_eq!(percentile(&[7], 99), Some(7));
        assert_eq!(percentile::<u8>(&[], 50), None);
    }

    #[test]
    fn a_row_is_flat() {
        let row = Row::new("sizes", "farrier-agent").with("size_bytes", 3);
        let row = serde_json::to_value(row).unwrap();
        assert_eq!(row["size_bytes"], 3);
        assert_eq!(row["wall_s"], Value::Null);
    }
}
