//! Starts the real parts that demo, tests and benchmarks run against, privately and on loopback.

pub mod process;
pub mod rabbitmq;
pub mod tls;
