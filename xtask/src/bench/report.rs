//! What a bench found: rows for programs, lines for people, and limits.

use std::fmt;
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

/// What a figure must keep to. One that was not to be had keeps to nothing.
#[derive(Clone, Debug)]
pub(super) enum Limit {
    /// So many bytes or more are too many.
    Bytes {
        /// Of what.
        what: String,
        /// What was measured.
        found: Option<u64>,
        /// What it must stay below.
        below: u64,
    },
    /// A ratio of two times.
    Ratio {
        /// Of what.
        what: String,
        /// What was measured.
        found: Option<f64>,
        /// Where it must be.
        bound: Bound,
    },
}

/// Where a ratio must be.
#[derive(Clone, Copy, Debug)]
pub(super) enum Bound {
    /// There or below.
    AtMost(f64),
    /// There or above.
    AtLeast(f64),
}

impl Limit {
    fn is_met(&self) -> bool {
        match *self {
            Self::Bytes { found, below, .. } => found.is_some_and(|found| found < below),
            Self::Ratio { found, bound: Bound::AtMost(most), .. } => found.is_some_and(|found| found <= most),
            Self::Ratio { found, bound: Bound::AtLeast(least), .. } => {
                found.is_some_and(|found| found >= least)
            }
        }
    }

    /// As a row, for programs.
    fn row(&self) -> Row {
        let row = |what: &str, name, bound: Value, found: Value| {
            Row::new(what, "limit").with("found", found).with(name, bound).with("is_met", self.is_met())
        };
        match self {
            Self::Bytes { what, found, below } => row(what, "below_bytes", (*below).into(), (*found).into()),
            Self::Ratio { what, found, bound: Bound::AtMost(most) } => {
                row(what, "at_most", (*most).into(), (*found).into())
            }
            Self::Ratio { what, found, bound: Bound::AtLeast(least) } => {
                row(what, "at_least", (*least).into(), (*found).into())
            }
        }
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = if self.is_met() { "met" } else { "MISSED" };
        let (what, found, limit) = match self {
            Self::Bytes { what, found, below } => {
                (what, found.map(bytes), format!("below {}", bytes(*below)))
            }
            Self::Ratio { what, found, bound } => {
                let limit = match bound {
                    Bound::AtMost(most) => format!("at most {most:.2}"),
                    Bound::AtLeast(least) => format!("at least {least:.2}"),
                };
                (what, found.map(|found| format!("{found:.2}")), limit)
            }
        };
        let found = found.unwrap_or_else(|| "not measured".to_owned());
        write!(f, "{verdict:<6} {what}: {found}, limit {limit}")
    }
}

/// Writes rows and limits to `<dir>/<name>.json`, prints them, and says whether all limits are met.
pub(super) fn publish(dir: &Path, name: &str, rows: &[Row], limits: &[Limit]) -> anyhow::Result<bool> {
    let all: Vec<_> = rows.iter().cloned().chain(limits.iter().map(Limit::row)).collect();
    let path = write(dir, name, &all)?;
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
        println!("{limit}");
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
        (_, Some(number), None) => format!("{number:.2}"),
        _ => value.as_str().map_or_else(|| value.to_string(), str::to_owned),
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
    fn a_limit_is_met_at_its_bound_and_never_without_a_figure() {
        let ratio = |found, bound| Limit::Ratio { what: "wall".to_owned(), found, bound };
        let verdicts = [
            (ratio(Some(1.25), Bound::AtMost(1.25)), true),
            (ratio(Some(1.26), Bound::AtMost(1.25)), false),
            (ratio(Some(1.6), Bound::AtLeast(1.6)), true),
            (ratio(Some(1.5), Bound::AtLeast(1.6)), false),
            (ratio(None, Bound::AtLeast(1.6)), false),
            (Limit::Bytes { what: "memory".to_owned(), found: Some(64), below: 64 }, false),
        ];
        for (limit, met) in verdicts {
            assert_eq!(limit.is_met(), met, "{limit}");
            assert_eq!(limit.row().figures["is_met"], met);
        }
        let text = ratio(None, Bound::AtMost(1.0)).to_string();
        assert_eq!(text, "MISSED wall: not measured, limit at most 1.00");
    }

    #[test]
    fn a_row_is_flat() {
        let row = Row::new("sizes", "farrier-agent").with("size_bytes", 3);
        let row = serde_json::to_value(row).unwrap();
        assert_eq!(row["size_bytes"], 3);
        assert_eq!(row["wall_s"], Value::Null);
    }
}
