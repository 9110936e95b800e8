//! What happens, for those who watch it live.

use farrier::wire::api::StreamEvent;
use tokio::sync::broadcast;

/// Events that a slow reader may be behind before it misses some.
const BEHIND: usize = 4096;

/// Events as they happen. Cheap to clone; all clones are the same feed.
#[derive(Clone, Debug)]
pub struct Feed {
    events: broadcast::Sender<StreamEvent>,
}

impl Feed {
    /// A feed without readers.
    #[must_use]
    pub fn new() -> Self {
        Self { events: broadcast::Sender::new(BEHIND) }
    }

    /// Tells those who read now.
    pub fn publish(&self, event: StreamEvent) {
        // Without readers there is nobody to tell.
        let _ = self.events.send(event);
    }

    /// Events from now on.
    #[must_use]
    pub fn subscribe(&self) -> broadcast::Receiver<StreamEvent> {
        self.events.subscribe()
    }
}

impl Default for Feed {
    fn default() -> Self {
        Self::new()
    }
}
