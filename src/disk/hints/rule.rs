//! Root device hints, read once and then held against the facts of disks.

use std::path::{Component, Path, PathBuf};

use super::operator::{Comparison, NumberTest, TextTest};
use crate::disk::DiskError;
use crate::wire::inventory::Disk;
use crate::wire::{HintValue, RootDeviceHints};

const GIB: f64 = 1024.0 * 1024.0 * 1024.0;

/// Hints that can be used, all of which must hold.
#[derive(Clone, Debug)]
pub(super) struct Rules(Vec<Rule>);

/// One hint.
#[derive(Clone, Debug)]
struct Rule {
    name: &'static str,
    /// As it was given, for people.
    given: String,
    test: Test,
}

#[derive(Clone, Debug)]
enum Test {
    Text(fn(&Disk) -> Option<&String>, TextTest),
    Gib(NumberTest),
    Rotational(bool),
    Path(PathTest),
}

/// Which disk a path must lead to.
#[derive(Clone, Debug)]
struct PathTest {
    /// Whether it must be one of these, or none.
    is_one: bool,
    paths: Vec<PathBuf>,
}

impl Rules {
    /// Reads hints.
    ///
    /// # Errors
    /// [`DiskError::BadHint`] for the first that cannot be used.
    pub(super) fn parse(hints: &RootDeviceHints) -> Result<Self, DiskError> {
        // Named one by one, so that a hint that is added to the wire cannot be forgotten here.
        let RootDeviceHints {
            size,
            model,
            vendor,
            serial,
            wwn,
            wwn_with_extension,
            wwn_vendor_extension,
            name,
            rotational,
            hctl,
            by_path,
            tran,
        } = hints;
        let rules = [
            size.as_ref().map(size_rule),
            text_rule("model", model.as_ref(), |disk| disk.model.as_ref()),
            text_rule("vendor", vendor.as_ref(), |disk| disk.vendor.as_ref()),
            text_rule("serial", serial.as_ref(), |disk| disk.serial.as_ref()),
            text_rule("wwn", wwn.as_ref(), |disk| disk.wwn.as_ref()),
            text_rule("wwn_with_extension", wwn_with_extension.as_ref(), |disk| {
                disk.wwn_with_extension.as_ref()
            }),
            text_rule("wwn_vendor_extension", wwn_vendor_extension.as_ref(), |disk| {
                disk.wwn_vendor_extension.as_ref()
            }),
            name.as_deref().map(path_rule),
            rotational.map(|turns| {
                Ok(Rule { name: "rotational", given: turns.to_string(), test: Test::Rotational(turns) })
            }),
            text_rule("hctl", hctl.as_ref(), |disk| disk.hctl.as_ref()),
            text_rule("by_path", by_path.as_ref(), |disk| disk.by_path.as_ref()),
            text_rule("tran", tran.as_ref(), |disk| disk.tran.as_ref()),
        ];
        rules.into_iter().flatten().collect::<Result<_, _>>().map(Self)
    }

    /// Whether there is nothing that a disk must be like.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Each hint that does not hold, and what the disk is like instead. Blocks where a path is to be followed.
    pub(super) fn mismatches(&self, disk: &Disk) -> Vec<String> {
        self.0.iter().filter_map(|rule| rule.mismatch(disk)).collect()
    }

    /// Why it cannot be told whether every hint holds: a hint is about a link below `/dev/disk`, and there is none. Without udev
    /// there are none at all. Blocks where a path is to be followed.
    pub(super) fn undecided(&self, disk: &Disk) -> Option<String> {
        let (open, told): (Vec<_>, Vec<_>) = self.0.iter().partition(|rule| rule.lacks_link(disk));
        let rest_holds = told.iter().all(|rule| rule.mismatch(disk).is_none());
        open.first().filter(|_| rest_holds).map(|rule| format!("{} = `{}`", rule.name, rule.given))
    }

    /// Whether every hint holds. Blocks where a path is to be followed.
    pub(super) fn match_all(&self, disk: &Disk) -> bool {
        self.0.iter().all(|rule| rule.mismatch(disk).is_none())
    }
}

impl Rule {
    fn lacks_link(&self, disk: &Disk) -> bool {
        match &self.test {
            Test::Text(..) => self.name == "by_path" && disk.by_path.is_none(),
            Test::Path(test) => test.paths.iter().any(|path| path.canonicalize().is_err()),
            Test::Gib(_) | Test::Rotational(_) => false,
        }
    }

    fn mismatch(&self, disk: &Disk) -> Option<String> {
        let Self { name, given, test } = self;
        let (holds, found) = match test {
            // What a disk does not say of itself fits no hint, not even that it is to be another.
            Test::Text(fact, test) => match fact(disk) {
                Some(text) => (test.matches(&text.to_lowercase()), format!("{text:?}")),
                None => (false, "not told".to_owned()),
            },
            Test::Gib(test) => {
                let gib = gib(disk.size);
                (test.matches(gib), format!("{gib} GiB"))
            }
            Test::Rotational(turns) => (disk.rotational == *turns, disk.rotational.to_string()),
            Test::Path(test) => (test.matches(Path::new(&disk.name)), format!("{:?}", disk.name)),
        };
        (!holds).then(|| format!("{name} is {found}, expected `{given}`"))
    }
}

impl PathTest {
    /// A path that leads nowhere tells nothing of the disk, not even that it is another.
    fn matches(&self, disk: &Path) -> bool {
        let mut targets = self.paths.iter().map(|path| path.canonicalize().ok());
        if self.is_one {
            targets.any(|target| target.as_deref() == Some(disk))
        } else {
            targets.all(|target| target.is_some_and(|target| target != disk))
        }
    }
}

/// GiB, as exact as the bytes: a division by a power of two loses nothing.
#[expect(clippy::cast_precision_loss, reason = "bytes of whole sectors are exact up to 4 EiB")]
pub(super) fn gib(bytes: u64) -> f64 {
    bytes as f64 / GIB
}

fn size_rule(value: &HintValue) -> Result<Rule, DiskError> {
    let given = match value {
        HintValue::Number(gib) => gib.to_string(),
        HintValue::Text(expression) => expression.clone(),
    };
    match NumberTest::parse(&given) {
        Ok(NumberTest::Compare(Comparison::Equal, 0.0)) => {
            Err(bad("size", &given, "expected GiB, at least 1; no disk has none"))
        }
        Ok(test) => Ok(Rule { name: "size", given, test: Test::Gib(test) }),
        Err(reason) => Err(bad("size", &given, reason)),
    }
}

fn text_rule(
    name: &'static str,
    value: Option<&String>,
    fact: fn(&Disk) -> Option<&String>,
) -> Option<Result<Rule, DiskError>> {
    let given = value?;
    Some(match TextTest::parse(&given.to_lowercase()) {
        Ok(test) => Ok(Rule { name, given: given.clone(), test: Test::Text(fact, test) }),
        Err(reason) => Err(bad(name, given, reason)),
    })
}

fn path_rule(given: &str) -> Result<Rule, DiskError> {
    const NAME: &str = "name";
    let (is_one, paths) = match TextTest::parse(given).map_err(|reason| bad(NAME, given, reason))? {
        TextTest::Compare(Comparison::Equal, path) => (true, vec![path]),
        TextTest::Compare(Comparison::NotEqual, path) => (false, vec![path]),
        TextTest::Or(paths) => (true, paths),
        TextTest::Compare(..) | TextTest::In(_) | TextTest::AllIn(_) => {
            return Err(bad(NAME, given, "a path is compared as a whole: use s==, s!= or <or>"));
        }
    };
    if let Some(path) = paths.iter().find(|path| !is_lasting(Path::new(path))) {
        return Err(bad(
            NAME,
            given,
            format!(
                "{path} is no path that stays the same over reboots; use a link in /dev/disk/by-id or /dev/disk/by-path, or another hint such as serial"
            ),
        ));
    }
    let paths = paths.into_iter().map(PathBuf::from).collect();
    Ok(Rule { name: NAME, given: given.to_owned(), test: Test::Path(PathTest { is_one, paths }) })
}

/// Whether a path may stay the same. What is right in `/dev` and `/dev/block` the kernel names and numbers in the order in which disks
/// happen to be found, and `/dev/disk/by-diskseq` is made of such numbers.
fn is_lasting(path: &Path) -> bool {
    let in_kernel_order = ["/dev", "/dev/block", "/dev/disk/by-diskseq"]
        .map(Path::new)
        .map(|folder| path.parent() == Some(folder));
    path.is_absolute()
        && path.file_name().is_some()
        && !path.components().any(|component| component == Component::ParentDir)
        && !in_kernel_order.contains(&true)
}

fn bad(hint: &'static str, value: &str, reason: impl Into<String>) -> DiskError {
    DiskError::BadHint { hint, value: value.to_owned(), reason: reason.into() }
}
