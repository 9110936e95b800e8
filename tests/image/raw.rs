//! Raw images, from a real HTTP server to a file, and from broken ones.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::time::Duration;

use farrier::image::{self, Limits, Target};
use farrier::meter::Meter;
use farrier::wire::{Coded as _, Digest, ErrorCode};
use farrier_testbed::http::{Fault, FaultyServer};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::lab::{BOUND, Lab, MIB, code, digest_of, disk_like, image_at, settings, short, target};

#[tokio::test]
async fn writes_images_of_any_length_exactly_and_leaves_the_rest() {
    let disk = 6 * MIB;
    for length in
        [512, MIB - 1, MIB, MIB + 513, 3 * MIB, 3 * MIB + 4097, disk - MIB, disk - MIB + 1, disk - 1, disk]
    {
        let lab = Lab::with_disk(disk);
        let image = disk_like(length);
        let nginx = lab.serve(&image);
        let written = lab.write(&nginx.url("image"), digest_of(&image), &Meter::unobserved()).await.unwrap();

        assert_eq!((written.bytes, written.checksum), (length as u64, digest_of(&image)));
        let content = lab.content();
        assert!(content.len() == disk && content[..length] == image, "an image of {length} bytes");
        // Between the head and the tail nothing is touched; of the tail only what the image has is kept.
        if length.max(MIB) < disk - MIB {
            lab.assert_old(length.max(MIB), disk - MIB);
        }
        let rest = length.max(disk - MIB);
        assert!(content[rest..].iter().all(|byte| *byte == 0), "after an image of {length} bytes");
    }
}

#[tokio::test]
async fn writes_to_disks_that_are_hardly_larger_than_their_ends() {
    for disk in [MIB / 2, MIB, MIB + 512, 2 * MIB - 512, 2 * MIB] {
        let lab = Lab::with_disk(disk);
        let image = disk_like(disk);
        let nginx = lab.serve(&image);
        lab.write(&nginx.url("image"), digest_of(&image), &Meter::unobserved()).await.unwrap();
        assert!(lab.content() == image, "a disk of {disk} bytes");
    }
}

#[tokio::test]
async fn writes_where_the_length_is_not_told() {
    let lab = Lab::with_disk(4 * MIB);
    let image = disk_like(3 * MIB);
    let server = FaultyServer::start(image.clone(), Fault::NoContentLength).await.unwrap();
    lab.write(&server.url("image"), digest_of(&image), &Meter::unobserved()).await.unwrap();
    assert!(lab.content()[..image.len()] == image);
}

#[tokio::test]
async fn follows_a_redirect() {
    let lab = Lab::with_disk(4 * MIB);
    let image = disk_like(2 * MIB);
    let nginx = lab.serve(&image);
    let server = FaultyServer::start(Vec::new(), Fault::RedirectTo(nginx.url("image"))).await.unwrap();
    lab.write(&server.url("image"), digest_of(&image), &Meter::unobserved()).await.unwrap();
    assert!(lab.content()[..image.len()] == image);
}

#[tokio::test]
async fn a_wrong_digest_leaves_no_partition_table() {
    // The image reaches to the end of the disk, where the copy of its GPT would be.
    let lab = Lab::with_disk(4 * MIB);
    let image = disk_like(4 * MIB);
    let nginx = lab.serve(&image);
    let error =
        lab.write(&nginx.url("image"), Digest::Sha256([7; 32]), &Meter::unobserved()).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::DigestMismatch);
    let message = error.to_string();
    assert!(
        message.contains(&digest_of(&image).to_string()) && message.contains(&"07".repeat(32)),
        "{message}"
    );
    lab.assert_does_not_boot();
}

#[tokio::test]
async fn an_image_that_is_too_large_is_refused_before_anything_is_written() {
    let lab = Lab::with_disk(2 * MIB);
    let image = disk_like(2 * MIB + 1);
    let nginx = lab.serve(&image);
    let error = lab.write(&nginx.url("image"), digest_of(&image), &Meter::unobserved()).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::ImageTooLarge);
    let message = error.to_string();
    for part in [image.len().to_string(), (2 * MIB).to_string(), lab.disk.display().to_string()] {
        assert!(message.contains(&part), "{message}");
    }
    lab.assert_untouched();
}

#[tokio::test]
async fn an_image_of_untold_length_is_stopped_where_the_disk_ends() {
    let lab = Lab::with_disk(3 * MIB);
    let image = disk_like(5 * MIB);
    let server = FaultyServer::start(image.clone(), Fault::NoContentLength).await.unwrap();
    let result = lab.write(&server.url("image"), digest_of(&image), &Meter::unobserved()).await;
    assert_eq!(code(result), ErrorCode::ImageTooLarge);
    assert_eq!(lab.content().len(), 3 * MIB);
    lab.assert_does_not_boot();
}

#[tokio::test]
async fn what_is_no_disk_is_refused_before_anything_is_written() {
    let lab = Lab::with_disk(2 * MIB);
    let mut qcow = disk_like(MIB);
    qcow[..4].copy_from_slice(b"QFI\xfb");
    for (body, expected) in [
        (qcow, ErrorCode::ImageFormat),
        (b"<html>moved</html>".to_vec(), ErrorCode::ImageNotBootable),
        (Vec::new(), ErrorCode::ImageNotBootable),
    ] {
        let nginx = lab.serve(&body);
        let result = lab.write(&nginx.url("image"), digest_of(&body), &Meter::unobserved()).await;
        assert_eq!(code(result), expected);
        lab.assert_untouched();
    }
}

#[tokio::test]
async fn answers_other_than_an_image_are_told_apart() {
    let lab = Lab::with_disk(2 * MIB);
    let nginx = lab.serve(b"");
    let absent = lab.write(&nginx.url("absent"), Digest::Sha256([0; 32]), &Meter::unobserved()).await;
    assert_eq!(code(absent), ErrorCode::HttpStatus);

    let faults = [
        (Fault::Status(403), ErrorCode::HttpStatus),
        (Fault::Status(204), ErrorCode::HttpStatus),
        (Fault::Status(503), ErrorCode::HttpUnavailable),
        (Fault::Status(429), ErrorCode::HttpUnavailable),
        (Fault::RedirectTo("/again".into()), ErrorCode::HttpStatus),
    ];
    for (fault, expected) in faults {
        let server = FaultyServer::start(Vec::new(), fault.clone()).await.unwrap();
        let url = server.url("image?temp_url_sig=secret");
        let error = lab.write(&url, Digest::Sha256([0; 32]), &Meter::unobserved()).await.unwrap_err();
        assert_eq!(error.code(), expected, "{fault:?}");
        assert!(!error.report().message.contains("secret"), "{:?}", error.report());
    }

    let gone = nginx.url("image?temp_url_sig=secret");
    drop(nginx);
    let error = lab.write(&gone, Digest::Sha256([0; 32]), &Meter::unobserved()).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::HttpConnect);
    assert!(!error.report().message.contains("secret"), "{:?}", error.report());
    lab.assert_untouched();
}

#[tokio::test]
async fn a_connection_that_breaks_is_told_from_one_that_stalls() {
    let image = disk_like(4 * MIB);
    for (fault, expected) in [
        (Fault::CutAfter(3 * MIB), ErrorCode::HttpTruncated),
        (Fault::StallAfter(3 * MIB), ErrorCode::HttpStalled),
        (Fault::ContentLength(4 * MIB as u64 + 1), ErrorCode::HttpTruncated),
    ] {
        let lab = Lab::with_disk(5 * MIB);
        let server = FaultyServer::start(image.clone(), fault.clone()).await.unwrap();
        let result = lab.write(&server.url("image"), digest_of(&image), &Meter::unobserved()).await;
        assert_eq!(code(result), expected, "{fault:?}");
        lab.assert_does_not_boot();
    }
}

#[tokio::test]
async fn a_server_that_breaks_off_in_the_first_mib_leaves_the_disk_alone() {
    let image = disk_like(4 * MIB);
    for (fault, expected) in [
        (Fault::Silence, ErrorCode::HttpStalled),
        (Fault::CutAfter(0), ErrorCode::HttpTruncated),
        (Fault::StallAfter(MIB / 2), ErrorCode::HttpStalled),
    ] {
        let lab = Lab::with_disk(5 * MIB);
        let server = FaultyServer::start(image.clone(), fault.clone()).await.unwrap();
        let image = image_at(&server.url("image"), digest_of(&image));
        let limits = Limits { connect: Duration::from_millis(200), ..short() };
        let writing = image::write(&image, target(&lab.disk), &settings(limits), &Meter::unobserved()).await;
        assert_eq!(code(writing), expected, "{fault:?}");
        lab.assert_untouched();
    }
}

#[tokio::test]
async fn a_short_length_cuts_the_image_and_the_digest_tells() {
    let lab = Lab::with_disk(4 * MIB);
    let image = disk_like(3 * MIB);
    let server = FaultyServer::start(image.clone(), Fault::ContentLength(2 * MIB as u64)).await.unwrap();
    let result = lab.write(&server.url("image"), digest_of(&image), &Meter::unobserved()).await;
    assert_eq!(code(result), ErrorCode::DigestMismatch);
    lab.assert_does_not_boot();
}

#[tokio::test]
async fn while_it_is_written_the_disk_does_not_boot_and_cancelling_is_prompt() {
    // The image fills the disk, and the last piece that comes is of the body and of the tail.
    let lab = Lab::with_disk(7 * MIB + MIB / 2);
    let image = disk_like(7 * MIB + MIB / 2);
    let (body_end, sent) = (6 * MIB + MIB / 2, 7 * MIB);
    let server = FaultyServer::start(image.clone(), Fault::StallAfter(sent)).await.unwrap();
    let cancel = CancellationToken::new();
    let shown = watch::Sender::new(None);
    let mut progress = shown.subscribe();
    let meter = Meter::new("write_image", 1, 1, cancel.clone(), shown);
    let patient = Limits { stall: Duration::from_secs(3600), ..short() };
    let source = image_at(&server.url("image"), digest_of(&image));
    let disk = target(&lab.disk);
    let writing = tokio::spawn(async move { image::write(&source, disk, &settings(patient), &meter).await });

    server.has_sent(sent).await.unwrap();
    let file = File::open(&lab.disk).unwrap();
    let mut last = vec![0; 512];
    let written = async {
        // The last block of the body, which is written after all others.
        while last[..] != image[body_end - 512..body_end] {
            tokio::task::yield_now().await;
            file.read_exact_at(&mut last, (body_end - 512) as u64).unwrap();
        }
    };
    tokio::time::timeout(BOUND, written).await.expect("the body is not written");
    lab.assert_does_not_boot();
    assert_eq!(progress.borrow_and_update().as_ref().unwrap().phase.as_deref(), Some("download"));

    cancel.cancel();
    let ended = tokio::time::timeout(BOUND, writing).await.expect("cancelling waits for the server").unwrap();
    let error = ended.unwrap_err();
    assert!(error.is_cancelled() && error.code() == ErrorCode::Cancelled);
    lab.assert_does_not_boot();
}

#[tokio::test]
async fn cancelling_a_silent_server_leaves_the_disk_alone() {
    let lab = Lab::with_disk(2 * MIB);
    let server = FaultyServer::start(disk_like(2 * MIB), Fault::StallAfter(512)).await.unwrap();
    let cancel = CancellationToken::new();
    let meter = Meter::new("write_image", 1, 1, cancel.clone(), watch::Sender::new(None));
    let patient = Limits { stall: Duration::from_secs(3600), ..short() };
    let source = image_at(&server.url("image"), Digest::Sha256([0; 32]));
    let disk = target(&lab.disk);
    let writing = tokio::spawn(async move { image::write(&source, disk, &settings(patient), &meter).await });
    server.has_sent(512).await.unwrap();
    cancel.cancel();
    let ended = tokio::time::timeout(BOUND, writing).await.expect("cancelling waits for the server").unwrap();
    assert_eq!(code(ended), ErrorCode::Cancelled);
    lab.assert_untouched();
}

#[tokio::test]
async fn a_full_file_system_below_is_a_device_fault() {
    // Every write to it fails as those to a full file system do.
    let lab = Lab::with_disk(MIB);
    let image = disk_like(3 * MIB);
    let nginx = lab.serve(&image);
    let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
    let target = Target { name: "the full disk".into(), file: full, capacity: 4 * MIB as u64, sector: 512 };
    let image = image_at(&nginx.url("image"), digest_of(&image));
    let error = image::write(&image, target, &settings(short()), &Meter::unobserved()).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::DeviceIo);
    assert!(error.to_string().contains("the full disk"), "{error}");
}

#[test]
fn withdrawing_takes_the_partition_table_away_and_nothing_else() {
    let lab = Lab::with_disk(4 * MIB);
    image::withdraw(target(&lab.disk)).unwrap();
    lab.assert_does_not_boot();
    lab.assert_old(MIB, 3 * MIB);
}
