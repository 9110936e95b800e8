//! Deploy: images that are no use on a disk, and disks that have the same image.

use std::fs::{self, File};
use std::path::Path;

use farrier::wire::report::StepOutcome;
use farrier::wire::{ErrorCode, Work};
use farrier_testbed::http::{Fault, FaultyServer};
use farrier_testbed::loop_device::LoopDevice;

use crate::lab::*;

#[tokio::test]
async fn an_image_for_other_sectors_is_refused_before_anything_is_destroyed() {
    let lab = Lab::with_disks(&[40]);
    let nginx = lab.nginx();
    let device = LoopDevice::attach(&lab.disks[0], 4096).unwrap();
    let finished = lab.carry_out_on(vec![device.path().to_owned()], deploy(&nginx.url("disk.img"))).await;
    let (code, message) = failure(&finished);
    assert_eq!(code, ErrorCode::ImageNotBootable);
    assert!(
        message.contains("a GPT for sectors of 512 bytes, and the disk has sectors of 4096 bytes"),
        "{message}"
    );
    assert_eq!(steps(&finished).last(), Some(&("write_image", StepOutcome::Failed)));
    drop(device);
    lab.assert_old(0);
}

#[tokio::test]
async fn an_image_without_partitions_is_refused_before_anything_is_destroyed() {
    let lab = Lab::with_disks(&[4]);
    let mut image = vec![0x5a; 3 * MIB];
    image[510..512].copy_from_slice(b"\x55\xaa");
    let server = FaultyServer::start(image.clone(), Fault::NoContentLength).await.unwrap();
    let finished = lab.carry_out(Work::Deploy(Box::new(spec_of(&image, &server)))).await;
    let (code, message) = failure(&finished);
    assert_eq!(code, ErrorCode::ImageNotBootable);
    assert!(message.contains("lists no partition"), "{message}");
    lab.assert_old(0);
}

/// An MBR does not say for what sectors it is: only its partitions do, once they are on the disk.
#[tokio::test]
async fn an_image_with_an_mbr_for_other_sectors_is_taken_back() {
    let lab = Lab::with_disks(&[40]);
    let file = lab.dir.path().join("image");
    File::create(&file).unwrap().set_len(8 * MIB as u64).unwrap();
    must("mke2fs", &["-q", "-F", "-E", "offset=1048576"], &file, &["4M"]);
    let mut image = fs::read(&file).unwrap();
    image[446..462].copy_from_slice(&[0, 0, 0, 0, 0x83, 0, 0, 0, 0, 8, 0, 0, 0, 8, 0, 0]);
    image[510..512].copy_from_slice(b"\x55\xaa");
    let server = FaultyServer::start(image.clone(), Fault::NoContentLength).await.unwrap();
    let work = || Work::Deploy(Box::new(spec_of(&image, &server)));

    let finished = lab.carry_out(work()).await;
    let partitions = &deployed(&finished).partitions;
    assert_eq!((partitions.len(), &*partitions[0].type_guid), (1, "0x83"));

    let device = LoopDevice::attach(&lab.disks[0], 4096).unwrap();
    let finished = lab.carry_out_on(vec![device.path().to_owned()], work()).await;
    let (code, message) = failure(&finished);
    assert_eq!(code, ErrorCode::ImageNotBootable);
    assert!(message.contains("removed again") && message.contains("an MBR for sectors of 512"), "{message}");
    assert_eq!(steps(&finished).last(), Some(&("verify_partitions", StepOutcome::Failed)));
    drop(device);
    lab.assert_does_not_boot(0);
}

#[tokio::test]
async fn the_same_image_on_another_disk_is_reported() {
    let lab = Lab::with_disks(&[40, 40, 33]);
    let nginx = lab.nginx();
    let mut spec = deploy_spec(&nginx.url("disk.img"));
    for (disk, others) in [(0, 0), (1, 1), (2, 2)] {
        spec.root_device = Some(with_serial(&lab.disks[disk]));
        let finished = lab.carry_out(Work::Deploy(Box::new(spec.clone()))).await;
        let found = &deployed(&finished).duplicates;
        // That of the table, and those of two partitions with a UUID and a label in each.
        assert_eq!(found.len(), others * 7, "{found:?}");
        for (other, path) in lab.disks[..disk].iter().enumerate() {
            let on_other = found.iter().filter(|one| Path::new(&one.other_disk.name) == path);
            assert_eq!(on_other.count(), 7, "with disk {other}");
        }
    }
}
