//! Writing: the content of a disk, in any order, to the disk, which does not boot before it is committed.

mod commit;
mod disk;
mod ends;
pub(super) mod layout;
mod read_back;
mod writer;

pub use commit::withdraw;
pub use disk::Target;

pub(super) use commit::Uncommitted;
pub(super) use disk::{Disk, as_u64};
pub(super) use writer::write;

const ZEROS: [u8; 4096] = [0; 4096];

/// Whether all bytes are zero.
fn is_zero(bytes: &[u8]) -> bool {
    bytes.chunks(ZEROS.len()).all(|block| *block == ZEROS[..block.len()])
}
