//! qcow2 in one pass: the tables are read by ranges first ([`Plan`]), then the file is streamed once from its first byte to its last
//! and what it holds of the disk is put in its place as it goes by ([`Decoder`]).
//!
//! The format is described by QEMU in `docs/interop/qcow2.rst`; where that leaves a choice, this does what QEMU does.
//!
//! - pure: [`header`], [`tables`], [`map`] (where everything is), [`requests`] (what is asked for);
//! - as the file goes by: [`plain`] content, [`packed`] content with its [`window`] and [`codec`], and the [`seal`] on the tables.
//!
//! Snapshots, bitmaps and reference counts are not looked at. Nothing in an image makes this open anything.

mod chunk;
mod codec;
mod decoder;
mod flaw;
mod header;
mod map;
#[cfg(any(test, fuzzing))]
pub(in crate::image) mod memory;
mod packed;
mod plain;
mod plan;
mod requests;
mod seal;
mod tables;
mod window;

#[cfg(test)]
mod tests;

pub(in crate::image) use decoder::Decoder;
pub use flaw::{Compression, Qcow2Flaw, Table};
pub(in crate::image) use plan::{Plan, ReadRange};
