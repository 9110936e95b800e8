//! Images that QEMU makes, compared with what QEMU says of them.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::fs;
use std::ops::Range;
use std::path::Path;

use farrier_testbed::qemu_img::Qcow2;
use proptest::prelude::*;
use proptest::sample::select;
use rand::SeedableRng as _;
use rand::rngs::SmallRng;

use super::super::memory::{assert_same, decode, plan};

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
    /// The clusters that may lie somewhere: only others can be written compressed.
    touched: HashSet<u64>,
    /// Commands for `qemu-io` that are not carried out yet, and whether they write compressed clusters. QEMU takes the room that is
    /// left behind a compressed cluster for the next one even if it was given away in between, and then finds the image corrupt: no
    /// process does both.
    commands: Vec<String>,
    compresses: bool,
}

impl<'a> Work<'a> {
    fn new(dir: &'a Path, options: Options, preallocation: &str, size: u64) -> Self {
        let text = format!("{},preallocation={preallocation}", options.text());
        let image = Qcow2::create(&dir.join("image.qcow2"), &text, size).unwrap();
        let touched = if preallocation == "off" { 0 } else { size.div_ceil(options.cluster()) };
        Self {
            dir,
            image,
            options,
            size,
            snapshots: 0,
            touched: (0..touched).collect(),
            commands: Vec::new(),
            compresses: false,
        }
    }

    /// Whole sectors within the disk.
    fn place(&self, at: u64, length: u64) -> Range<u64> {
        let at = at * (self.size / SECTOR) / 1000 * SECTOR;
        at..at + (length * (self.size / SECTOR) / 1000 * SECTOR).clamp(SECTOR, self.size - at)
    }

    fn clusters(&self, place: &Range<u64>) -> Range<u64> {
        place.start / self.options.cluster()..place.end.div_ceil(self.options.cluster())
    }

    fn file(&self, content: Content, place: &Range<u64>) -> String {
        let path = self.dir.join(format!("content-{}", self.commands.len()));
        fs::write(&path, content.bytes(place.end - place.start)).unwrap();
        path.display().to_string()
    }

    fn command(&mut self, command: &str, place: &Range<u64>, compresses: bool) {
        self.commands.push(format!("{command} {} {}", place.start, place.end - place.start));
        self.compresses = compresses;
        self.touched.extend(self.clusters(place));
    }

    fn act(&mut self, action: &Action) {
        if !self.commands.is_empty() && self.compresses != matches!(action, Action::WriteCompressed { .. }) {
            self.flush();
        }
        match *action {
            Action::Write { at, length, content } => {
                let place = self.place(at, length);
                let file = self.file(content, &place);
                self.command(&format!("write -q -s {file}"), &place, false);
            }
            Action::WriteCompressed { at, content } => {
                let cluster = self.clusters(&self.place(at, 0)).start;
                if !self.touched.contains(&cluster) {
                    let start = cluster * self.options.cluster();
                    let place = start..self.size.min(start + self.options.cluster());
                    let file = self.file(content, &place);
                    self.command(&format!("write -q -c -s {file}"), &place, true);
                }
            }
            Action::Zero { at, length, unmap } => {
                let flag = if unmap { "-u" } else { "" };
                self.command(&format!("write -q -z {flag}"), &self.place(at, length), false);
            }
            Action::Discard { at, length } => self.command("discard -q", &self.place(at, length), false),
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

/// Few of them are tiny: images by hand are decoded byte by byte, and these here are so large that it would take long.
fn pieces() -> impl Strategy<Value = Vec<usize>> {
    prop_oneof![
        Just(vec![1 << 20]),
        prop::collection::vec(prop_oneof![300..700_usize, 1..200_000_usize], 1..8),
    ]
}

proptest! {
    // Each starts several processes.
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases / 5, max_shrink_iters: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn images_that_were_worked_on(
        options in options(),
        preallocation in select(vec!["off", "off", "metadata", "falloc", "full"]),
        sectors in 1..6000_u64,
        actions in prop::collection::vec(action(), 0..24),
        pieces in pieces(),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let mut work = Work::new(dir.path(), options, preallocation, sectors * SECTOR);
        for action in &actions {
            work.act(action);
        }
        work.flush();
        assert_decodes_as_qemu_does(&work.image, &pieces);
    }

    #[test]
    fn images_that_were_converted(
        options in options(),
        parts in prop::collection::vec((content(), 0..2000_u64), 1..8),
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
    let mut work = Work::new(dir.path(), options, "off", 8 << 20);
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
