//! What QEMU reads but does not write, compared with what QEMU says of it.

use std::fs;

use farrier_testbed::qemu_img::Qcow2;

use super::super::Qcow2Flaw;
use super::super::memory::{CAPACITY, File, assert_same, decode, decode_other, plan, plan_of};
use super::builder::{Builder, deflate, text};
use crate::image::ImageError;

const PIECES: &[&[usize]] = &[&[1 << 20], &[1], &[511, 513, 4096]];

fn content_by_qemu(file: &[u8]) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("image.qcow2");
    fs::write(&path, file).unwrap();
    Qcow2::at(&path).content().unwrap()
}

/// Decodes it in several ways, all of which must yield what QEMU does.
fn decode_as_qemu_does(file: &[u8]) -> Vec<u8> {
    let expected = content_by_qemu(file);
    for pieces in PIECES {
        assert_same(&decode(file, pieces).unwrap(), &expected);
        assert_same(&decode_other(file, file, None, pieces).unwrap(), &expected);
    }
    expected
}

pub(super) fn flaw(result: Result<impl std::fmt::Debug, ImageError>) -> Qcow2Flaw {
    match result.unwrap_err() {
        ImageError::Qcow2 { flaw, .. } => *flaw,
        other => panic!("{other}"),
    }
}

#[test]
fn an_l2_table_and_a_host_cluster_serve_several_places() {
    // With clusters of 512 bytes an L2 table is for 32 KiB.
    let mut image = Builder::new(9, 128 << 10);
    let table = image.cluster(&[]);
    let one = image.full_of(1);
    let two = image.full_of(2);
    image.l1(0, table).l1(1, table).l1(3, table | 1 << 63);
    image
        .l2(table, 0, one)
        .l2(table, 1, two)
        .l2(table, 5, one)
        .l2(table, 6, one | 1 << 63)
        .l2(table, 63, two);
    let content = decode_as_qemu_does(&image.file);
    assert_eq!(content.iter().filter(|byte| **byte == 1).count(), 3 * 3 * 512);
    assert_eq!(content.iter().filter(|byte| **byte == 2).count(), 3 * 2 * 512);
    assert_eq!(content[65536..98304], [0; 32768]);
}

#[test]
fn compressed_clusters_overlap_and_wait_for_each_other() {
    let mut image = Builder::new(12, 64 << 10);
    let table = image.cluster(&[]);
    let (a, b) = (deflate(&text(4096)), deflate(&vec![7; 4096]));
    assert!(a.len() > 512 && b.len() < 100);
    let host = image.cluster(&a);
    let inside = host + a.len() as u64;
    let at = usize::try_from(inside).unwrap();
    image.file.resize(at + 8192, 0);
    image.set(at, &b);
    // The first is said to be two clusters long, the second to be short and to end before it does.
    let long = image.compressed(host, 7000);
    let short = image.compressed(inside, b.len());
    image.l1(0, table);
    image.l2(table, 0, short).l2(table, 3, long).l2(table, 4, short).l2(table, 9, long).l2(table, 15, long);
    let content = decode_as_qemu_does(&image.file);
    assert_eq!(content[4 * 4096..5 * 4096], [7; 4096]);
    assert_same(&content[9 * 4096..10 * 4096], &text(4096));
}

#[test]
fn several_zstd_frames_make_one_cluster() {
    let mut image = Builder::new(12, 8192);
    image.number(72, 1 << 3).set(100, &112_u32.to_be_bytes()).set(104, &[1]);
    let table = image.cluster(&[]);
    let frames = text(4096)
        .chunks(1000)
        .map(|part| zstd::bulk::compress(part, 3).unwrap())
        .collect::<Vec<_>>()
        .concat();
    let host = image.cluster(&frames);
    let entry = image.compressed(host, frames.len());
    image.l1(0, table).l2(table, 1, entry);
    let content = decode_as_qemu_does(&image.file);
    assert_same(&content[4096..], &text(4096));
}

#[test]
fn the_last_cluster_may_end_behind_the_file_and_is_zeros_there() {
    let mut image = Builder::new(12, 64 << 10);
    let table = image.cluster(&[]);
    let (first, last) = (image.full_of(1), image.full_of(2));
    image.l1(0, table).l2(table, 1, first).l2(table, 2, last).l2(table, 7, last);
    image.file.truncate(image.file.len() - 1000);
    let content = decode_as_qemu_does(&image.file);
    assert_eq!(content[3 * 4096 - 1001..3 * 4096 - 999], [2, 0]);

    // Compressed, where what is missing is behind the end of the stream.
    let packed = deflate(&text(4096));
    let host = image.cluster(&packed);
    image.file.truncate(usize::try_from(host).unwrap() + packed.len());
    let entry = image.compressed(host, 8000);
    image.l2(table, 9, entry);
    decode_as_qemu_does(&image.file);
}

#[test]
fn a_cluster_that_begins_behind_the_file_is_refused() {
    let mut image = Builder::new(12, 64 << 10);
    let table = image.cluster(&[]);
    let end = image.file.len() as u64;
    let compressed = image.compressed(end, 100);
    for entry in [end, end + 4096, compressed] {
        image.l1(0, table).l2(table, 3, entry);
        let file = &image.file;
        let expected = |guest: u64, host| Qcow2Flaw::DataBehindEnd { host, guest, length: end };
        let host = if entry == compressed { end } else { entry };
        assert_eq!(flaw(decode(file, &[4096])), expected(3 * 4096, host));
        // Where the length is not known, it shows at the end.
        assert!(plan(file, None).is_ok());
        assert_eq!(flaw(decode_other(file, file, None, &[4096])), expected(3 * 4096, host));
    }
}

#[test]
fn flags_of_zeros_count_more_than_what_is_there() {
    let mut image = Builder::new(12, 64 << 10);
    let table = image.cluster(&[]);
    let data = image.full_of(3);
    // One where there is content, one where there is none, and one behind the end of the file.
    let behind = image.file.len() as u64 + 40960;
    image.l1(0, table).l2(table, 0, data).l2(table, 1, data | 1).l2(table, 2, 1).l2(table, 3, behind | 1);
    let content = decode_as_qemu_does(&image.file);
    assert_eq!(content[4096..], vec![0; 60 << 10]);
    image.set(4, &2_u32.to_be_bytes());
    let error = flaw(decode(&image.file, &[4096]));
    assert!(error.to_string().contains("no flag of zeros before version 3"), "{error}");
}

#[test]
fn tables_that_change_in_the_stream_are_noticed() {
    let mut image = Builder::new(12, 4 << 20);
    let (table, other) = (image.cluster(&[]), image.cluster(&[]));
    let data = image.full_of(1);
    image.l1(0, table).l1(1, other).l2(table, 0, data).l2(other, 3, data);
    let places =
        [(4090, "header"), (8191 - 4090, "L1 table"), (table, "L2 table"), (other + 4095, "L2 table")];
    for (place, what) in places {
        let mut stream = image.file.clone();
        stream[usize::try_from(place).unwrap()] ^= 1;
        for pieces in PIECES {
            let found = decode_other(&image.file, &stream, Some(stream.len() as u64), pieces);
            assert_eq!(flaw(found), Qcow2Flaw::Changed { what }, "{place}");
        }
    }
    // What is of no table may change: that is for the digest to notice.
    let mut stream = image.file.clone();
    *stream.last_mut().unwrap() ^= 1;
    stream[9000] ^= 1;
    decode_other(&image.file, &stream, Some(stream.len() as u64), &[4096]).unwrap();
}

#[test]
fn a_stream_that_ends_early_is_noticed() {
    let mut image = Builder::new(12, 4 << 20);
    let data = image.full_of(1);
    let table = image.cluster(&[]);
    image.l1(0, table).l2(table, 0, data);
    let cut = &image.file[..image.file.len() - 1];
    let length = Some(image.file.len() as u64);
    assert_eq!(flaw(decode_other(&image.file, cut, length, &[4096])), Qcow2Flaw::Changed { what: "length" });
    assert_eq!(flaw(decode_other(&image.file, cut, None, &[4096])), Qcow2Flaw::Changed { what: "L2 table" });
    assert_eq!(flaw(decode_other(&image.file, &[], None, &[4096])), Qcow2Flaw::Changed { what: "header" });
}

#[test]
fn a_compressed_cluster_must_hold_one_cluster() {
    let good = deflate(&text(4096));
    let cases = [
        (deflate(&text(4095)), "unpacks to 4095 bytes"),
        (deflate(&text(4097)), "unpacks to more than a cluster"),
        (deflate(&vec![0; 100 << 20]), "unpacks to more than a cluster"),
        (vec![0xff; 600], "cannot be unpacked"),
        (good[..512].to_vec(), "unpacks to 10"),
    ];
    for (packed, problem) in cases {
        let mut image = Builder::new(12, 64 << 10);
        let table = image.cluster(&[]);
        let host = image.cluster(&packed);
        let entry = image.compressed(host, packed.len().min(7000));
        image.l1(0, table).l2(table, 15, entry);
        let error = flaw(decode(&image.file, &[4096]));
        assert!(error.to_string().contains(problem), "{error}");
        assert!(error.to_string().contains("for byte 61440 of the disk"), "{error}");
    }
}

#[test]
fn a_table_larger_than_a_request_is_read_in_pieces() {
    let mut image = Builder::new(21, CAPACITY);
    let table = image.cluster(&[]);
    let data = image.full_of(9);
    image.l1(0, table).l2(table, 0, data).l2(table, 31, data);
    let mut file = File::new(&image.file);
    let (runs, _) = plan_of(&mut file, None).unwrap().map.into_file_order();
    assert_eq!(runs.iter().map(|run| run.guest).collect::<Vec<_>>(), [0, CAPACITY - (2 << 20)]);
    assert_eq!(file.requests.len(), 4, "{:?}", file.requests);
}
