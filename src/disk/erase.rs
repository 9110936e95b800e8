//! Erases a whole disk, and proves it.

use std::io;
use std::os::unix::fs::FileExt as _;
use std::time::Instant;

use nix::fcntl::{FallocateFlags, fallocate};
use nix::libc;

use super::region::Region;
use super::{DiskError, OpenDisk, verify};
use crate::ioctl;
use crate::meter::Meter;
use crate::wire::report::{EraseMethod, EraseProof, EraseReport};
use crate::wire::{CleanStep, Coded as _};

/// How much a device is told to discard at a time: quick, and no wish to cancel waits for a whole disk.
const DISCARD_BYTES: u64 = 1 << 30;
/// How much is zeroed before it is flushed: a second or so on a slow disk, and little memory of a RAM disk.
const ZERO_BYTES: u64 = 64 << 20;
/// Zeros that are written at a time.
const WRITE_BYTES: u64 = 1 << 20;

/// Erases every byte of a disk: by the first method, of those that the device has, after which every byte that is read back from the
/// medium is zero. Blocks.
///
/// # Errors
/// When the disk is no longer the one that was opened or in use, when told to stop, and when the last method fails or leaves something.
pub fn erase(disk: &OpenDisk, meter: &Meter) -> Result<EraseReport, DiskError> {
    let begun = Instant::now();
    let whole: Vec<_> = Region::new(0, disk.size()).into_iter().collect();
    let (methods, last) = methods(disk);
    let mut tried = Vec::new();
    for method in methods {
        match apply(*method, disk, &whole, meter) {
            Ok(proof) => {
                return Ok(report(CleanStep::EraseDevices, disk, method.name(), tried, proof, begun));
            }
            Err(error @ (DiskError::Io { .. } | DiskError::EraseNotProven { .. })) => {
                let said = format!("{}: {}", method.kernel_name(), error.report().message);
                tracing::info!(disk = disk.name(), said, "this way to erase did not do; trying the next");
                tried.push(said);
            }
            Err(error) => return Err(error),
        }
    }
    let proof = apply(last, disk, &whole, meter)?;
    Ok(report(CleanStep::EraseDevices, disk, last.name(), tried, proof, begun))
}

/// Writes zeros over these regions and proves it.
pub(super) fn overwrite(disk: &OpenDisk, regions: &[Region], meter: &Meter) -> Result<EraseProof, DiskError> {
    apply(Method::Overwrite, disk, regions, meter)
}

pub(super) fn report(
    step: CleanStep,
    disk: &OpenDisk,
    method: EraseMethod,
    tried: Vec<String>,
    proof: EraseProof,
    begun: Instant,
) -> EraseReport {
    EraseReport {
        step,
        device: disk.disk().identity(),
        method,
        tried,
        bytes_erased: proof.bytes_verified,
        proof,
        seconds: begun.elapsed().as_secs_f64(),
    }
}

/// A way to make zeros of bytes.
#[derive(Clone, Copy, Debug)]
enum Method {
    /// Of block devices.
    Discard,
    /// Of files.
    PunchHole,
    /// Of block devices.
    ZeroOut,
    /// Of everything that can be written.
    Overwrite,
}

/// Those to try first, in order, and the last one.
fn methods(disk: &OpenDisk) -> (&'static [Method], Method) {
    let first: &[_] =
        if disk.is_block_device() { &[Method::Discard, Method::ZeroOut] } else { &[Method::PunchHole] };
    (first, Method::Overwrite)
}

impl Method {
    fn name(self) -> EraseMethod {
        match self {
            Self::Discard | Self::PunchHole => EraseMethod::Discard,
            Self::ZeroOut => EraseMethod::ZeroOut,
            Self::Overwrite => EraseMethod::Overwrite,
        }
    }

    fn kernel_name(self) -> &'static str {
        match self {
            Self::Discard => "BLKDISCARD",
            Self::PunchHole => "FALLOC_FL_PUNCH_HOLE",
            Self::ZeroOut => "BLKZEROOUT",
            Self::Overwrite => "overwrite",
        }
    }

    /// What is going on, and what cannot be done when it fails.
    fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::Discard => ("discard", "discard"),
            Self::PunchHole => ("discard", "punch a hole into"),
            Self::ZeroOut => ("zero out", "zero"),
            Self::Overwrite => ("overwrite", "overwrite"),
        }
    }

    fn bytes_at_a_time(self) -> u64 {
        match self {
            Self::Discard | Self::PunchHole => DISCARD_BYTES,
            Self::ZeroOut | Self::Overwrite => ZERO_BYTES,
        }
    }

    fn zero(self, disk: &OpenDisk, piece: Region) -> io::Result<()> {
        let file = disk.file();
        match self {
            Self::Discard => ioctl::discard(file, piece.start, piece.length()),
            Self::PunchHole => punch_hole(disk, piece),
            Self::ZeroOut => ioctl::zero_out(file, piece.start, piece.length()),
            Self::Overwrite => write_zeros(disk, piece),
        }
    }
}

/// Makes zeros of these regions, and proves it by reading them back.
fn apply(
    method: Method,
    disk: &OpenDisk,
    regions: &[Region],
    meter: &Meter,
) -> Result<EraseProof, DiskError> {
    disk.recheck()?;
    let (phase, action) = method.words();
    meter.phase(phase, Some(regions.iter().map(Region::length).sum()));
    for piece in regions.iter().flat_map(|region| region.pieces(method.bytes_at_a_time())) {
        meter.check()?;
        method.zero(disk, piece).map_err(|source| disk.fault_at(action, piece.start, source))?;
        meter.advance(piece.length());
    }
    disk.flush()?;
    let bytes_verified = verify::all_zero(disk, regions, meter)?;
    forget_partitions(disk);
    Ok(EraseProof { bytes_verified, complete: true })
}

fn punch_hole(disk: &OpenDisk, piece: Region) -> io::Result<()> {
    let how = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
    Ok(fallocate(disk.file(), how, offset(piece.start)?, offset(piece.length())?)?)
}

/// Flushed at its end: a RAM disk has no memory to hold what a slow disk has still to take, and progress would be that of the memory.
fn write_zeros(disk: &OpenDisk, piece: Region) -> io::Result<()> {
    let zeros = vec![0; usize::try_from(WRITE_BYTES.min(piece.length())).map_err(io::Error::other)?];
    for part in piece.pieces(WRITE_BYTES) {
        let length = usize::try_from(part.length()).map_err(io::Error::other)?;
        disk.file().write_all_at(&zeros[..length], part.start)?;
    }
    disk.file().sync_data()
}

/// The disk is erased by now. That the kernel still believes in its old partitions is told and no more: nobody can use them, and whoever
/// writes new ones makes it read those, or fails.
fn forget_partitions(disk: &OpenDisk) {
    if let Err(error) = disk.reread_partition_table() {
        tracing::warn!(
            disk = disk.name(),
            error = error.report().message,
            "the kernel keeps the old partitions"
        );
    }
}

fn offset(bytes: u64) -> io::Result<libc::off_t> {
    libc::off_t::try_from(bytes).map_err(io::Error::other)
}
