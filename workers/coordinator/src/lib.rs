//! The coordinator. It takes jobs in, turns them into commands, and follows the fleet by what agents say.
//!
//! ```text
//! farrier.jobs -> intake --+                  +-> relay -> farrier.commands, farrier.events
//! HTTP ---------> api -----+-> store (outbox) +
//! farrier.events -> inbox -+       ^
//!                      scheduler, conductor -> image servers, management controllers
//! ```
//!
//! The [`store`] is the truth; every other part reads it, changes it, and may be started again at any moment.

pub mod api;
mod conductor;
pub mod config;
pub mod coordinator;
pub mod driver_info;
pub mod feed;
mod gauges;
pub mod images;
mod inbox;
mod intake;
mod listen;
pub mod power;
mod relay;
mod scheduler;
pub mod states;
pub mod store;
pub mod vault;
