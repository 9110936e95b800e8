//! The image pipeline, from real and broken servers to disks full of old data.

#![expect(clippy::unwrap_used, reason = "what a test cannot set up, it cannot test")]

mod crash;
mod formats;
mod lab;
mod raw;
mod write;
