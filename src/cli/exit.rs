//! How `farrier` ends.

use std::fmt::Write as _;
use std::process::ExitCode;

/// The exit codes. Scripts branch on them: one never changes its meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Exit {
    Success = 0,
    Failed = 1,
    Usage = 2,
    Unavailable = 3,
    NotFound = 4,
}

impl Exit {
    const ALL: [Self; 5] = [Self::Success, Self::Failed, Self::Usage, Self::Unavailable, Self::NotFound];

    fn meaning(self) -> &'static str {
        match self {
            Self::Success => "done; what was watched has succeeded",
            Self::Failed => "a job or a handler failed, or was cancelled",
            Self::Usage => "wrong usage, or a request that the coordinator refuses",
            Self::Unavailable => "the coordinator cannot be reached, or has a fault",
            Self::NotFound => "there is no such node, job or message",
        }
    }

    /// What the codes mean, for the end of `--help`.
    pub(crate) fn help() -> String {
        let mut text = "Exit codes:".to_owned();
        for exit in Self::ALL {
            // Writing to a string cannot fail.
            let _ = write!(text, "\n  {}  {}", exit as u8, exit.meaning());
        }
        text
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}
