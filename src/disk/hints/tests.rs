//! Choosing by every hint, and that the skip list wins.

use std::os::unix::fs::symlink;

use proptest::prelude::*;

use super::*;
use crate::wire::inventory;
use crate::wire::{Coded as _, ErrorCode, HintValue};

const GIB: u64 = 1 << 30;

/// A disk that tells everything of itself, some of it by its number.
fn facts(number: u64) -> inventory::Disk {
    let text = |text: &str| Some(format!("{text}{number}"));
    inventory::Disk {
        name: format!("/dev/sd{number}"),
        model: text("PM 983 "),
        size: number * GIB,
        rotational: number.is_multiple_of(2),
        wwn: text("0x5000C500A000000"),
        serial: text("S3YL"),
        vendor: text("Samsung "),
        wwn_with_extension: text("0x5000c500a000000x"),
        wwn_vendor_extension: text("0x1"),
        hctl: Some(format!("{number}:0:0:0")),
        by_path: Some(format!("/dev/disk/by-path/pci-0000:3b:00.0-nvme-{number}")),
        logical_sectors: 512,
        physical_sectors: 4096,
        tran: text("sas"),
        read_only: false,
    }
}

fn disks(numbers: impl IntoIterator<Item = u64>) -> Vec<Disk> {
    numbers.into_iter().map(|number| Disk::of_facts(facts(number))).collect()
}

fn hints(json: serde_json::Value) -> RootDeviceHints {
    serde_json::from_value(json).unwrap()
}

fn chosen(disks: &[Disk], hint: serde_json::Value) -> Result<String, DiskError> {
    choose_root(disks, Some(&hints(hint)), &[]).map(|disk| disk.facts().name.clone())
}

fn serial(value: &str) -> RootDeviceHints {
    RootDeviceHints { serial: Some(value.to_owned()), ..RootDeviceHints::default() }
}

#[test]
fn every_hint_chooses_its_disk() {
    let disks = disks([1, 2, 3]);
    for hint in [
        serde_json::json!({"size": 2}),
        serde_json::json!({"size": "<range-in> ( 1 3 )"}),
        serde_json::json!({"model": "pm 983 2"}),
        serde_json::json!({"vendor": "<in> SUNG 2"}),
        serde_json::json!({"serial": "s== s3yl2"}),
        serde_json::json!({"wwn": "0x5000c500a0000002"}),
        serde_json::json!({"wwn_with_extension": "0X5000C500A000000X2"}),
        serde_json::json!({"wwn_vendor_extension": "<or> 0x0 <or> 0x12"}),
        serde_json::json!({"rotational": true}),
        serde_json::json!({"hctl": "2:0:0:0"}),
        serde_json::json!({"by_path": "<all-in> /dev/disk/by-path nvme-2"}),
        serde_json::json!({"tran": "sas2"}),
        serde_json::json!({"size": ">= 2", "serial": "s< S3YL3"}),
    ] {
        assert_eq!(chosen(&disks, hint.clone()).unwrap(), "/dev/sd2", "{hint}");
    }
}

#[test]
fn a_name_is_followed_to_its_disk() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().canonicalize().unwrap();
    let path = |name: &str| root.join(name).to_str().unwrap().to_owned();
    let mut found = Vec::new();
    for (number, name) in [(1, "One.img"), (2, "Two.img")] {
        std::fs::write(root.join(name), b"").unwrap();
        symlink(root.join(name), root.join(format!("by-id-{number}"))).unwrap();
        found.push(Disk::of_facts(inventory::Disk { name: path(name), ..facts(number) }));
    }
    for (hint, expected) in [
        (path("by-id-2"), "Two.img"),
        (path("Two.img"), "Two.img"),
        (format!("s!= {}", path("by-id-1")), "Two.img"),
        (format!("<or> {} <or> {}", path("absent"), path("by-id-1")), "One.img"),
    ] {
        assert_eq!(
            chosen(&found, serde_json::json!({"name": hint})).unwrap(),
            path(expected),
            "{hint} leads to {expected}"
        );
    }
    for nowhere in [path("absent"), format!("s!= {}", path("absent"))] {
        let error = chosen(&found, serde_json::json!({"name": nowhere})).unwrap_err();
        assert_eq!(error.code(), ErrorCode::NoRootDevice, "{nowhere}: {error}");
    }
}

#[test]
fn names_that_the_kernel_gives_are_refused() {
    for name in [
        "/dev/sda",
        "/dev//nvme0n1",
        "/dev/./vda",
        "/dev/sda/",
        "/dev/loop0",
        "sda",
        "nvme0n1",
        "/",
        "/dev/disk/../sda",
        "/dev/block/8:0",
        "/dev/disk/by-diskseq/4",
        "s== /dev/sda",
        "s!= /dev/sda",
        "<or> /dev/disk/by-id/a <or> /dev/sda",
    ] {
        let error = chosen(&disks([1]), serde_json::json!({"name": name})).unwrap_err();
        assert_eq!(error.code(), ErrorCode::BadHint, "{name}");
        assert!(error.to_string().contains("use a link in /dev/disk/by-id"), "{error}");
    }
    let error = chosen(&disks([1]), serde_json::json!({"name": "<in> nvme"})).unwrap_err();
    assert_eq!(
        error.to_string(),
        "root device hint name = \"<in> nvme\": a path is compared as a whole: use s==, s!= or <or>"
    );
}

#[test]
fn a_hint_that_cannot_be_read_is_named() {
    for (hint, expected) in [
        (serde_json::json!({"size": 0}), "root device hint size = \"0\": expected GiB, at least 1"),
        (serde_json::json!({"size": "big"}), "root device hint size = \"big\": expected a number"),
        (serde_json::json!({"model": ""}), "root device hint model = \"\": expected a value, found none"),
        (serde_json::json!({"tran": ">= 1"}), "root device hint tran = \">= 1\": expected text"),
    ] {
        let error = chosen(&disks([1]), hint.clone()).unwrap_err();
        assert_eq!(error.code(), ErrorCode::BadHint, "{hint}");
        assert!(error.to_string().starts_with(expected), "{hint}: {error}");
        // The skip list is read as strictly, before any disk is looked at.
        let error = split_skipped(&[], &[hints(hint)]).unwrap_err();
        assert_eq!(error.code(), ErrorCode::BadHint);
    }
}

#[test]
fn no_disk_fits_and_each_says_why() {
    let mut found = disks([1, 2, 3]);
    found.push(Disk::of_facts(inventory::Disk {
        name: "/dev/sr0".to_owned(),
        size: 5 * GIB,
        read_only: true,
        ..inventory::Disk::default()
    }));
    let wanted = hints(serde_json::json!({"size": ">= 2"}));
    let error = choose_root(&found, Some(&wanted), &[serial("S3YL2"), serial("s3yl3")]).unwrap_err();
    assert_eq!(error.code(), ErrorCode::NoRootDevice);
    assert_eq!(
        error.to_string(),
        "no disk fits the root device hints; \
         /dev/sd1 (1.0 GiB, model PM 983 1, serial S3YL1, wwn 0x5000C500A0000001): size is 1 GiB, expected `>= 2`; \
         /dev/sd2 (2.0 GiB, model PM 983 2, serial S3YL2, wwn 0x5000C500A0000002): skipped by skip_block_devices[0]; \
         /dev/sd3 (3.0 GiB, model PM 983 3, serial S3YL3, wwn 0x5000C500A0000003): skipped by skip_block_devices[1]; \
         /dev/sr0 (5.0 GiB): read-only"
    );
    let error = choose_root(&[], None, &[]).unwrap_err();
    assert_eq!(error.to_string(), "no disk fits the root device hints; there are no disks");
}

#[test]
fn what_a_disk_does_not_tell_fits_no_hint() {
    let silent = [Disk::of_facts(inventory::Disk { name: "/dev/vda".to_owned(), ..Default::default() })];
    for hint in
        [serde_json::json!({"serial": "x"}), serde_json::json!({"serial": "s!= x", "rotational": false})]
    {
        let error = chosen(&silent, hint).unwrap_err().to_string();
        assert!(error.contains("/dev/vda (0.0 GiB): serial is not told, expected `"), "{error}");
        assert!(!error.contains("rotational"), "only what does not hold: {error}");
    }
}

#[test]
fn without_hints_there_must_be_one_disk() {
    let found = disks([1, 2]);
    for none in [None, Some(RootDeviceHints::default())] {
        let error = choose_root(&found, none.as_ref(), &[]).unwrap_err();
        assert_eq!(error.code(), ErrorCode::AmbiguousRootDevice);
        assert_eq!(error.to_string().matches("): fits").count(), 2, "{error}");
        let left = choose_root(&found, none.as_ref(), &[serial("S3YL1")]).unwrap();
        assert_eq!(left.facts().name, "/dev/sd2");
    }
}

#[test]
fn a_skip_entry_that_says_nothing_is_refused() {
    let error = split_skipped(&disks([1]), &[serial("a"), RootDeviceHints::default()]).unwrap_err();
    assert_eq!(error.code(), ErrorCode::BadHint);
    assert!(error.to_string().contains("skip_block_devices = \"entry 1\": it says nothing"), "{error}");
}

#[test]
fn skipped_disks_are_told_apart_in_order() {
    let found = disks([1, 2, 3, 4]);
    let names = |disks: &[&Disk]| disks.iter().map(|disk| disk.facts().name.clone()).collect::<Vec<_>>();
    let (kept, skipped) =
        split_skipped(&found, &[serial("<or> s3yl4 <or> s3yl1"), serial("absent")]).unwrap();
    assert_eq!(names(&kept), ["/dev/sd2", "/dev/sd3"]);
    assert_eq!(names(&skipped), ["/dev/sd1", "/dev/sd4"]);
}

#[test]
fn a_skip_entry_by_a_link_that_is_not_there_is_an_error_and_erases_nothing() {
    let bare = [Disk::of_facts(inventory::Disk { by_path: None, ..facts(1) })];
    for entry in [
        serde_json::json!({"by_path": "/dev/disk/by-path/pci-0000:3b:00.0-nvme-1"}),
        serde_json::json!({"name": "/dev/disk/by-id/nowhere"}),
    ] {
        let skip = [hints(entry.clone())];
        let error = split_skipped(&bare, &skip).unwrap_err();
        assert_eq!(error.code(), ErrorCode::BadHint, "{entry}: {error}");
        assert!(error.to_string().contains("/dev/sd1"), "{error}");
        assert!(choose_root(&bare, None, &skip).is_err(), "{entry}");
    }
    // What rules the disk out otherwise leaves nothing open.
    let other = [hints(serde_json::json!({"by_path": "x", "serial": "of another"}))];
    assert!(split_skipped(&bare, &other).unwrap().1.is_empty());
}

fn any_hints() -> impl Strategy<Value = RootDeviceHints> {
    let size = prop_oneof![
        (1..6_u64).prop_map(HintValue::Number),
        (prop::sample::select(vec!["", "==", "!=", "<", "<=", ">", ">=", "="]), 1..6_u64)
            .prop_map(|(operator, gib)| HintValue::Text(format!("{operator} {gib}"))),
    ];
    let serial = (prop::sample::select(vec!["", "s==", "s!=", "s<", "s>=", "<in>", "<or>"]), 1..6_u64)
        .prop_map(|(operator, number)| format!("{operator} S3YL{number}"));
    (prop::option::of(size), prop::option::of(serial), prop::option::of(any::<bool>())).prop_map(
        |(size, serial, rotational)| RootDeviceHints {
            size,
            serial,
            rotational,
            ..RootDeviceHints::default()
        },
    )
}

fn any_skip_entry() -> impl Strategy<Value = RootDeviceHints> {
    any_hints().prop_filter("says something", |hints| *hints != RootDeviceHints::default())
}

fn matches_all(disk: &Disk, hints: &RootDeviceHints) -> bool {
    Rules::parse(hints).unwrap().match_all(disk.facts())
}

proptest! {
    /// Whatever the hints say, a disk that the skip list names is never chosen, and a choice is the only one possible.
    #[test]
    fn the_skip_list_wins_and_a_choice_is_unique(
        numbers in prop::collection::btree_set(1..6_u64, 0..5),
        wanted in any_hints(),
        skip in prop::collection::vec(any_skip_entry(), 0..3),
    ) {
        let found = disks(numbers);
        let is_skipped = |disk: &Disk| skip.iter().any(|entry| matches_all(disk, entry));
        let fitting: Vec<_> =
            found.iter().filter(|disk| !is_skipped(disk) && matches_all(disk, &wanted)).collect();
        match choose_root(&found, Some(&wanted), &skip) {
            Ok(disk) => {
                prop_assert!(!is_skipped(disk));
                prop_assert_eq!(fitting.len(), 1);
                prop_assert_eq!(&disk.facts().name, &fitting[0].facts().name);
            }
            Err(error) => {
                let expected =
                    if fitting.is_empty() { ErrorCode::NoRootDevice } else { ErrorCode::AmbiguousRootDevice };
                prop_assert_eq!(error.code(), expected);
                prop_assert_ne!(fitting.len(), 1);
                for disk in &found {
                    prop_assert!(error.to_string().contains(&disk.facts().name), "{}", error);
                }
            }
        }
    }

    /// To name the very disk that is wanted in the skip list leaves no choice.
    #[test]
    fn a_disk_that_is_wanted_and_skipped_is_skipped(number in 1..6_u64) {
        let name = serial(&format!("S3YL{number}"));
        let error = choose_root(&disks([number]), Some(&name), std::slice::from_ref(&name)).unwrap_err();
        prop_assert_eq!(error.code(), ErrorCode::NoRootDevice);
        prop_assert!(error.to_string().ends_with("skipped by skip_block_devices[0]"), "{}", error);
    }

    /// Every disk is on one side, and another entry only ever moves disks to the skipped side.
    #[test]
    fn splitting_loses_no_disk(
        numbers in prop::collection::btree_set(1..6_u64, 0..5),
        mut skip in prop::collection::vec(any_skip_entry(), 1..3),
    ) {
        let found = disks(numbers);
        let (kept, skipped) = split_skipped(&found, &skip).unwrap();
        prop_assert_eq!(kept.len() + skipped.len(), found.len());
        skip.pop();
        let (kept_by_fewer, _) = split_skipped(&found, &skip).unwrap();
        prop_assert!(kept_by_fewer.len() >= kept.len());
    }
}
