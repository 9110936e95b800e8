//! What can go wrong between Farrier and its broker.

use std::path::PathBuf;
use std::time::Duration;

use lapin::ErrorKind;

use crate::wire::{Coded, ErrorCode};

/// AMQP 0-9-1 reply codes that are told apart here (section 1.2 of the specification).
mod reply {
    pub(super) const ACCESS_REFUSED: u16 = 403;
    pub(super) const NOT_FOUND: u16 = 404;
    pub(super) const PRECONDITION_FAILED: u16 = 406;
    pub(super) const NOT_ALLOWED: u16 = 530;
}

/// Why no connection could be made.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ConnectError {
    /// The host has no address.
    #[error(
        "the name of the broker, {host}, has no address: {reason}; check the host in the URL and the name servers"
    )]
    NoAddress {
        /// The host asked for.
        host: String,
        /// What the resolver said.
        reason: String,
    },
    /// The file with the authorities cannot be used.
    #[error("the CA file {} cannot be used: {reason}; give a PEM file with at least one certificate", path.display())]
    BadCa {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// No CA file was named, and the system has no authorities of its own.
    #[error(
        "the certificate authorities of the system cannot be used: {reason}; name a CA file for the broker"
    )]
    NoAuthorities {
        /// What is wrong with them.
        reason: String,
    },
    /// No connection, or it ended before it was usable.
    #[error("the broker at {broker} cannot be reached: {reason}")]
    Unreachable {
        /// The URL, without its password.
        broker: String,
        /// What the network, TLS or the broker said.
        reason: String,
    },
    /// The broker did not finish the handshake.
    #[error("the broker at {broker} did not complete the handshake within {after:?}")]
    TimedOut {
        /// The URL, without its password.
        broker: String,
        /// The bound.
        after: Duration,
    },
    /// The broker refused the login or the virtual host.
    #[error(
        "the broker at {broker} refused user {login:?}: {reason}; check the user, its password and its permissions on the virtual host"
    )]
    Refused {
        /// The URL, without its password.
        broker: String,
        /// The login name.
        login: String,
        /// What the broker said.
        reason: String,
    },
    /// The exchanges and queues could not be declared.
    #[error(transparent)]
    Topology(#[from] BrokerError),
}

impl Coded for ConnectError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::BadCa { .. } | Self::NoAuthorities { .. } => ErrorCode::BadConfig,
            Self::Refused { .. } => ErrorCode::BrokerRefused,
            Self::Topology(error) => error.code(),
            Self::NoAddress { .. } | Self::Unreachable { .. } | Self::TimedOut { .. } => {
                ErrorCode::BrokerUnavailable
            }
        }
    }
}

/// Why a message is not known to be with the broker. It may be there all the same: publish it again with the same
/// `message_id`.
#[derive(Clone, Debug, thiserror::Error)]
pub enum PublishError {
    /// No queue takes the message, or there is no such exchange.
    #[error("no queue takes {routing_key:?} on exchange {exchange:?}: {reason}")]
    Unroutable {
        /// The exchange published to.
        exchange: String,
        /// The routing key published with.
        routing_key: String,
        /// What the broker said.
        reason: String,
    },
    /// The broker will not take it from this user, or as it is; trying again will not help.
    #[error(
        "the broker refuses {routing_key:?} on exchange {exchange:?}: {reason}; check the permissions of the user"
    )]
    Refused {
        /// The exchange published to.
        exchange: String,
        /// The routing key published with.
        routing_key: String,
        /// What the broker said.
        reason: String,
    },
    /// The broker could not take care of it now: a queue is full or has lost its majority. Try again later.
    #[error(
        "the broker did not take {routing_key:?} on exchange {exchange:?}: a queue is full or not available"
    )]
    Nacked {
        /// The exchange published to.
        exchange: String,
        /// The routing key published with.
        routing_key: String,
    },
    /// There is no connection, or it was lost before the confirm came.
    #[error("not connected to the broker: {reason}")]
    Disconnected {
        /// What is known about it.
        reason: String,
    },
    /// No confirm came in time.
    #[error("the broker did not confirm within {after:?}")]
    TimedOut {
        /// The bound.
        after: Duration,
    },
}

impl Coded for PublishError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::Refused { .. } => ErrorCode::BrokerRefused,
            _ => ErrorCode::BrokerUnavailable,
        }
    }
}

/// Why something other than publishing did not work.
#[derive(Clone, Debug, thiserror::Error)]
pub enum BrokerError {
    /// There is no connection, or it or its channel was lost.
    #[error("cannot {action}: there is no connection to the broker, or it has just failed: {reason}")]
    Disconnected {
        /// What was being done.
        action: String,
        /// What is known about it.
        reason: String,
    },
    /// No answer came in time.
    #[error("cannot {action}: the broker did not answer within {after:?}")]
    TimedOut {
        /// What was being done.
        action: String,
        /// The bound.
        after: Duration,
    },
    /// The user may not do it.
    #[error("cannot {action}: the broker refused it: {reason}; check the permissions of the user")]
    Refused {
        /// What was being done.
        action: String,
        /// What the broker said.
        reason: String,
    },
    /// An object of that name is there and is another.
    #[error(
        "cannot {action}: it is there with other properties: {reason}; remove it from the broker, once it is empty"
    )]
    Inequivalent {
        /// What was being done.
        action: String,
        /// What the broker said.
        reason: String,
    },
    /// There is no such object.
    #[error("cannot {action}: {reason}")]
    NotFound {
        /// What was being done.
        action: String,
        /// What the broker said.
        reason: String,
    },
    /// A message that was taken out could not be sent on; it is back where it was.
    #[error("cannot {action}: {cause}")]
    Publish {
        /// What was being done.
        action: String,
        /// Why it could not be sent on; it stands in the message already.
        cause: PublishError,
    },
}

impl Coded for BrokerError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::Disconnected { .. } | Self::TimedOut { .. } => ErrorCode::BrokerUnavailable,
            Self::Refused { .. } => ErrorCode::BrokerRefused,
            Self::Inequivalent { .. } => ErrorCode::Conflict,
            Self::NotFound { .. } => ErrorCode::NotFound,
            Self::Publish { cause, .. } => cause.code(),
        }
    }
}

/// The acknowledgement did not reach the broker: its connection or channel is gone. The message will come again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the acknowledgement was lost with its connection: the message will come again")]
pub struct AckLost;

impl Coded for AckLost {
    fn code(&self) -> ErrorCode {
        ErrorCode::BrokerUnavailable
    }
}

impl ConnectError {
    pub(super) fn from_lapin(error: &lapin::Error, broker: String, login: &str) -> Self {
        let reason = reason(error);
        match reply_code(error) {
            Some(reply::ACCESS_REFUSED | reply::NOT_ALLOWED) => {
                Self::Refused { broker, login: login.to_owned(), reason }
            }
            _ => Self::Unreachable { broker, reason },
        }
    }
}

impl PublishError {
    pub(super) fn from_lapin(error: &lapin::Error, exchange: &str, routing_key: &str) -> Self {
        let (exchange, routing_key, reason) = (exchange.to_owned(), routing_key.to_owned(), reason(error));
        match reply_code(error) {
            Some(reply::NOT_FOUND) => Self::Unroutable { exchange, routing_key, reason },
            Some(reply::ACCESS_REFUSED | reply::PRECONDITION_FAILED) => {
                Self::Refused { exchange, routing_key, reason }
            }
            _ => Self::Disconnected { reason },
        }
    }
}

impl BrokerError {
    pub(super) fn from_lapin(error: &lapin::Error, action: impl Into<String>) -> Self {
        let (action, reason) = (action.into(), reason(error));
        match reply_code(error) {
            Some(reply::NOT_FOUND) => Self::NotFound { action, reason },
            Some(reply::ACCESS_REFUSED) => Self::Refused { action, reason },
            Some(reply::PRECONDITION_FAILED) => Self::Inequivalent { action, reason },
            _ => Self::Disconnected { action, reason },
        }
    }
}

/// The code of an error that the broker itself sent.
fn reply_code(error: &lapin::Error) -> Option<u16> {
    match error.kind() {
        ErrorKind::ProtocolError(error) => Some(error.get_id()),
        _ => None,
    }
}

/// The error in one sentence, without the wrappings of the library.
pub(super) fn reason(error: &lapin::Error) -> String {
    match error.kind() {
        ErrorKind::ProtocolError(error) => error.get_message().to_string(),
        ErrorKind::IOError(error) => error.to_string(),
        _ => error.to_string(),
    }
}
