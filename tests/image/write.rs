//! The disk ends up holding exactly the image, whatever it held before.

use std::fs::OpenOptions;
use std::path::Path;

use farrier::image::{self, Image, ImageError, Target, Written};
use farrier::meter::Meter;
use farrier::wire::{ImageProgress, StepProgress};
use farrier_testbed::loop_device::LoopDevice;
use proptest::prelude::*;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::lab::{BOUND, Lab, MIB, digest_of, disk_like, image_at, settings, short, target};

/// An image whose blocks of 4 KiB are random where `holes` says so, and zero elsewhere.
fn with_holes(blocks: usize, is_hole: impl Fn(usize) -> bool) -> Vec<u8> {
    let mut image = disk_like(blocks * 4096);
    for (number, block) in image.chunks_mut(4096).enumerate() {
        if number > 0 && is_hole(number) {
            block.fill(0);
        }
    }
    image
}

async fn write(image: &Image, target: Target, meter: &Meter) -> Result<Written, ImageError> {
    let settings = settings(short());
    let writing = image::write(image, target, &settings, meter);
    tokio::time::timeout(BOUND, writing).await.expect("the pipeline neither ends nor fails")
}

#[tokio::test]
async fn zeros_replace_old_data_on_a_file() {
    for (name, is_hole) in [
        ("alternating", (|block| block % 2 == 0) as fn(usize) -> bool),
        ("rows of 64 KiB", |block| block / 16 % 2 == 1),
        ("rows that begin anywhere", |block| block % 100 > 37),
        ("nothing but zeros", |_| true),
    ] {
        let image = with_holes(2560, is_hole);
        let lab = Lab::with_disk(12 * MIB);
        let nginx = lab.serve(&image);
        lab.write(&nginx.url("image"), digest_of(&image), &Meter::unobserved()).await.unwrap();
        assert!(lab.content()[..image.len()] == image, "{name}");
        lab.assert_old(image.len(), 11 * MIB);
    }
}

#[tokio::test]
async fn zeros_replace_old_data_on_block_devices_of_both_sector_sizes() {
    for sector in [512, 4096] {
        let image = with_holes(2048, |block| block / 20 % 3 != 0);
        let lab = Lab::with_disk(9 * MIB);
        let nginx = lab.serve(&image);
        let device = LoopDevice::attach(&lab.disk, sector).unwrap();
        let disk = block_device(device.path(), 9 * MIB as u64, sector);
        let mut request = image_at(&nginx.url("image"), digest_of(&image));
        request.read_back = true;
        write(&request, disk, &Meter::unobserved()).await.unwrap();
        drop(device);
        assert!(lab.content()[..image.len()] == image, "sectors of {sector} bytes");
    }
}

fn block_device(path: &Path, capacity: u64, sector: u32) -> Target {
    let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
    Target { name: path.display().to_string(), file, capacity, sector }
}

#[tokio::test]
async fn what_is_read_back_is_what_was_written() {
    let image = with_holes(3000, |block| block % 50 > 20);
    let lab = Lab::with_disk(12 * MIB);
    let nginx = lab.serve(&image);
    let mut request = image_at(&nginx.url("image"), digest_of(&image));
    request.read_back = true;
    let shown = watch::Sender::new(None);
    let meter = Meter::new("write_image", 1, 1, CancellationToken::new(), shown.clone());
    write(&request, target(&lab.disk), &meter).await.unwrap();
    assert!(lab.content()[..image.len()] == image);
    // What lies between the ends of the disk was counted twice: when it came, and when it was read back.
    let body = 10 * MIB as u64;
    assert_eq!(meter.moved(), image.len() as u64 + body);
}

#[tokio::test]
async fn progress_tells_received_decoded_and_durable_bytes_apart() {
    let image = with_holes(2560, |block| block % 50 > 20);
    let lab = Lab::with_disk(12 * MIB);
    let nginx = lab.serve(&image);
    let shown = watch::Sender::new(None);
    let mut progress = shown.subscribe();
    let meter = Meter::new("write_image", 1, 1, CancellationToken::new(), shown);
    write(&image_at(&nginx.url("image"), digest_of(&image)), target(&lab.disk), &meter).await.unwrap();
    let last: StepProgress = progress.borrow_and_update().clone().unwrap();
    let bytes = image.len() as u64;
    let expected =
        ImageProgress { source_bytes: bytes, decoded_bytes: bytes, durable_bytes: bytes, attempt: 1 };
    assert_eq!((last.phase.as_deref(), last.image), (Some("done"), Some(expected)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn any_pattern_of_zeros_on_a_disk_of_any_size(
        rows in prop::collection::vec((1_usize..400, any::<bool>()), 1..24),
        cut in 0_usize..4096,
        room in 0_usize..3 * MIB,
    ) {
        let mut image = disk_like(4096);
        for (number, (blocks, hole)) in (1_u8..).zip(&rows) {
            let byte = if *hole { 0 } else { number };
            image.resize(image.len() + blocks * 4096, byte);
        }
        image.truncate(image.len() - cut);
        let lab = Lab::with_disk(image.len() + room);
        let nginx = lab.serve(&image);
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(lab.write(&nginx.url("image"), digest_of(&image), &Meter::unobserved())).unwrap();
        prop_assert!(lab.content()[..image.len()] == image);
    }
}
