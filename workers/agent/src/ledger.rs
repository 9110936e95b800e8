//! What this boot of the agent has seen: the fence against old, repeated and reordered commands.

use std::collections::{HashMap, HashSet, VecDeque};

use chrono::{DateTime, Utc};
use farrier::wire::{
    Afterwards, BootId, CommandId, CommandRef, ErrorCode, ErrorReport, JobId, NodeId, RunCommand,
};

/// How many jobs are remembered. A node sees a handful in one boot; the bound is there for a sender that went mad.
const REMEMBERED: usize = 4096;

/// What to do with a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Take it.
    Accept,
    /// It was taken before: nothing is to be done, its result has been or will be sent.
    Duplicate,
    /// Refuse it with a result that says why.
    Reject(ErrorReport),
    /// A cancel came before the command itself.
    CancelledBefore,
}

/// What the agent is doing when a command comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Occupation {
    /// Nothing.
    Idle,
    /// It carries out a command.
    Busy(CommandRef),
    /// It is about to end, or the power of its machine to be switched.
    Draining,
}

/// Remembers the newest attempt of each job and the commands that were cancelled.
#[derive(Debug)]
pub(crate) struct Ledger {
    node: NodeId,
    boot: BootId,
    newest: HashMap<JobId, CommandRef>,
    order: VecDeque<JobId>,
    cancelled: HashSet<CommandId>,
    cancelled_order: VecDeque<CommandId>,
}

impl Ledger {
    /// An empty ledger of one boot.
    pub(crate) fn new(node: NodeId, boot: BootId) -> Self {
        Self {
            node,
            boot,
            newest: HashMap::new(),
            order: VecDeque::new(),
            cancelled: HashSet::new(),
            cancelled_order: VecDeque::new(),
        }
    }

    /// Judges a command. Changes nothing: see [`Ledger::took`].
    pub(crate) fn judge(&self, command: &RunCommand, occupation: Occupation, now: DateTime<Utc>) -> Verdict {
        let reject = |code, message: String| Verdict::Reject(ErrorReport::new(code, message));
        let asked = command.reference;
        if command.node != self.node {
            return reject(
                ErrorCode::WrongNode,
                format!("command {} is for node {}, this is node {}", asked.command, command.node, self.node),
            );
        }
        if command.boot_id != self.boot {
            return reject(
                ErrorCode::StaleBoot,
                format!(
                    "command {} was meant for boot {} of the agent, this is boot {}; send a new attempt",
                    asked.command, command.boot_id, self.boot
                ),
            );
        }
        if let Some(seen) = self.newest.get(&asked.job) {
            if seen.command == asked.command {
                return Verdict::Duplicate;
            }
            if seen.attempt >= asked.attempt {
                return reject(
                    ErrorCode::StaleAttempt,
                    format!(
                        "attempt {} of job {} is not newer than attempt {}, which this agent has seen",
                        asked.attempt, asked.job, seen.attempt
                    ),
                );
            }
        }
        if self.cancelled.contains(&asked.command) {
            return Verdict::CancelledBefore;
        }
        if command.afterwards == Afterwards::Unknown {
            let message = format!(
                "command {} says that something is to be done afterwards that this agent does not know; expected stay, flush, power_off or reboot: start a newer agent",
                asked.command
            );
            let field = Some("data.afterwards".to_owned());
            return Verdict::Reject(ErrorReport { field, ..ErrorReport::new(ErrorCode::BadSchema, message) });
        }
        if now >= command.expires_at {
            return reject(
                ErrorCode::Expired,
                format!(
                    "command {} was to begin before {}, and it is {now}; check the clocks if it came at once",
                    asked.command, command.expires_at
                ),
            );
        }
        match occupation {
            Occupation::Idle => Verdict::Accept,
            Occupation::Busy(running) => reject(
                ErrorCode::Busy,
                format!(
                    "the agent is carrying out attempt {} of job {}; one operation at a time",
                    running.attempt, running.job
                ),
            ),
            Occupation::Draining => reject(
                ErrorCode::Draining,
                "the agent takes no command any more: it is about to end, or the power of its machine to be switched"
                    .into(),
            ),
        }
    }

    /// Remembers a command that was accepted or refused for good.
    pub(crate) fn took(&mut self, command: CommandRef) {
        if self.newest.insert(command.job, command).is_none() {
            self.order.push_back(command.job);
            if self.order.len() > REMEMBERED
                && let Some(oldest) = self.order.pop_front()
            {
                self.newest.remove(&oldest);
            }
        }
    }

    /// Remembers that a command shall not be begun, should it still come.
    pub(crate) fn cancelled(&mut self, command: CommandId) {
        if self.cancelled.insert(command) {
            self.cancelled_order.push_back(command);
            if self.cancelled_order.len() > REMEMBERED
                && let Some(oldest) = self.cancelled_order.pop_front()
            {
                self.cancelled.remove(&oldest);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;
    use farrier::wire::{NoopSpec, Work};

    use super::*;

    fn ledger() -> (Ledger, RunCommand) {
        let (node, boot) = (NodeId::new(), BootId::new());
        let command = RunCommand {
            reference: CommandRef { job: JobId::new(), command: CommandId::new(), attempt: 2 },
            node,
            boot_id: boot,
            expires_at: Utc::now() + TimeDelta::minutes(1),
            afterwards: Afterwards::Stay,
            work: Work::Noop(NoopSpec {}),
        };
        (Ledger::new(node, boot), command)
    }

    fn code(verdict: Verdict) -> ErrorCode {
        match verdict {
            Verdict::Reject(error) => error.code,
            other => panic!("not rejected: {other:?}"),
        }
    }

    #[test]
    fn takes_a_command_once() {
        let (mut ledger, command) = ledger();
        assert_eq!(ledger.judge(&command, Occupation::Idle, Utc::now()), Verdict::Accept);
        ledger.took(command.reference);
        assert_eq!(ledger.judge(&command, Occupation::Idle, Utc::now()), Verdict::Duplicate);
        assert_eq!(
            ledger.judge(&command, Occupation::Busy(command.reference), Utc::now()),
            Verdict::Duplicate
        );
    }

    #[test]
    fn refuses_an_attempt_that_is_not_newer() {
        let (mut ledger, mut command) = ledger();
        ledger.took(command.reference);
        for (attempt, taken) in [(1, false), (2, false), (3, true)] {
            command.reference = CommandRef { attempt, command: CommandId::new(), ..command.reference };
            match ledger.judge(&command, Occupation::Idle, Utc::now()) {
                Verdict::Accept => assert!(taken, "attempt {attempt}"),
                verdict => {
                    assert_eq!((code(verdict), taken), (ErrorCode::StaleAttempt, false), "attempt {attempt}")
                }
            }
        }
    }

    #[test]
    fn refuses_what_is_for_another_or_too_late() {
        let (ledger, command) = ledger();
        let other_node = RunCommand { node: NodeId::new(), ..command.clone() };
        assert_eq!(code(ledger.judge(&other_node, Occupation::Idle, Utc::now())), ErrorCode::WrongNode);
        let other_boot = RunCommand { boot_id: BootId::new(), ..command.clone() };
        assert_eq!(code(ledger.judge(&other_boot, Occupation::Idle, Utc::now())), ErrorCode::StaleBoot);
        assert_eq!(code(ledger.judge(&command, Occupation::Idle, command.expires_at)), ErrorCode::Expired);
    }

    #[test]
    fn refuses_what_shall_come_after_it_when_that_is_not_known() {
        let (ledger, command) = ledger();
        let strange = RunCommand { afterwards: Afterwards::Unknown, ..command };
        match ledger.judge(&strange, Occupation::Idle, Utc::now()) {
            Verdict::Reject(error) => {
                assert_eq!(error.code, ErrorCode::BadSchema);
                assert_eq!(error.field.as_deref(), Some("data.afterwards"));
            }
            other => panic!("not rejected: {other:?}"),
        }
    }

    #[test]
    fn refuses_a_second_operation_and_any_while_draining() {
        let (ledger, command) = ledger();
        let running = CommandRef { job: JobId::new(), command: CommandId::new(), attempt: 1 };
        assert_eq!(code(ledger.judge(&command, Occupation::Busy(running), Utc::now())), ErrorCode::Busy);
        assert_eq!(code(ledger.judge(&command, Occupation::Draining, Utc::now())), ErrorCode::Draining);
    }

    #[test]
    fn does_not_begin_what_was_cancelled_before_it_came() {
        let (mut ledger, command) = ledger();
        ledger.cancelled(command.reference.command);
        assert_eq!(ledger.judge(&command, Occupation::Idle, Utc::now()), Verdict::CancelledBefore);
    }

    #[test]
    fn forgets_the_oldest_alone() {
        let (mut ledger, command) = ledger();
        ledger.took(command.reference);
        for _ in 0..REMEMBERED {
            ledger.took(CommandRef { job: JobId::new(), command: CommandId::new(), attempt: 1 });
        }
        assert_eq!(ledger.newest.len(), REMEMBERED);
        assert_eq!(ledger.judge(&command, Occupation::Idle, Utc::now()), Verdict::Accept);
    }
}
