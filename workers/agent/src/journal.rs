//! Lines for people, beside the log of the machine: what was begun, ended and refused. Only the newest matter, so one that
//! finds no room or no broker is dropped.

use farrier::broker::{Broker, Outgoing};
use farrier::wire::{Coded as _, CommandRef, Log};
use tokio::sync::mpsc;
use tracing::debug;

use crate::identity::Identity;

/// Lines that may wait for the broker.
const WAITING: usize = 64;

/// Takes lines. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Journal {
    lines: mpsc::Sender<Line>,
}

/// One line.
#[derive(Debug)]
pub(crate) struct Line {
    level: &'static str,
    message: String,
    command: CommandRef,
}

/// A journal, and what [`run`] publishes from.
pub(crate) fn journal() -> (Journal, mpsc::Receiver<Line>) {
    let (lines, unsaid) = mpsc::channel(WAITING);
    (Journal { lines }, unsaid)
}

impl Journal {
    /// Says something about a command.
    pub(crate) fn info(&self, command: CommandRef, message: String) {
        self.say("info", command, message);
    }

    /// Says something about a command that somebody should look at.
    pub(crate) fn warn(&self, command: CommandRef, message: String) {
        self.say("warn", command, message);
    }

    fn say(&self, level: &'static str, command: CommandRef, message: String) {
        if self.lines.try_send(Line { level, message, command }).is_err() {
            debug!("A line of the journal was dropped.");
        }
    }
}

/// Publishes lines, until the agent ends.
pub(crate) async fn run(mut unsaid: mpsc::Receiver<Line>, identity: Identity, broker: Broker) {
    while let Some(Line { level, message, command }) = unsaid.recv().await {
        let event = identity.event(Log {
            origin: identity.origin().clone(),
            level: level.to_owned(),
            message,
            command: Some(command),
        });
        let line = Outgoing::agent_event(&event, identity.origin()).about(command.command);
        if let Err(error) = broker.publish(line).await {
            debug!(error = %error.report(), "A line of the journal was lost.");
        }
    }
}
