//! Images that the coordinator serves itself: what may be published, what is answered, and what is never shown.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod asking;
mod fetching;
mod handing;
mod lab;
mod publish;
mod serving;
