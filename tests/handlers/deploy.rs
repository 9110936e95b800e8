//! Deploy: whole images, and what keeps one from being whole.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use farrier::image::Limits;
use farrier::wire::report::StepOutcome;
use farrier::wire::{DeploySpec, ErrorCode, Outcome, RootDeviceHints, Work};
use farrier_testbed::http::{Fault, FaultyServer};
use farrier_testbed::lab_disk::OLD_DATA;
use farrier_testbed::loop_device::LoopDevice;

use crate::lab::*;

#[tokio::test]
async fn deploy_writes_a_real_image_to_the_disk_that_the_hints_choose() {
    let lab = Lab::with_disks(&[40, 40]);
    let nginx = lab.nginx();
    let mut spec = deploy_spec(&nginx.url("disk.img?temp_url_sig=secret"));
    spec.root_device = Some(with_serial(&lab.disks[1]));
    let finished = lab.carry_out(Work::Deploy(Box::new(spec))).await;

    let report = deployed(&finished);
    assert_eq!(
        steps(&finished),
        [
            ("choose_root_device", StepOutcome::Succeeded),
            ("write_image", StepOutcome::Succeeded),
            ("verify_partitions", StepOutcome::Succeeded),
        ]
    );
    assert_eq!(finished.steps[1].bytes, IMAGE.size);
    assert_eq!(report.image_bytes, IMAGE.size);
    assert_eq!(report.image_checksum.to_string(), format!("sha256:{}", IMAGE.sha256_hex));
    assert_eq!(Path::new(&report.root_device.name), lab.disks[1]);
    assert!(report.bytes_per_second > 0 && !report.image_source.contains("secret"), "{report:?}");
    let labels: Vec<_> = report.partitions.iter().map(|partition| partition.label.as_str()).collect();
    assert_eq!(labels, ["ESP", "root"]);
    assert_eq!((report.duplicates.as_slice(), report.unexamined.as_slice()), (&[][..], &[][..]));
    lab.assert_holds_image(1);
    lab.assert_old(0);
}

#[tokio::test]
async fn deploy_writes_to_a_block_device() {
    let lab = Lab { flush: true, ..Lab::with_disks(&[40]) };
    let nginx = lab.nginx();
    let device = LoopDevice::attach(&lab.disks[0], 512).unwrap();
    let finished = lab.carry_out_on(vec![device.path().to_owned()], deploy(&nginx.url("disk.img"))).await;
    assert_eq!(deployed(&finished).partitions.len(), 2);
    assert_eq!(steps(&finished)[3..], [("flush", StepOutcome::Succeeded)]);
    drop(device);
    lab.assert_holds_image(0);
}

#[tokio::test]
async fn an_image_that_cannot_be_had_whole_leaves_no_partition_table() {
    let image = fs::read(&IMAGE.path).unwrap();
    for (fault, expected) in [
        (Fault::CutAfter(20 * MIB), ErrorCode::HttpTruncated),
        (Fault::StallAfter(20 * MIB), ErrorCode::HttpStalled),
        (Fault::ContentLength(20 * MIB as u64), ErrorCode::DigestMismatch),
    ] {
        let lab = Lab::with_disks(&[32]);
        let server = FaultyServer::start(image.clone(), fault).await.unwrap();
        let finished = lab.carry_out(deploy(&server.url("image"))).await;
        assert_eq!(failure(&finished).0, expected);
        assert_eq!(steps(&finished).last(), Some(&("write_image", StepOutcome::Failed)));
        assert_eq!(finished.output, None);
        lab.assert_does_not_boot(0);
    }
}

#[tokio::test]
async fn an_image_that_is_refused_leaves_the_disk_as_it_was() {
    let lab = Lab::with_disks(&[31]);
    let nginx = lab.nginx();
    let too_large = lab.carry_out(deploy(&nginx.url("disk.img"))).await;
    assert_eq!(failure(&too_large).0, ErrorCode::ImageTooLarge);
    let absent = lab.carry_out(deploy(&nginx.url("absent.img"))).await;
    assert_eq!(failure(&absent).0, ErrorCode::HttpStatus);

    let server = FaultyServer::start(Vec::new(), Fault::Status(503)).await.unwrap();
    let unavailable = lab.carry_out(deploy(&server.url("image"))).await;
    assert_eq!(failure(&unavailable).0, ErrorCode::HttpUnavailable);

    let server = FaultyServer::start(b"KDMV\x01\0\0\0".to_vec(), Fault::NoContentLength).await.unwrap();
    let finished = lab.carry_out(deploy(&server.url("image"))).await;
    let (code, message) = failure(&finished);
    assert_eq!(code, ErrorCode::ImageFormat);
    assert!(message.contains("VMDK") && message.contains("raw"), "{message}");
    lab.assert_old(0);
}

#[tokio::test]
async fn hints_that_fit_no_disk_or_several_list_every_candidate() {
    let lab = Lab::with_disks(&[2, 3]);
    let both = RootDeviceHints { model: Some("lab disk".into()), ..RootDeviceHints::default() };
    let none = RootDeviceHints { serial: Some("elsewhere".into()), ..RootDeviceHints::default() };
    for (hints, expected) in [
        (Some(both), ErrorCode::AmbiguousRootDevice),
        (None, ErrorCode::AmbiguousRootDevice),
        (Some(none), ErrorCode::NoRootDevice),
    ] {
        let spec = DeploySpec { root_device: hints, ..deploy_spec("http://127.0.0.1:9/image") };
        let finished = lab.carry_out(Work::Deploy(Box::new(spec))).await;
        let (code, message) = failure(&finished);
        assert_eq!(code, expected);
        for disk in &lab.disks {
            assert!(message.contains(disk.to_str().unwrap()), "{disk:?} is not in: {message}");
        }
        assert_eq!(steps(&finished), [("choose_root_device", StepOutcome::Failed)]);
    }
}

#[tokio::test]
async fn deploy_never_takes_what_the_skip_list_names() {
    let lab = Lab::with_disks(&[2]);
    let mut spec = deploy_spec("http://127.0.0.1:9/image");
    spec.root_device = Some(with_serial(&lab.disks[0]));
    spec.skip_block_devices = vec![with_serial(&lab.disks[0])];
    let finished = lab.carry_out(Work::Deploy(Box::new(spec))).await;
    assert_eq!(failure(&finished).0, ErrorCode::NoRootDevice);
    lab.assert_old(0);
}

#[tokio::test]
async fn cancelling_in_the_middle_of_a_write_leaves_no_partition_table() {
    let lab = Lab { limits: Limits { stall: BOUND, ..short() }, ..Lab::with_disks(&[32]) };
    let image = fs::read(&IMAGE.path).unwrap();
    let server = FaultyServer::start(image, Fault::StallAfter(20 * MIB)).await.unwrap();
    let cancel_once_written = async {
        server.has_sent(20 * MIB).await.unwrap();
        // The head of the ESP, in the second MiB, is one of the first things written.
        let disk = File::open(&lab.disks[0]).unwrap();
        let mut block = vec![0; OLD_DATA.len()];
        while {
            disk.read_exact_at(&mut block, MIB as u64).unwrap();
            block == OLD_DATA
        } {
            tokio::task::yield_now().await;
        }
        lab.cancel.cancel();
    };
    let (finished, ()) = tokio::join!(lab.carry_out(deploy(&server.url("image"))), async {
        tokio::time::timeout(BOUND, cancel_once_written).await.expect("nothing is written");
    });
    assert_eq!(finished.outcome, Outcome::Cancelled, "{finished:?}");
    assert_eq!(finished.error.as_ref().unwrap().code, ErrorCode::Cancelled);
    assert_eq!(steps(&finished)[1], ("write_image", StepOutcome::Cancelled));
    lab.assert_does_not_boot(0);
}
