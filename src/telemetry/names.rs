//! The names of all metrics, with what they mean. None has a label per node: a fleet has thousands of those.

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};

/// Jobs that reached a state: `verb`, `state`.
pub const JOBS_TOTAL: &str = "farrier_jobs_total";
/// Jobs that are in a state now: `verb`, `state`.
pub const JOBS: &str = "farrier_jobs";
/// How long attempts took from acceptance to result: `verb`, `outcome`.
pub const ATTEMPT_SECONDS: &str = "farrier_attempt_duration_seconds";
/// How long steps took: `verb`, `step`, `outcome`.
pub const STEP_SECONDS: &str = "farrier_step_duration_seconds";
/// How long jobs waited from submission to their first acceptance: `verb`.
pub const DISPATCH_SECONDS: &str = "farrier_dispatch_seconds";
/// Bytes that steps moved: `verb`, `step`.
pub const STEP_BYTES: &str = "farrier_step_bytes_total";
/// Nodes: `enrolment`, `alive`.
pub const NODES: &str = "farrier_nodes";
/// The age of the last word of every node's agent, when scraped.
pub const HEARTBEAT_AGE_SECONDS: &str = "farrier_heartbeat_age_seconds";
/// Jobs that wait: `reason`.
pub const WAITING_JOBS: &str = "farrier_waiting_jobs";
/// Age of the oldest wait: `reason`.
pub const WAIT_AGE_SECONDS: &str = "farrier_wait_age_seconds";
/// Messages that are not confirmed yet.
pub const OUTBOX_DEPTH: &str = "farrier_outbox_depth";
/// Messages that were put aside: `code`.
pub const DEAD_LETTERS: &str = "farrier_dead_letters_total";
/// Connections to the broker that were made after the first one: `role`.
pub const RECONNECTS: &str = "farrier_broker_reconnects_total";
/// 1 while connected to the broker: `role`.
pub const CONNECTED: &str = "farrier_broker_connected";
/// Commands that an agent took or refused: `verb`, `outcome`.
pub const COMMANDS_TOTAL: &str = "farrier_commands_total";
/// 1 while the agent carries out a command.
pub const BUSY: &str = "farrier_agent_busy";
/// Temporary URLs that were handed out: `outcome`, which is `reused` or `made`.
pub const TEMP_URLS: &str = "farrier_temp_urls_total";

/// Requests that the image server answered: `status`.
pub const IMAGE_REQUESTS: &str = "farrier_image_requests_total";
/// Bytes of images that the image server sent.
pub const IMAGE_BYTES: &str = "farrier_image_sent_bytes_total";
/// Bytes of files that were hashed to be served.
pub const IMAGE_HASHED_BYTES: &str = "farrier_image_hashed_bytes_total";
/// Images that were wanted from the image cache, and that left it: `outcome`.
pub const IMAGE_CACHE: &str = "farrier_image_cache_total";
/// Bytes of images in the image cache.
pub const IMAGE_CACHE_BYTES: &str = "farrier_image_cache_bytes";

/// Tells the recorder what each metric means.
pub(super) fn describe() {
    describe_counter!(JOBS_TOTAL, "Jobs that reached a state.");
    describe_gauge!(JOBS, "Jobs that are in a state now.");
    describe_histogram!(ATTEMPT_SECONDS, Unit::Seconds, "Time from acceptance to result of an attempt.");
    describe_histogram!(STEP_SECONDS, Unit::Seconds, "Time that a step took.");
    describe_histogram!(
        DISPATCH_SECONDS,
        Unit::Seconds,
        "Time from submission to first acceptance of a job."
    );
    describe_counter!(STEP_BYTES, Unit::Bytes, "Bytes that a step moved.");
    describe_gauge!(NODES, "Nodes, by enrolment and by whether their agent is alive.");
    describe_gauge!(
        HEARTBEAT_AGE_SECONDS,
        Unit::Seconds,
        "Age of the last word of an agent: min, median, max."
    );
    describe_gauge!(WAITING_JOBS, "Jobs that wait, by what for.");
    describe_gauge!(WAIT_AGE_SECONDS, Unit::Seconds, "Age of the oldest wait, by what for.");
    describe_gauge!(OUTBOX_DEPTH, "Messages that the broker has not confirmed yet.");
    describe_counter!(DEAD_LETTERS, "Messages that nobody could process, by code.");
    describe_counter!(RECONNECTS, "Connections to the broker made after the first.");
    describe_gauge!(CONNECTED, "1 while connected to the broker.");
    describe_counter!(COMMANDS_TOTAL, "Commands that the agent ended, by outcome.");
    describe_gauge!(BUSY, "1 while the agent carries out a command.");
    describe_counter!(TEMP_URLS, "Temporary URLs that were handed out, reused or made.");
    describe_counter!(IMAGE_REQUESTS, "Requests that the image server answered, by status.");
    describe_counter!(IMAGE_BYTES, Unit::Bytes, "Bytes of images that the image server sent.");
    describe_counter!(IMAGE_HASHED_BYTES, Unit::Bytes, "Bytes of files that were hashed to be served.");
    describe_counter!(IMAGE_CACHE, "Images that were reused, fetched or evicted in the image cache.");
    describe_gauge!(IMAGE_CACHE_BYTES, Unit::Bytes, "Bytes of images in the image cache.");
}
