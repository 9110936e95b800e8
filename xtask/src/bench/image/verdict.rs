//! What the runs say: rows, and the limits that Farrier must keep to.

use super::contenders::{CONVERT, FARRIER, IPA, ZSTD_DD};
use super::images::Case;
use super::runs::Entry;
use crate::bench::report::{Bound, Limit, Row};

const PEAK_RSS_BELOW: u64 = 64 << 20;
/// Wall time of a dense raw image, in times of the slowest stage.
const OF_SLOWEST_STAGE: f64 = 1.25;
/// Speed in times of that of ironic-python-agent.
const OF_IPA_DENSE: f64 = 1.6;
const OF_IPA_SPARSE: f64 = 2.5;

pub(super) fn rows(entries: &[Entry]) -> Vec<Row> {
    entries.iter().map(|entry| row(entry, of(entries, entry.image.case, FARRIER))).collect()
}

fn row(entry: &Entry, farrier: Option<&Entry>) -> Row {
    let case = entry.image.case.name();
    let mut row = Row::new(case, entry.contender.name);
    if let Some(reason) = &entry.out {
        return row.with("out", reason.as_str());
    }
    row.wall_s = entry.wall();
    row.cpu_s = entry.cpu();
    row.peak_rss_bytes = entry.peak_rss();
    let walls = entry.runs.iter().map(|usage| usage.wall);
    row = row
        .with("times_farrier", ratio(entry.wall(), farrier.and_then(Entry::wall)))
        .with("min_s", walls.clone().min().map(|wall| wall.as_secs_f64()))
        .with("max_s", walls.max().map(|wall| wall.as_secs_f64()));
    if entry.contender.name == FARRIER { row.with("served_bytes", entry.image.bytes) } else { row }
}

/// The limits of the cases that were measured. Where somebody was left out on purpose, what he is needed for has no limit.
pub(super) fn limits(entries: &[Entry]) -> Vec<Limit> {
    let farriers = entries.iter().filter(|entry| entry.contender.name == FARRIER);
    farriers.flat_map(|farrier| limits_of(entries, farrier)).collect()
}

fn limits_of(entries: &[Entry], farrier: &Entry) -> Vec<Limit> {
    let case = farrier.image.case;
    let against = |name: &str| of(entries, case, name);
    let mut limits = vec![Limit::Bytes {
        what: format!("{}: peak resident memory", case.name()),
        found: farrier.peak_rss().filter(|_| farrier.out.is_none()),
        below: PEAK_RSS_BELOW,
    }];
    if case == Case::Dense && entries.iter().any(|entry| entry.contender.is_stage()) {
        limits.push(Limit::Ratio {
            what: format!("{}: wall time / slowest stage", case.name()),
            found: ratio(farrier.wall(), slowest_stage(entries, case)),
            bound: Bound::AtMost(OF_SLOWEST_STAGE),
        });
    }
    let speed = |peer: &Entry, least| Limit::Ratio {
        what: format!("{}: speed / {}", case.name(), peer.contender.name),
        found: ratio(peer.wall(), farrier.wall()),
        bound: Bound::AtLeast(least),
    };
    let peer = match case {
        Case::Dense => against(IPA).map(|ipa| speed(ipa, OF_IPA_DENSE)),
        Case::Sparse => against(IPA).map(|ipa| speed(ipa, OF_IPA_SPARSE)),
        Case::Qcow2 | Case::Qcow2Zlib | Case::Qcow2Zstd => against(CONVERT).map(|peer| speed(peer, 1.0)),
        Case::Zstd => against(ZSTD_DD).map(|peer| speed(peer, 1.0)),
        Case::Gzip => None,
    };
    limits.extend(peer);
    limits
}

/// None where any of the stages has failed: the slowest may be that one.
fn slowest_stage(entries: &[Entry], case: Case) -> Option<f64> {
    let stages = entries.iter().filter(|entry| entry.image.case == case && entry.contender.is_stage());
    stages.map(Entry::wall).try_fold(0.0, |slowest: f64, wall| Some(slowest.max(wall?)))
}

fn of<'a>(entries: &'a [Entry], case: Case, name: &str) -> Option<&'a Entry> {
    entries.iter().find(|entry| entry.image.case == case && entry.contender.name == name)
}

fn ratio(of: Option<f64>, to: Option<f64>) -> Option<f64> {
    Some(of? / to?)
}
