//! Partition tables: what a disk says of its parts. Pure: works on bytes that somebody else has read and will write.
//!
//! What is on a disk or in an image is not to be trusted: every length is bounded before anything is read or allocated by it.
//! The crate `gpt` panics on entries that are not 128 bytes long, and allocates what the header asks for.

mod check;
mod gpt;
mod mbr;
mod problem;
mod relocate;

pub use check::{Layout, Scheme, check};
pub use gpt::GptFault;
pub use problem::Problem;
pub use relocate::{Moved, Tail, relocate};

pub(crate) use check::any_partitions;
