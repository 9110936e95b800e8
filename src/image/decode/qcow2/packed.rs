//! Brings compressed clusters together from the pieces of the file, unpacks them and hands them on.

use super::chunk::Chunk;
use super::codec::Codec;
use super::flaw::{Compression, Qcow2Flaw};
use super::map::Packed;
use super::window::Window;
use crate::image::ImageError;
use crate::image::decode::Sink;
use crate::wire::ImageUrl;

/// The compressed clusters, and how far they are. They are unpacked in the order in which they begin in the file.
#[derive(Debug)]
pub(super) struct Unpacker {
    url: Box<ImageUrl>,
    /// In the order of the file.
    clusters: Vec<Packed>,
    /// The first cluster that is not unpacked.
    next: usize,
    window: Window,
    codec: Codec,
    shape: Shape,
    virtual_size: u64,
}

/// What all clusters have in common.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    pub(super) compression: Compression,
    /// Bytes of a cluster that is not compressed.
    pub(super) cluster: usize,
}

impl Unpacker {
    pub(super) fn new(url: Box<ImageUrl>, clusters: Vec<Packed>, shape: Shape, virtual_size: u64) -> Self {
        let codec = Codec::new(shape.compression, shape.cluster);
        Self { url, clusters, next: 0, window: Window::default(), codec, shape, virtual_size }
    }

    /// Unpacks what is whole with the next piece of the file, and keeps what the next clusters have in it.
    pub(super) fn feed(&mut self, chunk: Chunk<'_>, sink: &mut impl Sink) -> Result<(), ImageError> {
        while let Some(cluster) = self.clusters.get(self.next).copied() {
            let range = cluster.host_range();
            if range.end > chunk.end() {
                // Later ones may be whole already. They wait: nothing is to be kept for them that is not kept for this one.
                self.window.keep(chunk, range.start);
                return Ok(());
            }
            let packed = self.window.gather(chunk, &range);
            let unpacked = self.codec.unpack(packed);
            let content = unpacked.map_err(|problem| flawed(&self.url, self.shape, &cluster, problem))?;
            let room = self.virtual_size - cluster.guest;
            let length = usize::try_from(room).unwrap_or(usize::MAX).min(content.len());
            sink.copy(cluster.guest, &content[..length])?;
            self.next += 1;
        }
        self.window.clear();
        Ok(())
    }

    /// The clusters that are not unpacked.
    pub(super) fn rest(&self) -> &[Packed] {
        &self.clusters[self.next..]
    }

    /// Unpacks what would end behind the end of the file, which has `length` bytes, as if zeros followed it.
    pub(super) fn finish(mut self, length: u64, sink: &mut impl Sink) -> Result<(), ImageError> {
        let missing = self.rest().iter().map(|cluster| cluster.host_range().end.saturating_sub(length)).max();
        // A cluster is said to be two clusters long at most, and to begin before the end of the file.
        let zeros = missing.map(|missing| missing.min(2 * self.shape.cluster as u64));
        let zeros = vec![0; zeros.and_then(|zeros| usize::try_from(zeros).ok()).unwrap_or(0)];
        self.feed(Chunk { at: length, bytes: &zeros }, sink)
    }
}

fn flawed(url: &ImageUrl, shape: Shape, cluster: &Packed, problem: String) -> ImageError {
    let flaw = Qcow2Flaw::Compressed {
        host: cluster.host,
        packed: cluster.length,
        guest: cluster.guest,
        problem,
        expected: shape.cluster,
        compression: shape.compression,
    };
    ImageError::qcow2(url, flaw)
}
