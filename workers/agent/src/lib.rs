//! The agent. It runs on a node, takes the commands of that node from RabbitMQ, carries them out one at a time, and says how
//! far it is and what came of them.
//!
//! ```text
//! farrier.node.<uuid> -> mailbox -(accepted)-> runner -> outbox -> farrier.events
//!                           |                    |
//!                        cancel, status       progress, heartbeat, hello (voice) -> farrier.events
//! ```

mod backoff;
pub mod config;
mod identity;
mod journal;
mod ledger;
mod mailbox;
mod operation;
mod outbox;
mod runner;
pub mod session;
mod voice;
