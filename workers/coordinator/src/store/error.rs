//! What the store says when it cannot.

use farrier::wire::{Coded, ErrorCode};

use crate::driver_info::BadDriverInfo;
use crate::vault::{KeyMissing, Unreadable};

/// Why the store did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// There is no such node.
    #[error("there is no node {node:?}; give the UUID or the name of one that `farrier node list` shows")]
    UnknownNode {
        /// What was asked for.
        node: String,
    },
    /// There is no such job.
    #[error("there is no job {job}")]
    UnknownJob {
        /// What was asked for.
        job: String,
    },
    /// There is no such entry in the catalogue.
    #[error("the image {image} is not registered; `farrier image list` shows those that are")]
    UnknownImage {
        /// What was asked for.
        image: uuid::Uuid,
    },
    /// The node has not been enrolled.
    #[error("node {node} was discovered but not enrolled, and takes no jobs; enrol it first")]
    NotEnrolled {
        /// The node.
        node: String,
    },
    /// The node has no inventory.
    #[error("node {node} has no inventory yet; submit an inspect job")]
    NotInspected {
        /// The node.
        node: String,
    },
    /// The request contradicts what is there.
    #[error("{reason}")]
    Conflict {
        /// What is there, and what to do.
        reason: String,
    },
    /// A field does not fit.
    #[error("the field `{field}` does not fit: {reason}")]
    BadField {
        /// The field.
        field: &'static str,
        /// What was expected and found.
        reason: String,
    },
    /// The driver info that a node would have does not fit.
    #[error(transparent)]
    BadDriverInfo(#[from] BadDriverInfo),
    /// What was given for a secret is what is shown in its place.
    #[error(
        "the field `{field}` does not fit: this is not the secret but what is shown in its place; give the secret itself, or leave \
         the field out to keep the one that is there"
    )]
    StandIn {
        /// The field.
        field: String,
    },
    /// A secret was given, and there is nothing to seal it with.
    #[error("the field `{field}` holds a secret, and {why}")]
    SecretKeyMissing {
        /// The field.
        field: String,
        /// What to do.
        why: KeyMissing,
    },
    /// A secret in the store cannot be opened.
    #[error("{what} cannot be read: {why}")]
    SecretUnreadable {
        /// What it is, and whose.
        what: String,
        /// Why, and what to do.
        why: Unreadable,
    },
    /// There is no room on the disk of the store.
    #[error(
        "the store is full: free space on its file system; nothing was lost and what waits is tried again"
    )]
    Full(#[source] sqlx::Error),
    /// The store cannot be read or written.
    #[error("the store cannot be used")]
    Unavailable(#[source] sqlx::Error),
    /// The store cannot be brought to the version of this coordinator.
    #[error("the store cannot be migrated; is it of a newer coordinator?")]
    Migration(#[source] sqlx::migrate::MigrateError),
}

impl Coded for StoreError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::UnknownNode { .. } => ErrorCode::UnknownNode,
            Self::UnknownJob { .. } => ErrorCode::UnknownJob,
            Self::UnknownImage { .. } => ErrorCode::ImageNotFound,
            Self::NotEnrolled { .. } => ErrorCode::NotEnrolled,
            Self::NotInspected { .. } => ErrorCode::NotFound,
            Self::Conflict { .. } => ErrorCode::Conflict,
            Self::BadDriverInfo(error) => error.code(),
            Self::BadField { .. } | Self::StandIn { .. } => ErrorCode::BadSchema,
            Self::SecretKeyMissing { why, .. } => why.code(),
            Self::SecretUnreadable { why, .. } => why.code(),
            Self::Full(_) => ErrorCode::StoreFull,
            Self::Unavailable(_) | Self::Migration(_) => ErrorCode::StoreUnavailable,
        }
    }

    fn report(&self) -> farrier::wire::ErrorReport {
        if let Self::BadDriverInfo(error) = self {
            return error.report();
        }
        let mut report = farrier::wire::ErrorReport::new(self.code(), self.to_string());
        match self {
            Self::BadField { field, .. } => report.field = Some((*field).to_owned()),
            Self::StandIn { field } | Self::SecretKeyMissing { field, .. } => {
                report.field = Some(field.clone())
            }
            Self::Full(source) | Self::Unavailable(source) => {
                report.message = format!("{}: {source}", report.message);
            }
            Self::Migration(source) => report.message = format!("{}: {source}", report.message),
            _ => {}
        }
        report
    }
}

impl StoreError {
    /// Whether the store itself is at fault, and the same request may succeed later.
    #[must_use]
    pub fn is_of_the_store(&self) -> bool {
        matches!(self, Self::Full(_) | Self::Unavailable(_) | Self::Migration(_))
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        // SQLite's extended result codes (<https://sqlite.org/rescode.html>): FULL, IOERR_WRITE, IOERR_FSYNC, IOERR_SHMSIZE.
        // The last three are what a full file system looks like where SQLite does not see ENOSPC itself.
        let code = error.as_database_error().and_then(|error| error.code());
        match code.as_deref() {
            Some("13" | "778" | "1034" | "4874") => Self::Full(error),
            _ => Self::Unavailable(error),
        }
    }
}
