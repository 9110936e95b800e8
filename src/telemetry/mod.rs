//! Logs and metrics of every worker.
//!
//! [`log::init`] sets tracing up, [`prometheus::install`] the recorder; [`names`] holds every metric name with its help.

pub mod log;
pub mod names;
pub mod prometheus;
