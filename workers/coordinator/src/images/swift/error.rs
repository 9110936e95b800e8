//! Why there is no temporary URL.

use std::time::Duration;

use farrier::wire::{BadUrl, Coded, ErrorCode, SwiftObject};
use reqwest::StatusCode;

use crate::store::StoreError;

/// Why there is no temporary URL.
#[derive(Debug, thiserror::Error)]
pub enum SwiftError {
    /// No client can be made.
    #[error(
        "cannot make the HTTP client for Swift; is glance.swift_ca_file one or more certificates in PEM?"
    )]
    Client(#[source] reqwest::Error),
    /// There is no such object.
    #[error("there is no {object} in the account {account}; look with `swift stat {} {:?}`", object.container(), object.object())]
    NotFound {
        /// What was asked for.
        object: SwiftObject,
        /// Where.
        account: String,
    },
    /// Swift does not take what the key signs.
    #[error(
        "Swift answers {status} to a temporary URL of {object} that was signed just now; is glance.swift_temp_url_key one of \
         the two keys of the account {account}, does Swift allow the digest {digest}, and does its clock agree with this one?"
    )]
    Refused {
        /// What was asked for.
        object: SwiftObject,
        /// Where.
        account: String,
        /// By which digest it was signed.
        digest: &'static str,
        /// What Swift answered.
        status: StatusCode,
    },
    /// Swift answered what it never does.
    #[error(
        "Swift at {endpoint} answers {found} to a HEAD of {object}; expected 200 with a length and an ETag"
    )]
    BadAnswer {
        /// What was asked for.
        object: SwiftObject,
        /// Who was asked.
        endpoint: String,
        /// What it answered.
        found: String,
    },
    /// Swift cannot answer now.
    #[error("Swift at {endpoint} answers {status} to a HEAD of {object}, again and again")]
    Unavailable {
        /// What was asked for.
        object: SwiftObject,
        /// Who was asked.
        endpoint: String,
        /// What it answered last.
        status: StatusCode,
    },
    /// Swift cannot be reached.
    #[error("cannot reach Swift at {endpoint} to ask for {object}")]
    Connect {
        /// What was asked for.
        object: SwiftObject,
        /// Who was asked.
        endpoint: String,
        /// Why. Without the URL, which is signed.
        source: reqwest::Error,
    },
    /// Swift does not answer.
    #[error("Swift at {endpoint} has not answered to a HEAD of {object} within {waited:?}")]
    Silent {
        /// What was asked for.
        object: SwiftObject,
        /// Who was asked.
        endpoint: String,
        /// For how long it could.
        waited: Duration,
    },
    /// What was signed is no URL.
    #[error("the temporary URL of {object} cannot be used")]
    BadUrl {
        /// What was asked for.
        object: SwiftObject,
        /// Why.
        source: BadUrl,
    },
    /// The store of URLs cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Coded for SwiftError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::Client(_) => ErrorCode::BadConfig,
            Self::NotFound { .. } => ErrorCode::ImageNotFound,
            Self::Refused { .. } => ErrorCode::TempUrlRefused,
            Self::BadAnswer { .. } => ErrorCode::HttpStatus,
            Self::Unavailable { .. } => ErrorCode::HttpUnavailable,
            Self::Connect { .. } => ErrorCode::HttpConnect,
            Self::Silent { .. } => ErrorCode::HttpStalled,
            Self::BadUrl { .. } => ErrorCode::Internal,
            Self::Store(error) => error.code(),
        }
    }
}
