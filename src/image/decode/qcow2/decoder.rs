//! Turns the file into the content of the disk, as it goes by.

use super::chunk::Chunk;
use super::flaw::Qcow2Flaw;
use super::packed::{Shape, Unpacker};
use super::plain::Plain;
use super::plan::Plan;
use super::seal::Seal;
use crate::image::ImageError;
use crate::image::decode::Sink;
use crate::wire::ImageUrl;

/// Decodes the file once from its first byte to its last.
#[derive(Debug)]
pub(in crate::image) struct Decoder {
    url: Box<ImageUrl>,
    /// Bytes of the file, where they are known.
    length: Option<u64>,
    /// How much of it has come, in bytes.
    position: u64,
    cluster: u64,
    seals: [Seal; 3],
    plain: Plain,
    packed: Unpacker,
}

impl Decoder {
    /// Makes zeros wherever the disk has no other content, in its order, and is then ready for the first byte of the file.
    ///
    /// # Errors
    /// Those of the sink.
    pub(in crate::image) fn begin(mut plan: Plan, sink: &mut impl Sink) -> Result<Self, ImageError> {
        plan.map.zeros().try_for_each(|zeros| sink.zero(zeros))?;
        let (runs, packed) = plan.map.into_file_order();
        let cluster = usize::try_from(plan.cluster).expect("2 MiB at most");
        let shape = Shape { compression: plan.compression, cluster };
        Ok(Self {
            packed: Unpacker::new(plan.url.clone(), packed, shape, plan.virtual_size),
            url: plan.url,
            length: plan.length,
            position: 0,
            cluster: plan.cluster,
            seals: plan.seals,
            plain: Plain::new(runs),
        })
    }

    /// Decodes the next bytes of the file, however many. Cheapest in large pieces.
    ///
    /// # Errors
    /// [`ImageError::Qcow2`] for a compressed cluster that does not hold one, and those of the sink.
    pub(in crate::image) fn feed(&mut self, bytes: &[u8], sink: &mut impl Sink) -> Result<(), ImageError> {
        let chunk = Chunk { at: self.position, bytes };
        for seal in &mut self.seals {
            seal.feed(chunk);
        }
        self.plain.feed(chunk, sink)?;
        self.packed.feed(chunk, sink)?;
        self.position = chunk.end();
        Ok(())
    }

    /// Completes the disk once the whole file has come. Only when this returns may it be taken for the image.
    ///
    /// # Errors
    /// [`ImageError::Qcow2`] where the tables that came are not those that were read before, or content of the disk would begin behind
    /// the end of the file; and those of the sink.
    pub(in crate::image) fn finish(self, sink: &mut impl Sink) -> Result<(), ImageError> {
        let flawed = |flaw| ImageError::qcow2(&self.url, flaw);
        let position = self.position;
        if self.length.is_some_and(|length| length != position) {
            return Err(flawed(Qcow2Flaw::Changed { what: "length" }));
        }
        for seal in self.seals {
            seal.check().map_err(flawed)?;
        }
        self.plain.rest().try_for_each(|run| run.check_end(self.cluster, position)).map_err(flawed)?;
        self.packed.rest().iter().try_for_each(|packed| packed.check_end(position)).map_err(flawed)?;
        self.plain.finish(position, sink)?;
        self.packed.finish(position, sink)
    }
}
