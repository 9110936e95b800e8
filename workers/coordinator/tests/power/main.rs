//! Management controllers: real ones, and bad ones of every kind. Each question to a bad one ends, with its code.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod actions;
mod bad_redfish;
mod ipmi;
mod lab;
mod real_redfish;
mod sessions;
