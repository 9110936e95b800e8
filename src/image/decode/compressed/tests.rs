//! Every codec against what its own tool makes, whole, cut, damaged and continued.

use std::io::Write as _;
use std::ops::Range;
use std::process::{Command, Stdio};

use super::*;
use crate::image::buffer::{Buffer, Pool};
use crate::wire::{Coded as _, ErrorCode};

const CODECS: &[(ImageFormat, &[&str])] = &[
    (ImageFormat::Gzip, &["gzip", "-c"]),
    (ImageFormat::Xz, &["xz", "-c", "-0"]),
    (ImageFormat::Zstd, &["zstd", "-q", "-c"]),
    (ImageFormat::Bzip2, &["bzip2", "-c"]),
    (ImageFormat::Lz4, &["lz4", "-q", "-c"]),
];

/// A disk of so many bytes in memory.
struct Memory {
    disk: Vec<u8>,
    pool: Pool,
}

impl Memory {
    fn new(bytes: usize) -> Self {
        Self { disk: vec![0xa5; bytes], pool: Pool::new(2) }
    }
}

impl Sink for Memory {
    fn buffer(&mut self) -> Buffer {
        self.pool.take_blocking()
    }

    fn write(&mut self, offset: u64, buffer: Buffer) -> Result<(), ImageError> {
        self.copy(offset, buffer.bytes())
    }

    fn copy(&mut self, offset: u64, bytes: &[u8]) -> Result<(), ImageError> {
        let offset = usize::try_from(offset).unwrap();
        let capacity = self.disk.len() as u64;
        let place = self.disk.get_mut(offset..offset + bytes.len()).ok_or_else(|| ImageError::TooLarge {
            url: Box::new(url()),
            found: 0,
            at_least: true,
            target: "memory".into(),
            capacity,
        })?;
        place.copy_from_slice(bytes);
        Ok(())
    }

    fn zero(&mut self, _: Range<u64>) -> Result<(), ImageError> {
        unreachable!("compressed images have no holes")
    }
}

fn url() -> ImageUrl {
    "http://h/image".parse().unwrap()
}

/// Bytes that begin as a disk does, some random, some not.
fn content(bytes: usize) -> Vec<u8> {
    let mut content: Vec<u8> = (0..bytes as u64)
        .map(|at| if at / 5000 % 2 == 0 { (at * at >> 7) as u8 ^ at as u8 } else { 0 })
        .collect();
    content[510..512].copy_from_slice(b"\x55\xaa");
    content
}

fn run(command: &[&str], input: &[u8]) -> Vec<u8> {
    let mut tool = Command::new(command[0])
        .args(&command[1..])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{}: {error}", command[0]));
    let mut stdin = tool.stdin.take().unwrap();
    let input = input.to_vec();
    let feeder = std::thread::spawn(move || stdin.write_all(&input).unwrap());
    let output = tool.wait_with_output().unwrap();
    feeder.join().unwrap();
    assert!(output.status.success(), "{command:?}");
    output.stdout
}

fn decoded(format: ImageFormat, bytes: &[u8], capacity: usize) -> Result<Vec<u8>, ImageError> {
    // Pieces of odd lengths, so that whatever is read at once lies across two of them now and then.
    let pieces: Vec<_> = bytes.chunks(70_001).collect();
    let (to, from) = tokio::sync::mpsc::channel(pieces.len() + 1);
    let mut pool = Pool::new(pieces.len() + 1);
    for piece in pieces {
        let mut buffer = pool.take_blocking();
        buffer.fill(piece);
        to.try_send(buffer).unwrap();
    }
    drop(to);
    let mut memory = Memory::new(capacity);
    let length = decode(format, Piped::new(from), &url(), &mut memory)?;
    memory.disk.truncate(usize::try_from(length).unwrap());
    Ok(memory.disk)
}

#[test]
fn decodes_what_the_tools_make() {
    let content = content(3 << 20);
    for (format, tool) in CODECS {
        let found = decoded(*format, &run(tool, &content), 4 << 20).unwrap();
        assert!(found == content, "{format}");
    }
    for (format, tool) in [
        (ImageFormat::Gzip, &["gzip", "-9", "-c"][..]),
        (ImageFormat::Xz, &["xz", "-9", "-c"]),
        (ImageFormat::Xz, &["xz", "-T2", "--block-size=1MiB", "-c"]),
        (ImageFormat::Zstd, &["zstd", "-q", "-19", "--long=27", "-c"]),
        (ImageFormat::Zstd, &["zstd", "-q", "-1", "--no-check", "-c"]),
        (ImageFormat::Lz4, &["lz4", "-q", "-9", "-BD", "-B4", "-c"]),
        (ImageFormat::Lz4, &["lz4", "-q", "-BX", "--content-size", "-c"]),
    ] {
        let found = decoded(format, &run(tool, &content), 4 << 20).unwrap();
        assert!(found == content, "{tool:?}");
    }
}

#[test]
fn takes_several_members_in_a_row() {
    let content = content(2 << 20);
    let (one, two) = content.split_at(1_234_567);
    for (format, tool) in CODECS {
        let both = [run(tool, one), run(tool, b""), run(tool, two)].concat();
        assert!(decoded(*format, &both, 4 << 20).unwrap() == content, "{format}");
    }
}

#[test]
fn a_stream_that_is_cut_anywhere_is_an_error() {
    let content = content(20_000);
    for (format, tool) in CODECS {
        let whole = run(tool, &content);
        assert!(decoded(*format, &whole, 1 << 20).is_ok(), "{format}");
        for length in 0..whole.len() {
            let result = decoded(*format, &whole[..length], 1 << 20);
            assert!(result.is_err(), "{format} cut after {length} of {} bytes", whole.len());
        }
    }
}

#[test]
fn what_follows_the_end_is_an_error() {
    let content = content(20_000);
    for (format, tool) in CODECS {
        let whole = run(tool, &content);
        for garbage in [&b"x"[..], &[0; 4], &[0; 510], b"\x1f\x8b", b"PK\x03\x04garbage", &whole[..9]] {
            // The specification of xz allows padding with whole words of zeros (2.2, Stream Padding).
            if *format == ImageFormat::Xz && garbage == [0; 4] {
                continue;
            }
            let result = decoded(*format, &[&whole, garbage].concat(), 1 << 20);
            let code = result.err().map(|error| error.code());
            assert_eq!(code, Some(ErrorCode::ImageCorrupt), "{format} and {garbage:?}");
        }
    }
}

#[test]
fn damage_is_an_error() {
    let content = content(20_000);
    for (format, tool) in CODECS {
        let whole = run(tool, &content);
        for at in (0..whole.len()).step_by(41) {
            let mut damaged = whole.clone();
            damaged[at] ^= 0x10;
            if let Ok(found) = decoded(*format, &damaged, 1 << 20) {
                // Fields that say nothing about the content: a time, a name, a level.
                assert!(found == content, "{format} damaged at {at}");
            }
        }
    }
}

#[test]
fn a_bomb_stops_where_the_disk_ends() {
    let mut content = vec![0; 64 << 20];
    content[510..512].copy_from_slice(b"\x55\xaa");
    for (format, tool) in CODECS {
        let error = decoded(*format, &run(tool, &content), 2 << 20).unwrap_err();
        assert_eq!(error.code(), ErrorCode::ImageTooLarge, "{format}");
    }
}

#[test]
fn what_needs_too_much_memory_is_refused() {
    let content = content(1 << 20);
    for (format, tool) in [
        (ImageFormat::Xz, &["xz", "-c", "--lzma2=preset=0,dict=512MiB"][..]),
        (ImageFormat::Zstd, &["zstd", "-q", "-c", "--ultra", "-1", "--long=30"]),
    ] {
        let error = decoded(format, &run(tool, &content), 2 << 20).unwrap_err();
        assert_eq!(error.code(), ErrorCode::ImageUnsupported, "{}", error.report());
    }
}

#[test]
fn only_raw_images_may_be_within() {
    for inner in [run(&["gzip", "-c"], &content(1000)), b"QFI\xfb\0\0\0\x03".to_vec(), Vec::new()] {
        for (format, tool) in CODECS {
            let error = decoded(*format, &run(tool, &inner), 1 << 20).unwrap_err();
            let code = error.code();
            assert!(
                matches!(code, ErrorCode::ImageFormat | ErrorCode::ImageNotBootable),
                "{format}: {}",
                error.report()
            );
        }
    }
}
