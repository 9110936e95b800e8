//! The states of a job and what leads from one to another: the one table. `docs/states.md` is drawn from it.

use std::fmt::Write as _;

use farrier::wire::api::JobState;

use self::Trigger::{
    Accept, CancelRequested, DeadlinePassed, Dispatch, Fail, Finish, LeaseLost, Resume, Retry, Stopped,
    Succeed,
};
use JobState::{
    Cancelled, Cancelling, Dispatched, Failed, Finishing, Interrupted, Queued, Running, Succeeded,
};

/// What happens to a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Trigger {
    /// The command of a new attempt is written to the outbox.
    Dispatch,
    /// The agent has taken the command.
    Accept,
    /// Heartbeats that name the command have stopped.
    LeaseLost,
    /// The same boot of the agent still carries the command out.
    Resume,
    /// The result says that it was done, and the machine is to be restarted.
    Finish,
    /// The result says that it was done, or the machine was restarted after it.
    Succeed,
    /// The attempt has failed, is lost or could not be prepared, and there is another one.
    Retry,
    /// The attempt has failed, is lost or could not be prepared, and there is no other one; or the machine could not be restarted.
    Fail,
    /// Somebody wants it to stop.
    CancelRequested,
    /// Its deadline has passed: the agent is told to stop.
    DeadlinePassed,
    /// It has stopped after somebody wanted that, or was given up waiting for it.
    Stopped,
}

impl Trigger {
    /// Every trigger there is.
    pub const ALL: &[Self] = &[
        Dispatch,
        Accept,
        LeaseLost,
        Resume,
        Finish,
        Succeed,
        Retry,
        Fail,
        CancelRequested,
        DeadlinePassed,
        Stopped,
    ];

    /// The trigger as text.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Dispatch => "dispatch",
            Accept => "accept",
            LeaseLost => "lease lost",
            Resume => "resume",
            Finish => "finish",
            Succeed => "succeed",
            Retry => "retry",
            Fail => "fail",
            CancelRequested => "cancel requested",
            DeadlinePassed => "deadline passed",
            Stopped => "stopped",
        }
    }

    fn meaning(self) -> &'static str {
        match self {
            Dispatch => "the command of a new attempt is written to the outbox",
            Accept => "the agent has taken the command",
            LeaseLost => "heartbeats that name the command have stopped",
            Resume => "the same boot of the agent still carries the command out",
            Finish => "the result says that it was done, and the machine is to be restarted",
            Succeed => "the result says that it was done, or the machine was restarted after it",
            Retry => "the attempt has failed, is lost or could not be prepared, and there is another one",
            Fail => {
                "the attempt has failed, is lost or could not be prepared, and there is no other one; or the machine could not be \
                 restarted"
            }
            CancelRequested => "somebody wants it to stop",
            DeadlinePassed => "its deadline has passed, and the agent is told to stop",
            Stopped => "it has stopped after somebody wanted that, or was given up waiting for it",
        }
    }
}

/// Every transition there is. What is not here cannot happen.
pub const TRANSITIONS: &[(JobState, Trigger, JobState)] = &[
    (Queued, Dispatch, Dispatched),
    (Queued, Retry, Queued),
    (Queued, Fail, Failed),
    (Queued, CancelRequested, Cancelled),
    (Dispatched, Accept, Running),
    // Events may come in another order than they were sent: a result before the `accepted`.
    (Dispatched, Succeed, Succeeded),
    (Dispatched, Finish, Finishing),
    (Dispatched, Retry, Queued),
    (Dispatched, Fail, Failed),
    (Dispatched, CancelRequested, Cancelling),
    (Dispatched, DeadlinePassed, Cancelling),
    (Running, Succeed, Succeeded),
    (Running, Finish, Finishing),
    (Running, Retry, Queued),
    (Running, Fail, Failed),
    (Running, LeaseLost, Interrupted),
    (Running, CancelRequested, Cancelling),
    (Running, DeadlinePassed, Cancelling),
    (Interrupted, Resume, Running),
    (Interrupted, Succeed, Succeeded),
    (Interrupted, Finish, Finishing),
    (Interrupted, Retry, Queued),
    (Interrupted, Fail, Failed),
    (Interrupted, CancelRequested, Cancelling),
    (Interrupted, DeadlinePassed, Cancelling),
    // It was done before the wish to cancel came.
    (Cancelling, Succeed, Succeeded),
    (Cancelling, Finish, Finishing),
    (Cancelling, Fail, Failed),
    (Cancelling, Stopped, Cancelled),
    // The image is on the disk for good; what may be left out is the restart.
    (Finishing, Succeed, Succeeded),
    (Finishing, Fail, Failed),
    (Finishing, CancelRequested, Cancelled),
];

/// The state that a trigger leads to; `None` when it cannot happen in this state.
#[must_use]
pub fn next(state: JobState, trigger: Trigger) -> Option<JobState> {
    TRANSITIONS.iter().find(|(from, by, _)| (*from, *by) == (state, trigger)).map(|(_, _, to)| *to)
}

/// `docs/states.md`, whole.
#[must_use]
pub fn states_markdown() -> String {
    let mut page = String::from(
        "<!-- Written by `cargo xtask schemas` from workers/coordinator/src/states.rs. -->\n\n# The states of a job\n\n```mermaid\nstateDiagram-v2\n    [*] --> queued\n",
    );
    for (from, trigger, to) in TRANSITIONS {
        // Writing to a string cannot fail.
        let _ = writeln!(page, "    {from} --> {to}: {}", trigger.as_str());
    }
    for state in JobState::ALL.iter().filter(|state| state.is_final()) {
        let _ = writeln!(page, "    {state} --> [*]");
    }
    page.push_str("```\n\n| trigger | what happens |\n|---|---|\n");
    for trigger in Trigger::ALL {
        let _ = writeln!(page, "| {} | {} |", trigger.as_str(), trigger.meaning());
    }
    page.push_str(
        "\nEvery state that waits says for what, since when and until when: `wait` of a job in the API, and the metrics \
         `farrier_waiting_jobs` and `farrier_wait_age_seconds`.\n\n\
         | state | waits for | until |\n|---|---|---|\n\
         | queued | `backoff`, `node_busy`, `power_on`, `agent` or `image` | the end of the backoff, else the deadline |\n\
         | dispatched | `accepted` | the command expires |\n\
         | interrupted | `heartbeat` | ten minutes, or the deadline where that is sooner |\n\
         | cancelling | `cancelled` | two leases |\n\
         | finishing | `power_off`, `boot_device`, `power_on` or `agent_gone` | the bounds of the management controller, \
         whatever the deadline: a machine is not left half restarted |\n",
    );
    page
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn no_trigger_leads_two_ways() {
        for (index, (from, trigger, _)) in TRANSITIONS.iter().enumerate() {
            let again = TRANSITIONS[index + 1..].iter().any(|(f, t, _)| (f, t) == (from, trigger));
            assert!(!again, "{from} by {trigger:?}");
        }
    }

    #[test]
    fn what_is_final_stays_so_and_everything_else_can_end() {
        for &state in JobState::ALL {
            let leads_on = Trigger::ALL.iter().any(|&trigger| next(state, trigger).is_some());
            assert_eq!(leads_on, !state.is_final(), "{state}");
            if !state.is_final() {
                assert!(
                    next(state, Fail).is_some_and(JobState::is_final),
                    "{state} cannot be given up: it could wait for ever"
                );
            }
        }
    }

    #[test]
    fn every_state_and_trigger_is_used() {
        for state in JobState::ALL {
            assert!(*state == Queued || TRANSITIONS.iter().any(|(_, _, to)| to == state), "{state}");
        }
        for trigger in Trigger::ALL {
            assert!(TRANSITIONS.iter().any(|(_, by, _)| by == trigger), "{trigger:?}");
        }
    }

    fn is_active(state: JobState) -> bool {
        matches!(state, Dispatched | Running | Interrupted | Cancelling | Finishing)
    }

    proptest! {
        #[test]
        fn whatever_happens_an_end_is_an_end_and_each_attempt_was_dispatched(
            triggers in prop::collection::vec(prop::sample::select(Trigger::ALL), 0..60)
        ) {
            let (mut state, mut begun, mut over) = (Queued, 0, 0);
            for trigger in triggers {
                let Some(new) = next(state, trigger) else { continue };
                prop_assert!(!state.is_final());
                begun += u32::from(trigger == Dispatch);
                over += u32::from(is_active(state) && !is_active(new));
                prop_assert_eq!(begun - over, u32::from(is_active(new)), "one attempt at a time");
                state = new;
            }
        }
    }
}
