//! Where the broker is and who speaks to it.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use lapin::uri::{AMQPScheme, AMQPUri, SASLMechanism};
use serde::Deserialize;
use url::{Host, Url};

use crate::wire::{Coded, ErrorCode};

/// Seconds between heartbeats where the URL does not say: a peer that vanished is noticed after twice as long.
const HEARTBEAT_SECONDS: u16 = 20;
/// Largest frame in bytes where the URL does not say. lapin keeps 32 frames of buffer in each direction, and an agent
/// shall be small.
const FRAME_MAX: u32 = 32 * 1024;

/// What it takes to reach the broker.
#[derive(Clone, Debug)]
pub struct BrokerConfig {
    /// Host, login and virtual host.
    pub url: BrokerUrl,
    /// The authorities that may have signed the certificate of the broker, as PEM: these and no others. Without it,
    /// those of the system. Read again at each connection.
    pub ca: Option<PathBuf>,
    /// What operators of the broker see: the name of the process.
    pub connection_name: String,
}

/// An `amqp` or `amqps` URL. Printed without its password, in `Debug` too.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct BrokerUrl(AMQPUri);

/// A URL that does not name a broker. Holds no part of it that may be a password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not the URL of a broker: {reason}; expected amqp[s]://user:password@host:port/vhost")]
pub struct BadBrokerUrl {
    reason: String,
}

impl Coded for BadBrokerUrl {
    fn code(&self) -> ErrorCode {
        ErrorCode::BadConfig
    }
}

impl BrokerUrl {
    /// The login name.
    #[must_use]
    pub fn login(&self) -> &str {
        &self.0.authority.userinfo.username
    }

    /// The host, without brackets where it is an IPv6 address.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.0.authority.host
    }

    /// The port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.0.authority.port
    }

    /// The virtual host.
    #[must_use]
    pub fn vhost(&self) -> &str {
        &self.0.vhost
    }

    /// Whether the connection is encrypted.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        self.0.scheme == AMQPScheme::AMQPS
    }

    /// The name that the broker knows this client by, where that is the login name of the URL.
    pub(super) fn user_id(&self) -> Option<&str> {
        (self.0.query.auth_mechanism != Some(SASLMechanism::External)).then_some(self.login())
    }

    /// Everything, the password included: for the connection alone.
    pub(super) fn expose(&self) -> &AMQPUri {
        &self.0
    }
}

impl FromStr for BrokerUrl {
    type Err = BadBrokerUrl;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = |reason: &str| BadBrokerUrl { reason: reason.to_owned() };
        let url = Url::parse(text).map_err(|error| bad(&error.to_string()))?;
        if !matches!(url.scheme(), "amqp" | "amqps") {
            return Err(bad(&format!("its scheme is {:?}", url.scheme())));
        }
        // lapin takes `localhost` where there is no host and, silently, where the host is an IPv6 address.
        if url.host_str().is_none_or(str::is_empty) {
            return Err(bad("it has no host"));
        }
        let mut uri: AMQPUri = text.parse().map_err(|reason: String| bad(&reason))?;
        if let Some(Host::Ipv6(address)) = url.host() {
            uri.authority.host = address.to_string();
        }
        if uri.vhost.is_empty() && matches!(url.path(), "" | "/") {
            // `amqp://host/` is what people write for the default virtual host.
            uri.vhost = "/".into();
        }
        uri.query.heartbeat.get_or_insert(HEARTBEAT_SECONDS);
        uri.query.frame_max.get_or_insert(FRAME_MAX);
        Ok(Self(uri))
    }
}

impl TryFrom<String> for BrokerUrl {
    type Error = BadBrokerUrl;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl fmt::Display for BrokerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = self.host();
        let (open, close) = if host.contains(':') { ("[", "]") } else { ("", "") };
        let vhost = self.vhost().replace('/', "%2f");
        write!(f, "{}://{}@{open}{host}{close}:{}/{vhost}", self.0.scheme, self.login(), self.port())
    }
}

impl fmt::Debug for BrokerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_no_password() {
        let url: BrokerUrl = "amqps://agent:s3cret@rabbit.example/fleet".parse().unwrap();
        assert_eq!(format!("{url} {url:?}"), "amqps://agent@rabbit.example:5671/fleet ".repeat(2).trim());
        let config = BrokerConfig { url, ca: None, connection_name: "x".into() };
        assert!(!format!("{config:?}").contains("s3cret"));
    }

    #[test]
    fn an_ipv6_host_stays_one() {
        let url: BrokerUrl = "amqp://[fd00::1]:5673".parse().unwrap();
        assert_eq!((url.host(), url.port(), url.vhost()), ("fd00::1", 5673, "/"));
        assert_eq!(url.to_string(), "amqp://guest@[fd00::1]:5673/%2f");
    }

    #[test]
    fn what_is_no_broker_is_refused_without_a_word_of_it() {
        for text in ["amqp://", "http://u:s3cret@h/", "amqp:s3cret", "s3cret", "amqp://u:s3cret@h:99999/"] {
            let error = text.parse::<BrokerUrl>().unwrap_err();
            assert!(!error.to_string().contains("s3cret"), "{error}");
        }
    }

    #[test]
    fn a_trailing_slash_is_the_default_vhost() {
        for (text, vhost) in
            [("amqp://h", "/"), ("amqp://h/", "/"), ("amqp://h/%2f", "/"), ("amqp://h/a", "a")]
        {
            assert_eq!(text.parse::<BrokerUrl>().unwrap().vhost(), vhost, "{text}");
        }
    }
}
