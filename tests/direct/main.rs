//! Direct deploy: image URLs, proxies and power, against real Swift, Squid, nginx and management controllers.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod agent;
mod deploy;
mod power;
mod promise;
mod swift;
mod swift_lab;
