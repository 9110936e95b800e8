//! Decoding: from the bytes as served to the content of a disk.

mod sink;
pub(super) mod sniff;

#[expect(unused_imports, reason = "the decoders come with the next commits")]
pub(super) use sink::Sink;
