//! Starts the real parts that demo, tests and benchmarks run against, privately and on loopback.

pub mod disk_image;
pub mod http;
pub mod lab_disk;
pub mod loop_device;
pub mod process;
pub mod rabbitmq;
pub mod tls;
