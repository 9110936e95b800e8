//! Keeps the gauges up to date.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use farrier::telemetry::names;
use farrier::wire::Coded as _;
use farrier::wire::api::JobState;
use metrics::gauge;
use tracing::warn;

use crate::store::{Statistics, Store};

const EVERY: Duration = Duration::from_secs(5);
const WAIT_REASONS: &[&str] = &[
    "agent",
    "node_busy",
    "backoff",
    "image",
    "accepted",
    "heartbeat",
    "cancelled",
    "power_off",
    "boot_device",
    "power_on",
    "agent_gone",
];

/// Refreshes the gauges, for ever.
pub(crate) async fn run(store: Store) {
    let mut tick = tokio::time::interval(EVERY);
    let mut seen = HashSet::new();
    loop {
        tick.tick().await;
        match store.statistics().await {
            Ok(statistics) => show(&statistics, &mut seen),
            Err(fault) => warn!(error = %fault.report(), "the gauges cannot be refreshed"),
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts of jobs and nodes")]
fn show(statistics: &Statistics, verbs: &mut HashSet<String>) {
    let jobs: HashMap<(&str, &str), i64> = statistics
        .jobs
        .iter()
        .map(|(verb, state, count)| ((verb.as_str(), state.as_str()), *count))
        .collect();
    verbs.extend(statistics.jobs.iter().map(|(verb, _, _)| verb.clone()));
    for verb in verbs.iter() {
        for state in JobState::ALL.iter().map(|state| state.as_str()) {
            let count = jobs.get(&(verb.as_str(), state)).copied().unwrap_or(0);
            gauge!(names::JOBS, "verb" => verb.clone(), "state" => state).set(count as f64);
        }
    }
    for enrolment in ["discovered", "enrolled"] {
        for alive in [true, false] {
            let count: i64 = statistics
                .nodes
                .iter()
                .filter(|(found, is_alive, _)| found == enrolment && *is_alive == alive)
                .map(|(_, _, count)| count)
                .sum();
            gauge!(names::NODES, "enrolment" => enrolment, "alive" => alive.to_string()).set(count as f64);
        }
    }
    let ages = &statistics.heartbeat_ages;
    for (quantile, place) in [("min", 0), ("median", ages.len() / 2), ("max", ages.len().saturating_sub(1))] {
        gauge!(names::HEARTBEAT_AGE_SECONDS, "quantile" => quantile)
            .set(ages.get(place).copied().unwrap_or(0.0));
    }
    for reason in WAIT_REASONS {
        let waits = statistics.waits.iter().filter(|(found, _)| found == reason).map(|(_, age)| *age);
        gauge!(names::WAITING_JOBS, "reason" => *reason).set(waits.clone().count() as f64);
        gauge!(names::WAIT_AGE_SECONDS, "reason" => *reason).set(waits.fold(0.0, f64::max));
    }
    gauge!(names::OUTBOX_DEPTH).set(statistics.outbox_depth as f64);
}
