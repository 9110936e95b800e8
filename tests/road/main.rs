//! The whole road: jobs through a real coordinator, a real RabbitMQ and real agents to real (lab) disks, whatever happens to
//! the parts on the way.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod bad_commands;
mod bad_images;
mod bad_jobs;
mod bad_surroundings;
mod faults;
mod foreign;
mod lab;
mod mount;
mod repeated;
mod tap;
mod verbs;
