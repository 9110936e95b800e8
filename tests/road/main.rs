//! The whole road: jobs through a real coordinator, a real RabbitMQ and real agents to real (lab) disks, whatever happens to
//! the parts on the way.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod bad_commands;
mod bad_jobs;
mod faults;
mod lab;
mod repeated;
mod tap;
mod verbs;
