//! Partition tables: GPT, by the UEFI specification 2.10, chapter 5, and MBR. Free of I/O: whoever calls has the first bytes of a disk,
//! or its ends, in memory.

mod gpt;
mod layout;
mod mbr;
mod relocate;

pub use layout::{LayoutFlaw, check};

pub(crate) use gpt::Header;
pub(crate) use mbr::partitions as mbr_partitions;
pub(crate) use relocate::{Ends, Relocated, relocate};
