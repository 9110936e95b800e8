//! A real agent on a real broker, and a test in the place of its coordinator.

mod fresh_urls;
mod power;
mod station;
