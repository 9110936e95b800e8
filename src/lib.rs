//! Farrier prepares bare-metal servers: what its workers share.
//!
//! Arrows run one way: `wire <- broker`, `{disk, image, hardware} <- handlers`, and the workers on top. [`disk`], [`hardware`]
//! and [`image`] speak in the plain types of [`wire`]; `image` knows no disk policy, `disk` knows no HTTP, [`handlers`] know no AMQP.

pub mod blocking;
pub mod broker;
pub mod config;
mod direct;
pub mod disk;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
pub mod handlers;
pub mod hardware;
pub mod image;
mod ioctl;
mod little_endian;
pub mod meter;
pub mod partition_table;
mod superblock;
mod sysfs;
pub mod telemetry;
pub mod terminal;
pub mod wire;
