//! Who this agent is.

use std::sync::Arc;
use std::time::Instant;

use chrono::{DateTime, Utc};
use farrier::wire::{Event, Origin, Payload};

/// The version of this agent.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Who this agent is, for as long as it runs. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    origin: Origin,
    hostname: String,
    started_at: DateTime<Utc>,
    started: Instant,
}

impl Identity {
    /// Begins a boot.
    pub(crate) fn new(origin: Origin, hostname: String) -> Self {
        let shared = Shared { origin, hostname, started_at: Utc::now(), started: Instant::now() };
        Self { shared: Arc::new(shared) }
    }

    /// The node, where it stands, and this boot.
    pub(crate) fn origin(&self) -> &Origin {
        &self.shared.origin
    }

    /// The hostname.
    pub(crate) fn hostname(&self) -> &str {
        &self.shared.hostname
    }

    /// When this boot began, by this machine's clock.
    pub(crate) fn started_at(&self) -> DateTime<Utc> {
        self.shared.started_at
    }

    /// Seconds since this boot began, by a clock that nobody sets.
    pub(crate) fn uptime_seconds(&self) -> u64 {
        self.shared.started.elapsed().as_secs()
    }

    /// Wraps what this agent says.
    pub(crate) fn event<T: Payload>(&self, data: T) -> Event<T> {
        let node = self.origin().node;
        Event::new(format!("/agents/{node}"), node.to_string(), data)
    }
}
