//! Choosing disks by what they are like, never by what the kernel happens to call them.
//!
//! Ironic takes the first disk that fits. Here a choice must be the only one possible: a hint that fits two disks would, after the next
//! boot, choose the other one.

mod operator;
mod rule;

use std::fmt;

use rule::{Rules, gib};

use super::{Disk, DiskError};
use crate::wire::RootDeviceHints;

/// The one disk that is to hold the system: that which fits every hint, is in no entry of the skip list, and can be written. Without
/// hints, the only disk that is left. Blocks where a hint is a path.
///
/// # Errors
/// When a hint or an entry of the skip list cannot be used, and when no disk is left or more than one; these list every disk and why it
/// does not fit, or that it does.
pub fn choose_root<'a>(
    disks: &'a [Disk],
    hints: Option<&RootDeviceHints>,
    skip: &[RootDeviceHints],
) -> Result<&'a Disk, DiskError> {
    let skip = SkipList::parse(skip)?;
    skip.check(disks)?;
    let rules = hints.map(Rules::parse).transpose()?;
    let candidates: Vec<_> = disks
        .iter()
        .map(|disk| Candidate { disk, verdict: Verdict::of(disk, rules.as_ref(), &skip) })
        .collect();
    let mut fitting = candidates.iter().filter(|candidate| candidate.verdict == Verdict::Fits);
    match (fitting.next(), fitting.next()) {
        (Some(only), None) => Ok(only.disk),
        (None, _) => Err(DiskError::NoRootDevice { verdicts: list(&candidates) }),
        (Some(_), Some(_)) => Err(DiskError::AmbiguousRootDevice { verdicts: list(&candidates) }),
    }
}

/// The disks that no entry of the skip list fits, and those that one does, each in the order given. Blocks where a hint is a path.
///
/// # Errors
/// When an entry of the skip list cannot be used.
pub fn split_skipped<'a>(
    disks: &'a [Disk],
    skip: &[RootDeviceHints],
) -> Result<(Vec<&'a Disk>, Vec<&'a Disk>), DiskError> {
    let skip = SkipList::parse(skip)?;
    skip.check(disks)?;
    Ok(disks.iter().partition(|disk| skip.entry_for(disk).is_none()))
}

/// Disks that are to be left alone.
struct SkipList(Vec<Rules>);

impl SkipList {
    fn parse(entries: &[RootDeviceHints]) -> Result<Self, DiskError> {
        let parse = |(index, entry)| {
            let rules = Rules::parse(entry)?;
            if rules.is_empty() {
                return Err(DiskError::BadHint {
                    hint: "skip_block_devices",
                    value: format!("entry {index}"),
                    reason: "it says nothing, and so would skip every disk; give it a hint, or remove it"
                        .to_owned(),
                });
            }
            Ok(rules)
        };
        entries.iter().enumerate().map(parse).collect::<Result<_, _>>().map(Self)
    }

    /// Fails where it cannot be told whether an entry fits a disk: not to know must not erase it.
    fn check(&self, disks: &[Disk]) -> Result<(), DiskError> {
        for (index, rules) in self.0.iter().enumerate() {
            for disk in disks {
                if let Some(open) = rules.undecided(disk.facts()) {
                    return Err(DiskError::BadHint {
                        hint: "skip_block_devices",
                        value: format!("entry {index}"),
                        reason: format!(
                            "{open} cannot be held against {}: there is no such link on this machine; name the disk by its serial or \
                             wwn, or remove the entry",
                            disk.facts().name
                        ),
                    });
                }
            }
        }
        Ok(())
    }

    /// The number of the first entry that fits the disk, from 0.
    fn entry_for(&self, disk: &Disk) -> Option<usize> {
        self.0.iter().position(|rules| rules.match_all(disk.facts()))
    }
}

/// A disk, and why it is or is not the one.
struct Candidate<'a> {
    disk: &'a Disk,
    verdict: Verdict,
}

#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Fits,
    /// By the entry of the skip list that has this number.
    Skipped(usize),
    /// For these reasons.
    Unlike(Vec<String>),
    ReadOnly,
}

impl Verdict {
    fn of(disk: &Disk, rules: Option<&Rules>, skip: &SkipList) -> Self {
        if let Some(entry) = skip.entry_for(disk) {
            return Self::Skipped(entry);
        }
        let mismatches = rules.map(|rules| rules.mismatches(disk.facts())).unwrap_or_default();
        if !mismatches.is_empty() {
            return Self::Unlike(mismatches);
        }
        if disk.facts().read_only { Self::ReadOnly } else { Self::Fits }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fits => f.write_str("fits"),
            Self::Skipped(entry) => write!(f, "skipped by skip_block_devices[{entry}]"),
            Self::Unlike(reasons) => f.write_str(&reasons.join(", ")),
            Self::ReadOnly => f.write_str("read-only"),
        }
    }
}

impl fmt::Display for Candidate<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let facts = self.disk.facts();
        write!(f, "{} ({:.1} GiB", facts.name, gib(facts.size))?;
        for (what, fact) in [("model", &facts.model), ("serial", &facts.serial), ("wwn", &facts.wwn)] {
            if let Some(fact) = fact {
                write!(f, ", {what} {fact}")?;
            }
        }
        write!(f, "): {}", self.verdict)
    }
}

/// Every disk and its verdict, in one line.
fn list(candidates: &[Candidate<'_>]) -> String {
    if candidates.is_empty() {
        return "there are no disks".to_owned();
    }
    candidates.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests;
