//! The agent. It runs on a node, takes the commands of that node from RabbitMQ, carries them out one at a time, and says how
//! far it is and what came of them.
//!
//! ```text
//! farrier.node.<uuid> -> mailbox -(accepted)-> runner -> outbox -> farrier.events
//!                           |                    |
//!              cancel, status, fresh URLs     progress, heartbeat, hello (voice) -> farrier.events
//! ```

mod afterwards;
mod backoff;
pub mod config;
mod fresh_urls;
mod identity;
mod journal;
mod ledger;
mod machine;
mod mailbox;
mod operation;
mod outbox;
mod runner;
pub mod session;
mod voice;
