//! The HTTP API over a real socket, with a real store. Every JSON answer is held against the OpenAPI document.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod access;
mod coordinator;
mod events;
mod images;
mod input;
mod jobs;
mod life;
mod nodes;
mod server;
