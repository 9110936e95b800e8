//! The configuration that `ops/` ships, with this testbed's names in place of its examples.

use std::path::Path;

use anyhow::ensure;

use crate::tls::Authority;

const SHIPPED: &str = include_str!("../../../ops/squid.conf");
/// The name that Swift has in it, and the one that it has here.
const EXAMPLE: &str = "swift.example.com";

/// A Squid as the cache of a rack, by the configuration that is shipped.
#[derive(Clone, Copy, Debug)]
pub struct RackCache<'a> {
    /// The authority of Swift's certificate, where Swift is asked by TLS.
    pub tls: Option<&'a Authority>,
    /// Where Swift is, on the loopback.
    pub swift_port: u16,
    /// It keeps images in its memory too, as shipped, and not on its disk alone.
    pub in_memory: bool,
}

/// By this name the cache knows Swift.
pub(super) const SWIFT: &str = "swift.localhost";

impl RackCache<'_> {
    /// Where nodes that ask this cache find Swift, without account.
    #[must_use]
    pub fn swift_url(&self) -> String {
        match self.tls {
            Some(_) => format!("http://{SWIFT}"),
            None => format!("http://{SWIFT}:{}", self.swift_port),
        }
    }

    /// Its configuration, for a Squid at `port` with its files in `dir`.
    pub(super) fn configuration(&self, dir: &Path, port: u16) -> anyhow::Result<String> {
        let shown = dir.display();
        let mut text = SHIPPED.to_owned();
        let mut put = |example: &str, here: &str| {
            ensure!(text.contains(example), "ops/squid.conf has no {example:?} any more");
            text = text.replace(example, here);
            anyhow::Ok(())
        };
        match self.tls {
            Some(authority) => {
                put(
                    &format!("cache_peer {EXAMPLE} parent 443 "),
                    &format!("cache_peer {EXAMPLE} parent {} ", self.swift_port),
                )?;
                let trust = format!(" name=swift tls-cafile={}", authority.ca_pem_path().display());
                put(" name=swift", &trust)?;
            }
            None => {
                for line in ["cache_peer ", "cache_peer_access ", "never_direct "] {
                    put(&format!("\n{line}"), &format!("\n# {line}"))?;
                }
            }
        }
        if !self.in_memory {
            put("maximum_object_size_in_memory 4 GB", "maximum_object_size_in_memory 64 KB")?;
        }
        put(EXAMPLE, SWIFT)?;
        put("http_port 3128", &format!("http_port 127.0.0.1:{port}"))?;
        put("acl nodes src 10.0.0.0/8", "acl nodes src 127.0.0.0/8")?;
        put("aufs /var/spool/squid 200000 16 256", &format!("aufs {shown}/cache 20000 2 16"))?;
        put("coredump_dir /var/spool/squid", &format!("coredump_dir {shown}"))?;
        put("/var/log/squid/", &format!("{shown}/shipped-"))?;
        put("shutdown_lifetime 5 seconds", "shutdown_lifetime 0 seconds")?;
        Ok(text)
    }
}
