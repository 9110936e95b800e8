//! Unpacks one compressed cluster.

use std::fmt;

use flate2::{Decompress, FlushDecompress};
use zstd::zstd_safe::{self, DCtx};

use super::flaw::Compression;

/// Unpacks clusters into memory of its own, one after another.
pub(super) struct Codec {
    state: State,
    cluster: usize,
    /// One byte more than a cluster, so that more than a cluster is noticed.
    unpacked: Vec<u8>,
}

enum State {
    Zlib(Decompress),
    /// Fed whole frames, it decodes into the output at once and has no window of its own, whatever a frame says of its size.
    Zstd(DCtx<'static>),
}

impl fmt::Debug for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Codec").field("cluster", &self.cluster).finish_non_exhaustive()
    }
}

impl Codec {
    pub(super) fn new(compression: Compression, cluster: usize) -> Self {
        let state = match compression {
            Compression::Zlib => State::Zlib(Decompress::new(false)),
            Compression::Zstd => State::Zstd(DCtx::create()),
        };
        Self { state, cluster, unpacked: vec![0; cluster + 1] }
    }

    /// Unpacks what `packed` begins with; as in QEMU, what follows it is not looked at. The error is what to say of the cluster.
    pub(super) fn unpack(&mut self, packed: &[u8]) -> Result<&[u8], String> {
        let length = match &mut self.state {
            State::Zlib(state) => inflate(state, packed, &mut self.unpacked)?,
            State::Zstd(state) => unpack_frames(state, packed, self.cluster, &mut self.unpacked)?,
        };
        match length {
            length if length == self.cluster => Ok(&self.unpacked[..length]),
            length if length > self.cluster => Err("unpacks to more than a cluster".to_owned()),
            length => Err(format!("unpacks to {length} bytes")),
        }
    }
}

/// Inflates without the header of zlib. A stream whose end is not in sight is taken: QEMU does so too.
fn inflate(state: &mut Decompress, packed: &[u8], unpacked: &mut [u8]) -> Result<usize, String> {
    state.reset(false);
    let done = state.decompress(packed, unpacked, FlushDecompress::Finish);
    done.map_err(|error| format!("cannot be unpacked ({error})"))?;
    Ok(usize::try_from(state.total_out()).unwrap_or(usize::MAX))
}

/// Unpacks one frame after another, until there is a cluster.
fn unpack_frames(
    state: &mut DCtx<'static>,
    mut packed: &[u8],
    cluster: usize,
    unpacked: &mut [u8],
) -> Result<usize, String> {
    let why = |code| format!("cannot be unpacked ({})", zstd_safe::get_error_name(code));
    let mut length = 0;
    while length < cluster && !packed.is_empty() {
        let frame = zstd_safe::find_frame_compressed_size(packed).map_err(why)?;
        let (frame, rest) = packed.split_at(frame.min(packed.len()));
        length += state.decompress(&mut unpacked[length..], frame).map_err(why)?;
        packed = rest;
    }
    Ok(length)
}
