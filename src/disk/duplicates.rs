//! Finds what makes a disk known on other disks too: whoever mounts or boots by such an identifier may get either.

use super::{Access, Disk, DiskError, ReadDisk, table};
use crate::partition_table::Layout;
use crate::superblock;
use crate::wire::Coded as _;
use crate::wire::report::{Duplicate, DuplicateKind, UnexaminedDisk};

/// What was found on the other disks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Duplicates {
    /// Identifiers that stand on another disk too.
    pub found: Vec<Duplicate>,
    /// Disks of which that is not known, and why.
    pub unexamined: Vec<UnexaminedDisk>,
}

/// Looks for the identifiers of a disk with this layout on all other disks that this process was given. A disk that is in use or
/// cannot be read is listed as unexamined, and so is the disk itself. Blocks.
///
/// # Errors
/// When the kernel does not tell its disks.
pub fn find_duplicates(
    access: &Access,
    written: &ReadDisk,
    layout: &Layout,
) -> Result<Duplicates, DiskError> {
    let mut duplicates = Duplicates::default();
    let own = match identifiers(written, Some(layout)) {
        Ok(own) => own,
        Err(error) => {
            duplicates.unexamined.push(unexamined(written.disk(), &error));
            return Ok(duplicates);
        }
    };
    for other in access.disks()?.iter().filter(|other| !is_same(other, written.disk())) {
        match identifiers_of(access, other) {
            Ok(theirs) => duplicates.found.extend(in_common(&own, &theirs, other)),
            Err(error) => duplicates.unexamined.push(unexamined(other, &error)),
        }
    }
    Ok(duplicates)
}

/// Whether it is the same disk, or another path to it.
fn is_same(one: &Disk, other: &Disk) -> bool {
    let wwn = |disk: &Disk| disk.facts().wwn_with_extension.clone().or_else(|| disk.facts().wwn.clone());
    one.known_by() == other.known_by() || (wwn(one).is_some() && wwn(one) == wwn(other))
}

/// By what a disk or a partition is known.
#[derive(Debug)]
struct Identifier {
    kind: DuplicateKind,
    value: String,
    /// Its partition, if it is not of the disk.
    partition: Option<u32>,
}

fn identifiers_of(access: &Access, disk: &Disk) -> Result<Vec<Identifier>, DiskError> {
    let open = access.open_to_read(disk)?;
    match table::read_layout(&open) {
        Ok(layout) => identifiers(&open, Some(&layout)),
        Err(DiskError::BadPartitionTable { problem, .. }) if problem.is_absence() => identifiers(&open, None),
        Err(error) => Err(error),
    }
}

/// All of a disk, whose file systems are in its partitions, if it has any.
fn identifiers(disk: &ReadDisk, layout: Option<&Layout>) -> Result<Vec<Identifier>, DiskError> {
    let Some(layout) = layout else { return of_filesystem(disk, None, 0, disk.size()) };
    let mut found =
        vec![Identifier { kind: DuplicateKind::Ptuuid, value: layout.disk_id.clone(), partition: None }];
    for one in &layout.partitions {
        let partition = Some(one.number);
        found.push(Identifier { kind: DuplicateKind::Partuuid, value: one.guid.clone(), partition });
        found.extend(of_filesystem(disk, partition, one.start, one.size)?);
    }
    found.retain(|identifier| !is_unset(identifier));
    Ok(found)
}

/// Zeros stand for an identifier that nobody has set. Those of the partitions of an MBR are made of that of the disk.
fn is_unset(identifier: &Identifier) -> bool {
    let given = match identifier.kind {
        DuplicateKind::Partuuid if identifier.value.len() == "00000000-01".len() => &identifier.value[..8],
        _ => &identifier.value,
    };
    given.bytes().all(|byte| [b'0', b'-'].contains(&byte))
}

fn of_filesystem(
    disk: &ReadDisk,
    partition: Option<u32>,
    start: u64,
    size: u64,
) -> Result<Vec<Identifier>, DiskError> {
    let length =
        usize::try_from(size).map_or(superblock::HEAD_BYTES, |size| size.min(superblock::HEAD_BYTES));
    let Some(found) = superblock::probe(&disk.read(start, length)?) else { return Ok(Vec::new()) };
    let of = |kind, value: Option<String>| value.map(|value| Identifier { kind, value, partition });
    let both = [of(DuplicateKind::Uuid, found.uuid), of(DuplicateKind::Label, found.label)];
    Ok(both.into_iter().flatten().collect())
}

fn in_common(own: &[Identifier], theirs: &[Identifier], disk: &Disk) -> Vec<Duplicate> {
    let pairs = own.iter().flat_map(|own| theirs.iter().map(move |their| (own, their)));
    let same = pairs.filter(|(own, their)| own.kind == their.kind && own.value == their.value);
    same.map(|(own, their)| Duplicate {
        kind: own.kind,
        value: own.value.clone(),
        partition: own.partition,
        other_disk: disk.identity(),
        other_partition: their.partition,
    })
    .collect()
}

fn unexamined(disk: &Disk, error: &DiskError) -> UnexaminedDisk {
    UnexaminedDisk { disk: disk.identity(), error: error.report() }
}
