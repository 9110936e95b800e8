//! What is refused, and what is said of it.

use super::super::Qcow2Flaw;
use super::super::memory::{CAPACITY, decode, plan};
use super::builder::Builder;
use super::by_hand::flaw;
use crate::image::ImageError;
use crate::wire::{Coded as _, ErrorCode};

fn image() -> Builder {
    let mut image = Builder::new(12, 64 << 10);
    let table = image.cluster(&[]);
    let data = image.full_of(1);
    image.l1(0, table).l2(table, 0, data);
    image
}

/// Changes some bytes of a good image and expects a flaw of this code that says this.
#[track_caller]
fn refuse(at: usize, bytes: &[u8], code: ErrorCode, says: &str) {
    let mut image = image();
    decode(&image.file, &[4096]).unwrap();
    image.set(at, bytes);
    let error = decode(&image.file, &[4096]).unwrap_err();
    assert!(error.to_string().contains(says), "{error}");
    assert!(error.to_string().starts_with("http://h/image.qcow2 "), "{error}");
    assert_eq!(error.code(), code, "{error}");
}

#[test]
fn whatever_would_open_another_file_or_is_not_understood() {
    let unsupported = ErrorCode::ImageUnsupported;
    refuse(8, &[0, 0, 0, 0, 0, 0, 1, 0], unsupported, "has a backing file, which is never opened");
    refuse(79, &[1 << 2], unsupported, "has its data in an external file, which is never opened");
    refuse(35, &[1], unsupported, "is encrypted (crypt_method 1)");
    refuse(35, &[2], unsupported, "is encrypted (crypt_method 2)");
    refuse(79, &[1 << 5], unsupported, "features that are not known: bit 5; convert it");
    refuse(72, &[0x80, 0, 0, 0, 1], unsupported, "bit 24, bit 63");
    refuse(4, &[0, 0, 0, 1], unsupported, "has the qcow2 version 1; expected 2 or 3");
    refuse(4, &[0, 0, 0, 4], unsupported, "version 4");
    refuse(
        100,
        &[0, 0, 0, 112, 2],
        unsupported,
        "has the qcow2 compression type 2; expected 0 (zlib) or 1 (zstd)",
    );
    refuse(79, &[1 << 1], ErrorCode::ImageCorrupt, "is marked as corrupt in its qcow2 header");
}

#[test]
fn numbers_that_make_no_sense() {
    let corrupt = ErrorCode::ImageCorrupt;
    refuse(0, b"QFI\xfa", corrupt, "magic");
    refuse(23, &[8], corrupt, "has the cluster_bits 8 in its qcow2 header; expected 9 to 21");
    refuse(23, &[22], corrupt, "cluster_bits 22");
    refuse(20, &[255, 255, 255, 255], corrupt, "cluster_bits 4294967295");
    refuse(
        79,
        &[1 << 4],
        corrupt,
        "has the cluster_bits 12 in its qcow2 header; expected 14 to 21 with extended L2 entries",
    );
    refuse(24, &[0; 8], corrupt, "has the size 0 in its qcow2 header");
    refuse(31, &[1], corrupt, "expected a multiple of 512 that is not 0");
    refuse(
        36,
        &[0, 0, 0, 0],
        corrupt,
        "has the l1_size 0 in its qcow2 header; expected 1 to 4194304 entries",
    );
    refuse(36, &[0, 64, 0, 1], corrupt, "l1_size 4194305");
    refuse(47, &[1], corrupt, "l1_table_offset");
    refuse(40, &[0; 8], corrupt, "l1_table_offset 0");
    refuse(
        40,
        &[0, 0, 0, 0, 0, 16, 0, 0],
        corrupt,
        "ends before byte 1048584, up to which there should be a part of its qcow2 L1 table",
    );
    refuse(99, &[7], corrupt, "refcount_order 7");
    refuse(103, &[96], corrupt, "header_length 96");
    refuse(103, &[105], corrupt, "header_length 105");
    refuse(102, &[16, 8], corrupt, "header_length 4104");
    refuse(100, &[0, 0, 0, 112, 1], corrupt, "compression_type 1");
    refuse(79, &[1 << 3], corrupt, "compression_type 0");
    // The L1 table is at 4096, the L2 table at 12288.
    refuse(4103, &[1], corrupt, "L1 table entry 0x0000000000003001 at byte 4096 of the file");
    refuse(4102, &[0x32], corrupt, "an offset that is a multiple of the cluster size");
    refuse(
        4096,
        &[0, 0, 0, 0, 0, 1, 0, 0],
        corrupt,
        "ends before byte 69632, up to which there should be a part of its qcow2 L2 table",
    );
    refuse(12295, &[2], corrupt, "L2 table entry 0x0000000000004002 at byte 12288 of the file");
    refuse(12302, &[2, 0], corrupt, "an offset that is a multiple of the cluster size");
    refuse(
        12288,
        &[0, 0, 0, 0, 0, 0, 0x50, 0],
        corrupt,
        "the content of its disk at byte 0 lies at byte 20480",
    );
}

#[test]
fn bitmaps_of_subclusters_that_disagree() {
    let image = |entry: u64, bitmap: u64| {
        let mut image = Builder::new(14, 64 << 10);
        image.number(72, 1 << 4);
        let table = image.cluster(&[]);
        let data = image.full_of(1);
        let entry = if entry == 1 { data } else { entry };
        image.l1(0, table).l2(table, 2, entry).l2(table, 3, bitmap);
        image.file
    };
    decode(&image(1, 0xff00_0000_00ff_ffff), &[4096]).unwrap();
    decode(&image(0, 0xffff_ffff_0000_0000), &[4096]).unwrap();
    let cases = [(1, 1 << 32 | 1), (0, 1), (0x4003, 0), (super::builder::COMPRESSED | 0x10000, 1)];
    for (entry, bitmap) in cases {
        let error = flaw(plan(&image(entry, bitmap), None));
        assert!(matches!(error, Qcow2Flaw::Entry { .. }), "{error}");
    }
}

#[test]
fn features_are_named_by_the_image_and_escaped() {
    let mut image = image();
    let mut table = vec![0x68, 0x03, 0xf8, 0x57, 0, 0, 0, 96];
    for (kind, bit, name) in [(1, 40, "not this"), (0, 40, "warp\n\x1b[2J")] {
        let mut entry = vec![0; 48];
        entry[..2].copy_from_slice(&[kind, bit]);
        entry[2..2 + name.len()].copy_from_slice(name.as_bytes());
        table.extend(entry);
    }
    // Behind another extension of an odd length.
    image.set(104, &[0x12, 0x34, 0, 0, 0, 0, 0, 3, 9, 9, 9, 0, 0, 0, 0, 0]).set(120, &table);
    image.number(72, 1 << 40 | 1 << 41);
    let error = flaw(decode(&image.file, &[4096]));
    assert_eq!(error, Qcow2Flaw::Features { features: r#"bit 40 ("warp\n\x1b[2J"), bit 41"#.to_owned() });
}

#[test]
fn dirty_images_and_unknown_features_that_may_be_ignored_are_taken() {
    let mut image = image();
    image.number(72, 1).number(80, u64::MAX).number(88, u64::MAX);
    decode(&image.file, &[4096]).unwrap();
}

#[test]
fn a_disk_that_does_not_fit() {
    let mut image = image();
    image.number(24, CAPACITY + 512).set(36, &600_u32.to_be_bytes());
    let error = plan(&image.file, None).unwrap_err();
    assert!(matches!(error, ImageError::TooLarge { found: 67_109_376, capacity: CAPACITY, .. }), "{error}");
}

#[test]
fn an_image_that_is_cut_anywhere() {
    let whole = image().file;
    for length in (0..128).chain((0..whole.len()).step_by(777)) {
        let cut = &whole[..length];
        let error = decode(cut, &[4096]).map(drop);
        let is_last_cluster = length > whole.len() - 4096;
        assert_eq!(error.is_ok(), is_last_cluster, "{length}: {error:?}");
    }
}
