//! Images that QEMU makes, compared with what QEMU says of them.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use farrier_testbed::qemu_img::Qcow2;
use proptest::prelude::*;
use proptest::sample::select;
use rand::rngs::SmallRng;
use rand::SeedableRng as _;

use super::memory::{assert_same, decode, plan};

const SECTOR: u64 = 512;

/// The options of an image.
#[derive(Clone, Copy, Debug)]
struct Options {
    /// Version 3, not 2.
    v3: bool,
    cluster_bits: u32,
    zstd: bool,
    extended_l2: bool,
    lazy_refcounts: bool,
}

impl Options {
    fn text(self) -> String {
        let mut text = format!("cluster_size={}", 1 << self.cluster_bits);
        if !self.v3 {
            return text + ",compat=0.10";
        }
        let on = |is_on| if is_on { "on" } else { "off" };
        let compression = if self.zstd { "zstd" } else { "zlib" };
        let (extended, lazy) = (on(self.extended_l2), on(self.lazy_refcounts));
        write!(
            text,
            ",compat=1.1,compression_type={compression},extended_l2={extended},lazy_refcounts={lazy}"
        )
        .unwrap();
        text
    }

    fn cluster(self) -> u64 {
        1 << self.cluster_bits
    }
}

fn options() -> impl Strategy<Value = Options> {
    let bits = prop_oneof![Just(9), Just(12), Just(14), Just(16), 9_u32..=21];
    (any::<bool>(), bits, any::<bool>(), any::<bool>(), any::<bool>()).prop_map(
        |(old, cluster_bits, zstd, extended_l2, lazy_refcounts)| {
            let v3 = !old || zstd;
            Options {
                v3,
                cluster_bits,
                zstd: v3 && zstd,
                extended_l2: v3 && extended_l2 && cluster_bits >= 14,
                lazy_refcounts: v3 && lazy_refcounts,
            }
        },
    )
}

/// What is done to an image. Places are in thousandths of what there is.
#[derive(Clone, Debug)]
enum Action {
    Write { at: u64, length: u64, content: Content },
    WriteCompressed { at: u64, content: Content },
    Zero { at: u64, length: u64, unmap: bool },
    Discard { at: u64, length: u64 },
    Snapshot,
    Resize { to: u64 },
}

#[derive(Clone, Copy, Debug)]
enum Content {
    Byte(u8),
    Random(u64),
    /// Compresses to about a half.
    Mixed(u64),
}

impl Content {
    fn bytes(self, length: u64) -> Vec<u8> {
        let mut bytes = vec![0; usize::try_from(length).unwrap()];
        match self {
            Self::Byte(byte) => bytes.fill(byte),
            Self::Random(seed) => SmallRng::seed_from_u64(seed).fill_bytes(&mut bytes),
            Self::Mixed(seed) => {
                let mut random = SmallRng::seed_from_u64(seed);
                for (number, piece) in bytes.chunks_mut(97).enumerate() {
                    if number % 2 == 0 { random.fill_bytes(piece) } else { piece.fill(0x20) }
                }
            }
        }
        bytes
    }
}

fn content() -> impl Strategy<Value = Content> {
    prop_oneof![
        any::<u8>().prop_map(Content::Byte),
        any::<u64>().prop_map(Content::Random),
        any::<u64>().prop_map(Content::Mixed),
    ]
}

fn action() -> impl Strategy<Value = Action> {
    let at = || 0..1000_u64;
    let length = || prop_oneof![3 => 0..50_u64, 1 => 0..1000_u64];
    prop_oneof![
        6 => (at(), length(), content()).prop_map(|(at, length, content)| Action::Write { at, length, content }),
        4 => (at(), content()).prop_map(|(at, content)| Action::WriteCompressed { at, content }),
        2 => (at(), length(), any::<bool>()).prop_map(|(at, length, unmap)| Action::Zero { at, length, unmap }),
        1 => (at(), length()).prop_map(|(at, length)| Action::Discard { at, length }),
        1 => Just(Action::Snapshot),
        1 => (500..1500_u64).prop_map(|to| Action::Resize { to }),
    ]
}

/// An image as it is worked on.
struct Work<'a> {
    dir: &'a Path,
    image: Qcow2,
    options: Options,
    size: u64,
    snapshots: usize,
    /// Commands for `qemu-io` that are not carried out yet.
    commands: Vec<String>,
}

impl Work<'_> {
    /// Whole sectors within the disk.
    fn place(&self, at: u64, length: u64) -> (u64, u64) {
        let at = at * (self.size / SECTOR) / 1000 * SECTOR;
        let length = (length * (self.size / SECTOR) / 1000 * SECTOR).clamp(SECTOR, self.size - at);
        (at, length)
    }

    fn file(&self, content: Content, length: u64) -> String {
        let path = self.dir.join(format!("content-{}", self.commands.len()));
        fs::write(&path, content.bytes(length)).unwrap();
        path.display().to_string()
    }

    fn act(&mut self, action: &Action) {
        match *action {
            Action::Write { at, length, content } => {
                let (at, length) = self.place(at, length);
                let file = self.file(content, length);
                self.commands.push(format!("write -q -s {file} {at} {length}"));
            }
            Action::WriteCompressed { at, content } => {
                let (at, _) = self.place(at, 0);
                let at = at / self.options.cluster() * self.options.cluster();
                let length = self.options.cluster().min(self.size - at);
                let file = self.file(content, length);
                // A compressed cluster cannot lie where there was another.
                self.commands.push(format!("discard -q {at} {length}"));
                self.commands.push(format!("write -q -c -s {file} {at} {length}"));
            }
            Action::Zero { at, length, unmap } => {
                let (at, length) = self.place(at, length);
                let unmap = if unmap { "-u" } else { "" };
                self.commands.push(format!("write -q -z {unmap} {at} {length}"));
            }
            Action::Discard { at, length } => {
                let (at, length) = self.place(at, length);
                self.commands.push(format!("discard -q {at} {length}"));
            }
            Action::Snapshot => {
                self.flush();
                self.image.snapshot(&format!("s{}", self.snapshots)).unwrap();
                self.snapshots += 1;
            }
            // An image with snapshots cannot be made smaller, and one of version 2 not larger either.
            Action::Resize { to } if self.snapshots == 0 || (self.options.v3 && to >= 1000) => {
                self.flush();
                self.size = (self.size / SECTOR * to / 1000).max(1) * SECTOR;
                self.image.resize(self.size).unwrap();
            }
            Action::Resize { .. } => {}
        }
    }

    fn flush(&mut self) {
        if !self.commands.is_empty() {
            self.image.io(&std::mem::take(&mut self.commands)).unwrap();
        }
    }
}

fn assert_decodes_as_qemu_does(image: &Qcow2, pieces: &[usize]) {
    let found = decode(&image.bytes().unwrap(), pieces).unwrap();
    assert_same(&found, &image.content().unwrap());
}

fn pieces() -> impl Strategy<Value = Vec<usize>> {
    prop_oneof![Just(vec![1 << 20]), prop::collection::vec(prop_oneof![1..600_usize, 1..200_000_usize], 1..8),]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, max_shrink_iters: 40, ..ProptestConfig::default() })]

    #[test]
    fn images_that_were_worked_on(
        options in options(),
        preallocation in select(vec!["off", "off", "metadata", "falloc", "full"]),
        sectors in 1..6000_u64,
        actions in prop::collection::vec(action(), 0..24),
        pieces in pieces(),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let text = format!("{},preallocation={preallocation}", options.text());
        let size = sectors * SECTOR;
        let image = Qcow2::create(&dir.path().join("image.qcow2"), &text, size).unwrap();
        let mut work = Work { dir: dir.path(), image, options, size, snapshots: 0, commands: Vec::new() };
        for action in &actions {
            work.act(action);
        }
        work.flush();
        assert_decodes_as_qemu_does(&work.image, &pieces);
    }

    #[test]
    fn images_that_were_converted(
        options in options(),
        parts in prop::collection::vec((content(), 0..3000_u64), 1..12),
        compressed in any::<bool>(),
        out_of_order in any::<bool>(),
        pieces in pieces(),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let raw = dir.path().join("content.raw");
        let mut content: Vec<_> = parts.iter().flat_map(|(content, sectors)| content.bytes(sectors * SECTOR)).collect();
        content.resize(content.len().max(512), 0);
        fs::write(&raw, &content).unwrap();
        let mut flags = Vec::new();
        flags.extend(compressed.then_some("-c"));
        flags.extend(out_of_order.then_some("-W"));
        let image = Qcow2::convert(&raw, &dir.path().join("image.qcow2"), &options.text(), &flags).unwrap();
        let found = decode(&image.bytes().unwrap(), &pieces).unwrap();
        assert_same(&found, &content);
    }
}

/// So that the random images above are known to hold what they are meant to.
#[test]
fn every_kind_of_cluster_is_made_and_read() {
    let dir = tempfile::tempdir().unwrap();
    let options =
        Options { v3: true, cluster_bits: 16, zstd: true, extended_l2: true, lazy_refcounts: false };
    let image = Qcow2::create(&dir.path().join("image.qcow2"), &options.text(), 8 << 20).unwrap();
    let mut work =
        Work { dir: dir.path(), image, options, size: 8 << 20, snapshots: 0, commands: Vec::new() };
    let content = Content::Mixed(1);
    for at in [990, 10, 500, 510, 520] {
        work.act(&Action::WriteCompressed { at, content });
    }
    for at in [700, 100, 300] {
        work.act(&Action::Write { at, length: 1, content });
        work.act(&Action::Write { at: at + 50, length: 30, content });
    }
    work.act(&Action::Zero { at: 710, length: 100, unmap: false });
    work.flush();
    let (runs, packed) = plan(&work.image.bytes().unwrap(), None).unwrap().map.into_file_order();
    assert_eq!(packed.len(), 5);
    let cluster = options.cluster();
    assert!(runs.iter().any(|run| run.length < cluster), "subclusters: {runs:?}");
    assert!(runs.iter().any(|run| run.length > cluster), "neighbours: {runs:?}");
    assert!(!runs.is_sorted_by_key(|run| run.guest), "out of order: {runs:?}");
    assert!(
        packed.windows(2).any(|two| two[0].host / cluster == two[1].host / cluster),
        "shared: {packed:?}"
    );
    assert_decodes_as_qemu_does(&work.image, &[1 << 20]);
    assert_decodes_as_qemu_does(&work.image, &[1]);
}
