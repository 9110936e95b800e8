//! The store and the rules in it, without a broker: a real database on a file, and agents that are no more than what they say.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod errands;
mod full;
mod jobs;
mod lab;
mod secrets;
mod temp_urls;
mod words;
