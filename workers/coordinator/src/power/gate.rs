//! One power action at a time on a node, and one request at a time to its management controller.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use farrier::wire::NodeId;

/// The gates of the nodes that somebody is at.
#[derive(Debug, Default)]
pub(super) struct Gates(Mutex<HashMap<NodeId, Weak<Gate>>>);

/// The gate of one node.
#[derive(Debug, Default)]
pub(super) struct Gate {
    /// Held for a whole action, such as off and on again.
    pub(super) action: tokio::sync::Mutex<()>,
    /// Held for one request, so that the state can be read while an action waits for it to change. Controllers are small machines,
    /// and some mix up what is asked at the same time.
    pub(super) request: tokio::sync::Mutex<()>,
}

impl Gates {
    pub(super) fn of(&self, node: NodeId) -> Arc<Gate> {
        let mut gates = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(gate) = gates.get(&node).and_then(Weak::upgrade) {
            return gate;
        }
        gates.retain(|_, gate| gate.strong_count() > 0);
        let gate = Arc::new(Gate::default());
        gates.insert(node, Arc::downgrade(&gate));
        gate
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_node_has_one_gate_for_as_long_as_somebody_is_at_it() {
        let gates = Gates::default();
        let (one, other) = (NodeId::new(), NodeId::new());
        let gate = gates.of(one);
        let turn = gate.action.lock().await;
        assert!(gates.of(one).action.try_lock().is_err(), "two at once");
        assert!(gates.of(other).action.try_lock().is_ok(), "another node has to wait");
        drop(turn);
        assert!(gates.of(one).action.try_lock().is_ok());
        drop(gate);
        gates.of(other);
        assert_eq!(gates.0.lock().unwrap().len(), 1, "gates that nobody is at are kept");
    }
}
