//! Every codec against what its own tool makes, whole, cut, damaged and continued.

use std::io::Write as _;
use std::ops::Range;
use std::process::{Command, Stdio};

use proptest::prelude::*;
use rand::SeedableRng as _;
use rand::rngs::StdRng;

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

const MIB: usize = 1 << 20;

fn url() -> ImageUrl {
    "http://h/image".parse().unwrap()
}

/// Bytes that begin as a disk does: random stretches and zeros by turns.
fn content(bytes: usize) -> Vec<u8> {
    let mut content = vec![0; bytes];
    let mut random = StdRng::seed_from_u64(1);
    content.chunks_mut(5000).step_by(2).for_each(|stretch| random.fill_bytes(stretch));
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

/// In pieces of odd lengths, so that whatever is read at once lies across two of them now and then.
fn decoded(format: ImageFormat, bytes: &[u8], capacity: usize) -> Result<Vec<u8>, ImageError> {
    decoded_in_pieces(format, bytes, 70_001, capacity)
}

fn decoded_in_pieces(
    format: ImageFormat,
    bytes: &[u8],
    piece: usize,
    capacity: usize,
) -> Result<Vec<u8>, ImageError> {
    let pieces: Vec<_> = bytes.chunks(piece).collect();
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
    let content = content(3 * MIB);
    for (format, tool) in CODECS {
        let found = decoded(*format, &run(tool, &content), 4 * MIB).unwrap();
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
        let found = decoded(format, &run(tool, &content), 4 * MIB).unwrap();
        assert!(found == content, "{tool:?}");
    }
}

#[test]
fn takes_several_members_in_a_row() {
    let content = content(2 * MIB);
    let (one, two) = content.split_at(1_234_567);
    for (format, tool) in CODECS {
        let both = [run(tool, one), run(tool, b""), run(tool, two)].concat();
        assert!(decoded(*format, &both, 4 * MIB).unwrap() == content, "{format}");
    }
}

#[test]
fn a_stream_that_is_cut_anywhere_is_an_error() {
    let content = content(2_000);
    for (format, tool) in CODECS {
        let first = run(tool, &content);
        let both = [first.clone(), run(tool, b"behind")].concat();
        assert!(decoded(*format, &both, 4096).is_ok(), "{format}");
        for length in 0..both.len() {
            let result = decoded(*format, &both[..length], 4096);
            // Nobody can know that a second member was to follow.
            let is_whole = length == first.len();
            assert_eq!(result.is_ok(), is_whole, "{format} cut after {length} of {} bytes", both.len());
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
            let result = decoded(*format, &[&whole, garbage].concat(), MIB);
            let code = result.err().map(|error| error.code());
            assert_eq!(code, Some(ErrorCode::ImageCorrupt), "{format} and {garbage:?}");
        }
    }
}

#[test]
fn frames_need_not_be_alike() {
    let content = content(3 * MIB);
    let (one, two) = content.split_at(1_234_567);
    for (format, first, second) in [
        (ImageFormat::Lz4, &["lz4", "-q", "-c", "-B7"][..], &["lz4", "-q", "-c", "-B4", "-BD"][..]),
        (ImageFormat::Lz4, &["lz4", "-q", "-c", "-B4", "-BD"], &["lz4", "-q", "-c", "-B7", "--no-frame-crc"]),
        (ImageFormat::Gzip, &["gzip", "-c", "-1"], &["gzip", "-c", "-9"]),
        (ImageFormat::Bzip2, &["bzip2", "-c", "-1"], &["bzip2", "-c", "-9"]),
        (ImageFormat::Xz, &["xz", "-c", "-0", "--check=none"], &["xz", "-c", "-3", "--check=sha256"]),
        (ImageFormat::Zstd, &["zstd", "-q", "-c", "-1"], &["zstd", "-q", "-c", "-12", "--long=27"]),
    ] {
        let both = [run(first, one), run(second, two)].concat();
        assert!(decoded(format, &both, 4 * MIB).unwrap() == content, "{first:?} and {second:?}");
    }
}

#[test]
fn what_holds_nothing_of_the_image_is_skipped() {
    let content = content(MIB);
    let (one, two) = content.split_at(600_000);
    let skippable = [&b"\x53\x2a\x4d\x18\x09\0\0\0"[..], b"something"].concat();
    let zstd = |bytes: &[u8]| run(&["zstd", "-q", "-c"], bytes);
    let image = [&skippable[..], &skippable, &zstd(one), &skippable, &zstd(two), &skippable].concat();
    assert!(decoded(ImageFormat::Zstd, &image, 2 * MIB).unwrap() == content);
    for length in image.len() - skippable.len() + 1..image.len() {
        assert!(decoded(ImageFormat::Zstd, &image[..length], 2 * MIB).is_err(), "cut after {length}");
    }
    let lz4 = |bytes: &[u8]| run(&["lz4", "-q", "-c"], bytes);
    let image = [&skippable[..], &lz4(one), &skippable, &lz4(two), &skippable].concat();
    assert!(decoded(ImageFormat::Lz4, &image, 2 * MIB).unwrap() == content);
    // Stream padding of xz: whole words of zeros.
    let xz = |bytes: &[u8]| run(&["xz", "-c", "-0"], bytes);
    let image = [&xz(one)[..], &[0; 8], &xz(two), &[0; 4]].concat();
    assert!(decoded(ImageFormat::Xz, &image, 2 * MIB).unwrap() == content);
    for padding in [1, 2, 3, 5] {
        let image = [xz(one), vec![0; padding]].concat();
        assert!(decoded(ImageFormat::Xz, &image, 2 * MIB).is_err(), "{padding} bytes of padding");
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
            if let Ok(found) = decoded(*format, &damaged, MIB) {
                // Fields that say nothing about the content: a time, a name, a level.
                assert!(found == content, "{format} damaged at {at}");
            }
        }
    }
}

#[test]
fn a_bomb_stops_where_the_disk_ends() {
    let mut content = vec![0; 64 * MIB];
    content[510..512].copy_from_slice(b"\x55\xaa");
    for (format, tool) in CODECS {
        let error = decoded(*format, &run(tool, &content), 2 * MIB).unwrap_err();
        assert_eq!(error.code(), ErrorCode::ImageTooLarge, "{format}");
    }
}

#[test]
fn what_needs_too_much_memory_is_refused() {
    let content = content(MIB);
    for (format, tool) in [
        (ImageFormat::Xz, &["xz", "-c", "--lzma2=preset=0,dict=512MiB"][..]),
        (ImageFormat::Zstd, &["zstd", "-q", "-c", "--ultra", "-1", "--long=30"]),
    ] {
        let error = decoded(format, &run(tool, &content), 2 * MIB).unwrap_err();
        assert_eq!(error.code(), ErrorCode::ImageUnsupported, "{}", error.report());
    }
}

#[test]
fn what_asks_for_more_than_the_codec_has_is_refused() {
    // A frame by the dictionary of number 7 (RFC 8878, 3.1.1.1), with an empty last block.
    let by_dictionary = b"\x28\xb5\x2f\xfd\x01\x58\x07\x01\0\0".to_vec();
    // The check of number 2 is reserved (The .xz File Format, 2.1.1.2); the flags are protected by a CRC.
    let mut by_check = run(&["xz", "-c", "-0", "--check=crc32"], &content(1000));
    by_check[7] = 2;
    let crc = crc::Crc::<u32>::new(&crc::CRC_32_ISO_HDLC).checksum(&by_check[6..8]);
    by_check[8..12].copy_from_slice(&crc.to_le_bytes());
    for (format, image) in [(ImageFormat::Zstd, by_dictionary), (ImageFormat::Xz, by_check)] {
        let error = decoded(format, &image, MIB).unwrap_err();
        assert_eq!(error.code(), ErrorCode::ImageUnsupported, "{}", error.report());
        assert!(matches!(error, ImageError::CodecFeature { .. }), "{}", error.report());
    }
}

#[test]
fn a_disk_with_a_footer_is_a_container_too() {
    let mut fixed_vhd = content(MIB + 512);
    fixed_vhd[MIB..MIB + 8].copy_from_slice(b"conectix");
    for (format, tool) in CODECS {
        let error = decoded(*format, &run(tool, &fixed_vhd), 2 * MIB).unwrap_err();
        assert_eq!(error.code(), ErrorCode::ImageFormat, "{format}: {}", error.report());
        assert!(error.to_string().contains("VHD"), "{error}");
    }
}

#[test]
fn only_raw_images_may_be_within() {
    for inner in [run(&["gzip", "-c"], &content(1000)), b"QFI\xfb\0\0\0\x03".to_vec(), Vec::new()] {
        for (format, tool) in CODECS {
            let error = decoded(*format, &run(tool, &inner), MIB).unwrap_err();
            let code = error.code();
            assert!(
                matches!(code, ErrorCode::ImageFormat | ErrorCode::ImageNotBootable),
                "{format}: {}",
                error.report()
            );
        }
    }
}

/// Content as disks have it and as codecs dislike it: stretches of zeros, of one byte, of a pattern, and random ones.
fn stretches() -> impl Strategy<Value = Vec<u8>> {
    let stretch = (0..4_u8, 1..200_000_usize, any::<u64>()).prop_map(|(kind, length, seed)| match kind {
        0 => vec![0; length],
        1 => vec![seed.to_le_bytes()[0]; length],
        2 => seed.to_le_bytes().into_iter().cycle().take(length).collect(),
        _ => {
            let mut random = vec![0; length];
            StdRng::seed_from_u64(seed).fill_bytes(&mut random);
            random
        }
    });
    prop::collection::vec(stretch, 0..20).prop_map(|stretches| {
        let mut content = stretches.concat();
        content.resize(content.len().max(512), 0);
        content[..8].copy_from_slice(b"farrier\0");
        content[510..512].copy_from_slice(b"\x55\xaa");
        content
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn any_content_comes_out_as_it_went_in(content in stretches(), level in 1..10_u8, piece in 1..=MIB) {
        let level = format!("-{level}");
        for (format, tool) in CODECS {
            let image = run(&[tool, &[level.as_str()][..]].concat(), &content);
            // Not so many pieces that their buffers fill the memory.
            let found = decoded_in_pieces(*format, &image, piece.max(image.len() / 50), 4 * MIB).unwrap();
            prop_assert!(found == content, "{}", format);
        }
    }
}
