//! What can go wrong on the command line, and how it then ends.

use std::path::PathBuf;

use farrier::wire::{Coded, DecodeError, ErrorCode, ErrorReport};

use super::client::ClientError;
use super::exit::Exit;

/// Why a command was not done.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("{0}")]
    Spec(DecodeError),
    #[error("{flag} {given:?}: {reason}")]
    Flag { flag: &'static str, given: String, reason: String },
    #[error("cannot read {what} {}: {source}", path.display())]
    Unreadable { what: &'static str, path: PathBuf, source: std::io::Error },
    #[error("cannot write to standard output: {0}")]
    Output(#[from] std::io::Error),
    #[error("{0}")]
    Here(ErrorReport),
}

impl From<DecodeError> for Failure {
    fn from(error: DecodeError) -> Self {
        Self::Spec(error)
    }
}

impl Failure {
    pub(crate) fn flag(flag: &'static str, given: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Flag { flag, given: given.into(), reason: reason.into() }
    }

    /// Whether the reader of the output has gone away, as `head` does: no reason to complain.
    pub(crate) fn is_closed_pipe(&self) -> bool {
        matches!(self, Self::Output(error) if error.kind() == std::io::ErrorKind::BrokenPipe)
    }

    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Client(error) => error.exit(),
            Self::Spec(_) | Self::Flag { .. } | Self::Unreadable { .. } => Exit::Usage,
            Self::Output(_) | Self::Here(_) => Exit::Failed,
        }
    }

    /// The error for programs.
    pub(crate) fn report(&self) -> ErrorReport {
        match self {
            Self::Client(error) => error.report(),
            Self::Spec(error) => error.into(),
            Self::Flag { .. } => ErrorReport::new(ErrorCode::BadSchema, self.to_string()),
            Self::Unreadable { .. } => ErrorReport::new(ErrorCode::BadConfig, self.to_string()),
            Self::Output(_) => ErrorReport::new(ErrorCode::Internal, self.to_string()),
            Self::Here(report) => report.clone(),
        }
    }
}
