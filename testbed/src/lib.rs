//! Starts the real parts that demo, tests and benchmarks run against, privately and on loopback.
//!
//! [`fleet`] puts them together: RabbitMQ, the coordinator and agents over lab disks. Everything that is started here dies with
//! what started it.

pub mod agent;
pub mod api;
pub mod binaries;
pub mod coordinator;
pub mod disk_image;
pub mod fleet;
pub mod http;
pub mod ipa;
pub mod ipmi_sim;
pub mod lab_disk;
pub mod loop_device;
pub mod packages;
pub mod ports;
pub mod process;
pub mod qemu_img;
pub mod rabbitmq;
pub mod ram_disk;
pub mod redfish;
pub mod squid;
pub mod swift;
pub mod tls;
pub mod venv;
pub mod wait;
pub mod worker;
