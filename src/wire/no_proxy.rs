//! Which servers are reached without a proxy.

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::{IpNet, Ipv4Net};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use url::Host;

/// The servers that are reached without a proxy: entries with commas between them.
///
/// An entry is a host name, which stands for its subdomains too, with or without a dot before it; an IP address; a network in CIDR
/// notation; or `*` for everything. Each may have a `:port`, and is then about that port alone. IPv6 addresses and networks may
/// have brackets and need them before a port.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct NoProxy {
    text: String,
    rules: Vec<Rule>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Rule {
    hosts: Hosts,
    /// Any where absent.
    port: Option<u16>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Hosts {
    Any,
    /// A domain in lower case, without a dot at either end, and all below it.
    Domain(String),
    /// An address is a network of one.
    Network(IpNet),
}

/// An entry that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "no server or network: {entry:?} ({reason}); expected a host name, an IP address, a network like 10.0.0.0/8 or *, each with an optional :port, and commas between them"
)]
pub struct BadNoProxy {
    entry: String,
    reason: &'static str,
}

impl NoProxy {
    /// Whether the server `host` is reached without a proxy on `port`.
    #[must_use]
    pub fn bypasses(&self, host: &Host<&str>, port: u16) -> bool {
        self.rules
            .iter()
            .any(|rule| rule.port.is_none_or(|expected| expected == port) && rule.hosts.contain(host))
    }

    /// Whether there is no entry.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }
}

impl Hosts {
    fn contain(&self, host: &Host<&str>) -> bool {
        let address: IpAddr = match (self, host) {
            (Self::Any, _) => return true,
            (Self::Domain(domain), Host::Domain(name)) => return is_within(name, domain),
            (Self::Network(_), Host::Ipv4(address)) => (*address).into(),
            (Self::Network(_), Host::Ipv6(address)) => (*address).into(),
            (Self::Domain(_), _) | (Self::Network(_), Host::Domain(_)) => return false,
        };
        matches!(self, Self::Network(network) if network.contains(&address.to_canonical()))
    }
}

/// Whether `name` is `domain` or lies below it.
fn is_within(name: &str, domain: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    name.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

impl FromStr for NoProxy {
    type Err = BadNoProxy;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let entries = text.split(',').map(str::trim).filter(|entry| !entry.is_empty());
        let rules = entries
            .map(|entry| read(entry).map_err(|reason| BadNoProxy { entry: entry.to_owned(), reason }))
            .collect::<Result<_, _>>()?;
        Ok(Self { text: text.to_owned(), rules })
    }
}

fn read(entry: &str) -> Result<Rule, &'static str> {
    // Without brackets the last group of an IPv6 address would be taken for a port.
    let whole = read_network(entry).map(|network| (Hosts::Network(network), None));
    let (hosts, port) = match whole {
        Some(rule) => rule,
        None => {
            let (host, port) = split_port(entry)?;
            (read_host(host)?, port)
        }
    };
    Ok(Rule { hosts, port })
}

fn split_port(entry: &str) -> Result<(&str, Option<u16>), &'static str> {
    match entry.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => {
            let digits = port.bytes().all(|byte| byte.is_ascii_digit());
            let port = port.parse().ok().filter(|port| digits && *port != 0);
            Ok((host, Some(port.ok_or("the port is no number from 1 to 65535")?)))
        }
        _ => Ok((entry, None)),
    }
}

fn read_host(text: &str) -> Result<Hosts, &'static str> {
    if text == "*" {
        return Ok(Hosts::Any);
    }
    if let Some(network) = read_network(text) {
        return Ok(Hosts::Network(network));
    }
    if text.contains(['/', ':', '[', ']']) {
        return Err("this is neither a network nor an IPv6 address");
    }
    let name = text.strip_prefix('.').unwrap_or(text);
    match Host::parse(name.strip_suffix('.').unwrap_or(name)).map_err(|_| "this is no host name")? {
        Host::Domain(domain) if is_name(&domain) => Ok(Hosts::Domain(domain.to_ascii_lowercase())),
        // As URLs have them too: 127.1 is 127.0.0.1.
        Host::Ipv4(address) if name == text => Ok(Hosts::Network(IpAddr::from(address).into())),
        _ => Err("this is no host name"),
    }
}

/// Underscores are in names that people use, whatever the standards say.
fn is_name(domain: &str) -> bool {
    let is_label = |label: &str| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        (1..=63).contains(&label.len()) && label.bytes().all(plain)
    };
    domain.len() <= 253 && domain.split('.').all(is_label)
}

/// An address or a network, with or without brackets; a port is not read.
fn read_network(text: &str) -> Option<IpNet> {
    let text = match text.strip_prefix('[') {
        // [fd00::]/8 as well as [fd00::/8].
        Some(bracketed) => {
            let (inner, behind) = bracketed.split_once(']')?;
            // Brackets are for IPv6; what begins with a colon behind them is a port.
            let plain = inner.contains(':') && (behind.is_empty() || behind.starts_with('/'));
            plain.then(|| format!("{inner}{behind}"))?
        }
        None => text.to_owned(),
    };
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some(address.to_canonical().into());
    }
    text.parse().ok().map(canonical)
}

/// A network of IPv4 addresses written as IPv6 ones is one of IPv4 addresses.
fn canonical(network: IpNet) -> IpNet {
    let IpNet::V6(v6) = network else { return network };
    let v4 = v6.addr().to_ipv4_mapped().zip(v6.prefix_len().checked_sub(96));
    v4.and_then(|(address, prefix)| Ipv4Net::new(address, prefix).ok()).map_or(network, IpNet::V4)
}

impl TryFrom<String> for NoProxy {
    type Error = BadNoProxy;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<NoProxy> for String {
    fn from(list: NoProxy) -> Self {
        list.text
    }
}

impl fmt::Display for NoProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl JsonSchema for NoProxy {
    fn schema_name() -> Cow<'static, str> {
        "NoProxy".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "Servers that are reached without a proxy, with commas between them: host names, which stand for their subdomains too, IP addresses, networks in CIDR notation, or `*`; each with an optional `:port`."
        })
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use proptest::prelude::*;
    use url::Url;

    use super::*;

    fn bypasses(list: &str, url: &str) -> bool {
        let url = Url::parse(url).unwrap();
        let list: NoProxy = list.parse().unwrap();
        list.bypasses(&url.host().unwrap(), url.port_or_known_default().unwrap())
    }

    #[test]
    fn each_kind_of_entry_is_about_what_it_says_and_no_more() {
        for (list, inside, outside) in [
            (
                "example.org",
                &["http://example.org", "http://EXAMPLE.org.", "https://a.b.example.org:8080"][..],
                &["http://notexample.org", "http://example.org.evil.net", "http://org"][..],
            ),
            (".example.org", &["http://example.org", "http://a.example.org"], &["http://notexample.org"]),
            ("Example.ORG.:80", &["http://example.org", "http://a.example.org:80"], &["https://example.org"]),
            ("localhost", &["http://localhost:81"], &["http://127.0.0.1"]),
            ("10.1.2.3", &["http://10.1.2.3:9", "http://[::ffff:10.1.2.3]"], &["http://10.1.2.30"]),
            ("10.1.2.3:9", &["http://10.1.2.3:9"], &["http://10.1.2.3"]),
            ("127.1", &["http://127.0.0.1"], &["http://127.0.0.2"]),
            ("10.1.2.3/8", &["http://10.255.0.1"], &["http://11.0.0.1", "http://10.example.org"]),
            ("10.0.0.0/8:443", &["https://10.9.9.9"], &["http://10.9.9.9", "https://11.0.0.1"]),
            ("fd00::1", &["http://[fd00::1]:7"], &["http://[fd00::2]"]),
            ("[fd00::1]", &["http://[FD00:0::1]"], &["http://[fd00::11]"]),
            ("[fd00::1]:443", &["https://[fd00::1]"], &["http://[fd00::1]"]),
            ("fd00::/8", &["http://[fdff::1]"], &["http://[fe00::1]"]),
            (
                "[fd00::/8]:80,[fd00::]/8:81",
                &["http://[fd00::1]", "http://[fd01::1]:81"],
                &["http://[fd01::1]:82"],
            ),
            ("::ffff:10.0.0.0/104", &["http://10.9.9.9", "http://[::ffff:10.9.9.9]"], &["http://11.9.9.9"]),
            ("*", &["http://example.org", "https://[::1]:5", "http://1.2.3.4"], &[]),
            ("*:81", &["http://example.org:81"], &["http://example.org"]),
            (" , a.net ,, b.net:80 , ", &["http://a.net", "http://b.net"], &["http://b.net:81"]),
            ("bücher.example", &["http://xn--bcher-kva.example"], &["http://bucher.example"]),
            ("my_host", &["http://my_host"], &["http://myhost"]),
            ("", &[], &["http://localhost"]),
        ] {
            for url in inside {
                assert!(bypasses(list, url), "{list:?} is about {url}");
            }
            for url in outside {
                assert!(!bypasses(list, url), "{list:?} is not about {url}");
            }
        }
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        for entry in [
            "*.example.org",
            "example..org",
            "..example.org",
            "example.org:0",
            "example.org:65536",
            "example.org:+80",
            "example.org:",
            ".",
            ".10.0.0.1",
            "10.0.0.0/33",
            "[10.0.0.1]",
            "[fd00::1",
            "fd00::1]",
            "fd00::/129",
            "http://proxy",
            "a b",
            "**",
        ] {
            let error = format!("good.org, {entry}").parse::<NoProxy>().unwrap_err();
            assert_eq!(error.entry, entry);
            assert!(error.to_string().contains(&format!("{entry:?}")), "{error}");
        }
    }

    #[test]
    fn travels_as_it_was_written() {
        let text = " a.net ,10.0.0.0/8";
        let list: NoProxy = serde_json::from_value(text.into()).unwrap();
        assert_eq!(serde_json::to_value(&list).unwrap(), text);
    }

    proptest! {
        #[test]
        fn never_panics(text in ".{0,40}", host in "[a-z0-9.:\\[\\]]{1,20}") {
            if let (Ok(list), Ok(host)) = (text.parse::<NoProxy>(), Host::parse(&host)) {
                let host = match &host {
                    Host::Domain(name) => Host::Domain(name.as_str()),
                    Host::Ipv4(address) => Host::Ipv4(*address),
                    Host::Ipv6(address) => Host::Ipv6(*address),
                };
                let _ = list.bypasses(&host, 80);
            }
        }

        #[test]
        fn a_domain_is_about_names_that_end_with_its_labels(
            domain in prop::collection::vec("[a-c]{1,2}", 1..4),
            name in prop::collection::vec("[a-c]{1,2}", 1..6),
            dot in any::<bool>(),
            upper in any::<bool>(),
        ) {
            let mut text = domain.join(".");
            if upper { text = text.to_uppercase(); }
            let list: NoProxy = format!("{}{text}", if dot { "." } else { "" }).parse().unwrap();
            let name_text = name.join(".");
            prop_assert_eq!(list.bypasses(&Host::Domain(name_text.as_str()), 80), name.ends_with(&domain));
        }

        #[test]
        fn a_network_is_about_addresses_with_its_first_bits(network: u32, prefix in 0_u8..=32, address: u32, near: bool) {
            // Half of the addresses lie near enough to be inside now and then.
            let address = if near { network ^ (address >> 8) } else { address };
            let list: NoProxy = format!("{}/{prefix}", Ipv4Addr::from(network)).parse().unwrap();
            let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
            let expected = network & mask == address & mask;
            let v4 = Ipv4Addr::from(address);
            prop_assert_eq!(list.bypasses(&Host::Ipv4(v4), 80), expected);
            prop_assert_eq!(list.bypasses(&Host::Ipv6(v4.to_ipv6_mapped()), 80), expected);
        }

        #[test]
        fn an_ipv6_address_is_about_itself(address: u128, other: u128, port in 1_u16.., brackets: bool) {
            let (ip, other) = (Ipv6Addr::from(address), Ipv6Addr::from(other));
            let list: NoProxy = if brackets { format!("[{ip}]:{port}") } else { ip.to_string() }.parse().unwrap();
            prop_assert!(list.bypasses(&Host::Ipv6(ip), port));
            prop_assert_eq!(list.bypasses(&Host::Ipv6(ip), port ^ 1), !brackets);
            prop_assert_eq!(list.bypasses(&Host::Ipv6(other), port), ip == other);
        }
    }
}
