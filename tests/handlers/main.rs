//! Inspect, clean and deploy on lab disks and loop devices, as every worker calls them.

#![expect(clippy::unwrap_used, reason = "what a test cannot set up, it cannot test")]

mod deploy;
mod lab;
mod partitions;

use std::fs::File;
use std::path::{Path, PathBuf};

use farrier::wire::report::{EraseProof, Output, StepOutcome};
use farrier::wire::{CleanSpec, ErrorCode, InspectSpec, NoopSpec, Outcome, Work};
use nix::fcntl::{Flock, FlockArg};

use crate::lab::*;

#[tokio::test]
async fn noop_does_nothing() {
    let lab = Lab::with_disks(&[1]);
    let finished = lab.carry_out(Work::Noop(NoopSpec {})).await;
    assert_eq!((finished.outcome, &finished.output), (Outcome::Succeeded, &Some(Output::Noop {})));
    lab.assert_old(0);
}

#[tokio::test]
async fn before_the_power_is_switched_all_is_flushed_unless_it_failed() {
    let lab = Lab { flush: true, ..Lab::with_disks(&[1]) };
    let mut progress = lab.progress.subscribe();
    let finished = lab.carry_out(Work::Noop(NoopSpec {})).await;
    assert_eq!(steps(&finished), [("noop", StepOutcome::Succeeded), ("flush", StepOutcome::Succeeded)]);
    let shown = progress.borrow_and_update().clone().unwrap();
    assert_eq!((shown.step.as_str(), shown.step_number, shown.step_count), ("flush", 2, 2));
    let failed = lab.carry_out(deploy("http://127.0.0.1:9/image")).await;
    assert_eq!(steps(&failed).last(), Some(&("write_image", StepOutcome::Failed)));
}

#[tokio::test]
async fn inspect_lists_the_lab_disks_and_no_other() {
    let lab = Lab::with_disks(&[2, 3]);
    let finished = lab.carry_out(Work::Inspect(InspectSpec {})).await;
    assert_eq!(steps(&finished), [("collect_inventory", StepOutcome::Succeeded)]);
    let Some(Output::Inventory(inventory)) = &finished.output else { panic!("{finished:?}") };
    let mut found: Vec<_> =
        inventory.disks.iter().map(|disk| (PathBuf::from(&disk.name), disk.size)).collect();
    found.sort();
    let expected: Vec<_> = lab.disks.iter().cloned().zip([2 * MIB as u64, 3 * MIB as u64]).collect();
    assert_eq!(found, expected);
    lab.assert_old(0);
}

#[tokio::test]
async fn clean_erases_every_disk_and_proves_it() {
    let lab = Lab::with_disks(&[8, 4]);
    let finished = lab.carry_out(Work::Clean(CleanSpec::default())).await;
    assert_eq!(finished.outcome, Outcome::Succeeded, "{finished:?}");
    assert_eq!(
        steps(&finished),
        [
            ("choose_devices", StepOutcome::Succeeded),
            ("erase_devices_metadata", StepOutcome::Succeeded),
            ("erase_devices", StepOutcome::Succeeded),
        ]
    );
    let report = cleaned(&finished);
    assert_eq!((report.devices.len(), report.skipped.len()), (4, 0));
    for (entry, bytes) in report.devices[2..].iter().zip([8 * MIB as u64, 4 * MIB as u64]) {
        assert_eq!(entry.proof, EraseProof { bytes_verified: bytes, complete: true });
    }
    lab.assert_zero(0);
    lab.assert_zero(1);
}

#[tokio::test]
async fn clean_leaves_alone_what_the_skip_list_names() {
    let lab = Lab::with_disks(&[2, 2]);
    let spec = CleanSpec { skip_block_devices: vec![with_serial(&lab.disks[0])], ..CleanSpec::default() };
    let finished = lab.carry_out(Work::Clean(spec)).await;
    assert_eq!(finished.outcome, Outcome::Succeeded, "{finished:?}");
    let report = cleaned(&finished);
    assert_eq!((report.devices.len(), report.skipped.len()), (2, 1));
    assert_eq!(Path::new(&report.skipped[0].name), lab.disks[0]);
    lab.assert_old(0);
    lab.assert_zero(1);
}

#[tokio::test]
async fn clean_fails_where_nothing_is_to_be_erased_unless_that_is_fine() {
    let lab = Lab::with_disks(&[1]);
    let mut spec = CleanSpec { skip_block_devices: vec![with_serial(&lab.disks[0])], ..CleanSpec::default() };
    let finished = lab.carry_out(Work::Clean(spec.clone())).await;
    let (code, message) = failure(&finished);
    assert_eq!(code, ErrorCode::NothingToErase);
    assert!(message.contains("allow_no_devices"), "{message}");

    spec.allow_no_devices = true;
    let finished = lab.carry_out(Work::Clean(spec)).await;
    assert_eq!(finished.outcome, Outcome::Succeeded, "{finished:?}");
    lab.assert_old(0);
}

#[tokio::test]
async fn clean_reports_the_disks_that_were_erased_before_one_failed() {
    let lab = Lab::with_disks(&[2, 2]);
    let held = Flock::lock(File::open(&lab.disks[1]).unwrap(), FlockArg::LockExclusiveNonblock).unwrap();
    let finished = lab.carry_out(Work::Clean(CleanSpec::default())).await;
    let (code, message) = failure(&finished);
    assert_eq!(code, ErrorCode::DeviceInUse);
    assert!(message.contains("disk1"), "{message}");
    let names: Vec<_> =
        cleaned(&finished).devices.iter().map(|entry| Path::new(&entry.device.name)).collect();
    assert_eq!(names, [&lab.disks[0]]);
    drop(held);
    lab.assert_old(1);
}

#[tokio::test]
async fn without_a_lab_disk_nothing_is_destroyed() {
    let lab = Lab::with_disks(&[]);
    for work in
        [Work::Clean(CleanSpec { allow_no_devices: true, ..CleanSpec::default() }), deploy("http://h/i")]
    {
        let finished = lab.carry_out(work).await;
        let (code, message) = failure(&finished);
        assert_eq!(code, ErrorCode::NoLabDisks);
        assert!(message.contains("--lab-disk"), "{message}");
    }
}

#[tokio::test]
async fn what_is_cancelled_before_it_begins_does_nothing() {
    let lab = Lab::with_disks(&[1]);
    lab.cancel.cancel();
    for work in
        [Work::Clean(CleanSpec::default()), deploy("http://127.0.0.1:9/image"), Work::Noop(NoopSpec {})]
    {
        let finished = lab.carry_out(work).await;
        assert_eq!((finished.outcome, finished.steps.len()), (Outcome::Cancelled, 0));
    }
    lab.assert_old(0);
}
