//! What is wrong with a driver info.

use std::fmt;

use farrier::wire::{Coded, ErrorCode, ErrorReport};

/// A driver info that makes no sense: every key that does not fit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the driver info does not fit: {}", List(.bad))]
pub struct BadDriverInfo {
    bad: Vec<BadKey>,
}

/// A key that does not fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadKey {
    /// The key.
    pub key: String,
    /// What was expected, and what was found unless that may be a secret.
    pub reason: String,
}

impl BadDriverInfo {
    /// Puts faults together; none where there are none.
    pub(super) fn of(bad: Vec<BadKey>) -> Option<Self> {
        (!bad.is_empty()).then_some(Self { bad })
    }

    /// The keys, in the order in which they were found.
    #[must_use]
    pub fn bad(&self) -> &[BadKey] {
        &self.bad
    }
}

impl Coded for BadDriverInfo {
    fn code(&self) -> ErrorCode {
        ErrorCode::BadDriverInfo
    }

    fn report(&self) -> ErrorReport {
        let field = self.bad.first().map(|bad| format!("driver_info.{}", bad.key));
        ErrorReport { field, ..ErrorReport::new(self.code(), self.to_string()) }
    }
}

struct List<'a>(&'a [BadKey]);

impl fmt::Display for List<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, BadKey { key, reason }) in self.0.iter().enumerate() {
            let between = if place == 0 { "" } else { "; " };
            write!(f, "{between}`{key}`: {reason}")?;
        }
        Ok(())
    }
}
