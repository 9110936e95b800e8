//! Decoding: from the bytes as served to the content of a disk.

#[cfg_attr(not(test), expect(dead_code))]
#[expect(unused_imports, reason = "wired in by the pipeline")]
pub(super) mod qcow2;
mod sink;
pub(super) mod sniff;

pub(super) use sink::Sink;
