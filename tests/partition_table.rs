//! Partition tables made by ordinary tools, checked, moved, and judged by ordinary tools again. Files alone.

#![expect(clippy::unwrap_used, reason = "what a test cannot set up, it cannot test")]

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use farrier::partition_table::{GptFault, Layout, Moved, Problem, Scheme, Tail, check, relocate};
use farrier_testbed::loop_device::LoopDevice;

const MIB: u64 = 1 << 20;
const HEAD: usize = 1 << 20;

/// The bytes of a disk, with logical sectors of some size.
#[derive(Clone)]
struct Disk {
    bytes: Vec<u8>,
    sector: u32,
}

impl Disk {
    fn new(size: u64, sector: u32) -> Self {
        Self { bytes: vec![0; usize::try_from(size).unwrap()], sector }
    }

    /// An image with the table that a script for sfdisk makes.
    fn by_sfdisk(size: u64, sector: u32, script: &str) -> Self {
        let mut disk = Self::new(size, sector);
        let said = disk.told("sfdisk", &["--quiet"], script);
        assert!(said.is_ok(), "{said:?}");
        disk
    }

    fn gpt(size: u64, sector: u32) -> Self {
        Self::by_sfdisk(size, sector, GPT)
    }

    fn mbr(size: u64, sector: u32) -> Self {
        Self::by_sfdisk(
            size,
            sector,
            "label: dos\nlabel-id: 0x6c6fab1e\nstart=1MiB, size=2MiB, type=83\nsize=1MiB, type=5\n",
        )
    }

    fn capacity(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn head(&self) -> &[u8] {
        &self.bytes[..HEAD.min(self.bytes.len())]
    }

    fn check(&self) -> Result<Layout, Problem> {
        check(self.head(), self.sector, self.capacity())
    }

    /// Written to a disk of so many bytes, whose last MiB is zero where the image does not reach.
    fn on(&self, capacity: u64, sector: u32) -> Self {
        let mut bytes = self.bytes.clone();
        bytes.resize(usize::try_from(capacity).unwrap(), 0);
        Self { bytes, sector }
    }

    /// Moves the copy of the GPT of an image that ends at `image_end`, as a writer does it that has the two ends in memory.
    fn relocate(&mut self, image_end: u64) -> Result<Option<Moved>, Problem> {
        let capacity = self.capacity();
        let tail_start = (self.bytes.len().saturating_sub(HEAD) / 4096 * 4096).max(HEAD);
        let (head, rest) = self.bytes.split_at_mut(HEAD);
        let tail = Tail { bytes: &mut rest[tail_start - HEAD..], start: tail_start as u64 };
        let moved = relocate(head, tail, self.sector, capacity, image_end)?;
        if let Some(Moved { stale: Some(stale), .. }) = &moved {
            self.bytes[usize::try_from(stale.start).unwrap()..usize::try_from(stale.end).unwrap()].fill(0);
        }
        Ok(moved)
    }

    /// What a tool says that works on this disk.
    fn told(&mut self, program: &str, arguments: &[&str], input: &str) -> Result<String, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("disk");
        fs::write(&path, &self.bytes).unwrap();
        let device = (self.sector != 512).then(|| LoopDevice::attach(&path, self.sector).unwrap());
        let result = run(program, arguments, device.as_ref().map_or(&*path, LoopDevice::path), input);
        drop(device);
        self.bytes = fs::read(&path).unwrap();
        result
    }

    /// That ordinary tools have nothing to say against it.
    #[track_caller]
    fn assert_sound(&mut self) {
        let before = self.bytes.clone();
        let sfdisk = self.told("sfdisk", &["--verify"], "").unwrap();
        assert!(sfdisk.contains("No errors detected"), "{sfdisk}");
        let sgdisk = self.told("sgdisk", &["--verify"], "").unwrap();
        assert!(sgdisk.contains("No problems found"), "{sgdisk}");
        assert!(self.bytes == before, "a tool that only verifies has changed the disk");
        // Both copies, and that they say the same: without the first header the table is the same.
        let dump = self.told("sfdisk", &["--dump"], "").unwrap();
        let mut damaged = self.clone();
        let sector = self.sector as usize;
        damaged.bytes[sector..2 * sector].fill(0);
        let by_copy = damaged.told("sfdisk", &["--dump"], "").unwrap();
        assert!(by_copy.starts_with(&dump) && by_copy.contains("backup appears OK"), "{by_copy}{dump}");
    }
}

const GPT: &str =
    "label: gpt\nstart=1MiB, size=2MiB, type=U, name=ESP\nstart=3MiB, size=3MiB, type=L, name=root\n";

fn run(program: &str, arguments: &[&str], disk: &Path, input: &str) -> Result<String, String> {
    let mut child = Command::new(program)
        .args(arguments)
        .arg(disk)
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .env("LC_ALL", "C")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("cannot start {program}; it is in fdisk or gdisk: {error}"));
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    // The name of the disk is another one each time.
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8(said).unwrap().replace(disk.to_str().unwrap(), "DISK");
    if output.status.success() { Ok(said) } else { Err(said) }
}

#[test]
fn a_gpt_is_read() {
    for sector in [512, 4096] {
        let layout = Disk::gpt(8 * MIB, sector).check().unwrap();
        assert_eq!(layout.scheme, Scheme::Gpt);
        let found: Vec<_> =
            layout.partitions.iter().map(|one| (one.number, &*one.label, one.start, one.size)).collect();
        assert_eq!(found, [(1, "ESP", MIB, 2 * MIB), (2, "root", 3 * MIB, 3 * MIB)]);
    }
}

#[test]
fn an_mbr_is_read() {
    for sector in [512, 4096] {
        let layout = Disk::mbr(8 * MIB, sector).check().unwrap();
        assert_eq!((layout.scheme, &*layout.disk_id), (Scheme::Mbr, "6c6fab1e"));
        let found: Vec<_> =
            layout.partitions.iter().map(|one| (&*one.type_guid, &*one.guid, one.start, one.size)).collect();
        assert_eq!(found, [("0x83", "6c6fab1e-01", MIB, 2 * MIB), ("0x05", "6c6fab1e-02", 3 * MIB, MIB)]);
    }
}

#[test]
fn a_gpt_for_other_sectors_is_told() {
    for (found, expected) in [(512, 4096), (4096, 512)] {
        let disk = Disk::gpt(8 * MIB, found).on(16 * MIB, expected);
        let problem = disk.check().unwrap_err();
        assert_eq!(problem, Problem::OtherSectors { found, expected });
        let text = problem.to_string();
        assert!(
            text.contains(&format!("GPT for sectors of {found}"))
                && text.contains(&format!("{expected} bytes")),
            "{text}"
        );
    }
}

#[test]
fn what_is_no_partition_table_is_told() {
    let signed = |mut bytes: Vec<u8>| {
        bytes[510..512].copy_from_slice(b"\x55\xaa");
        Disk { bytes, sector: 512 }
    };
    assert_eq!(Disk::new(MIB, 512).check(), Err(Problem::None));
    assert_eq!(Disk::new(0, 512).check(), Err(Problem::None));
    assert_eq!(signed(vec![0; 2048]).check(), Err(Problem::EmptyMbr));
    assert_eq!(signed(vec![0x5a; 2048]).check(), Err(Problem::EmptyMbr));
    for (tool, arguments, size, filesystem) in [
        ("mkfs.vfat", &[][..], 8 * MIB, "FAT file system"),
        ("mkfs.vfat", &["-F", "32"], 64 * MIB, "FAT32 file system"),
        ("mke2fs", &["-q", "-F"], 8 * MIB, "ext2, ext3 or ext4 file system"),
    ] {
        let mut disk = Disk::new(size, 512);
        disk.told(tool, arguments, "").unwrap();
        assert_eq!(disk.check(), Err(Problem::SingleFilesystem { filesystem }));
    }
}

#[test]
fn a_table_that_is_of_no_use_is_told() {
    let empty = Disk::by_sfdisk(8 * MIB, 512, "label: gpt\n");
    assert_eq!(empty.check(), Err(Problem::EmptyGpt));

    let mut unprotected = Disk::gpt(8 * MIB, 512);
    unprotected.bytes[510] = 0;
    assert_eq!(unprotected.check(), Err(Problem::Unprotected));

    let mut gone = Disk::gpt(8 * MIB, 512);
    gone.bytes[512..1024].fill(0);
    assert_eq!(gone.check(), Err(Problem::NoGpt));

    let mut damaged = Disk::gpt(8 * MIB, 512);
    damaged.bytes[1024] ^= 1;
    assert_eq!(damaged.check(), Err(Problem::Gpt(GptFault::TableChecksum)));
    damaged.bytes[512 + 60] ^= 1;
    assert_eq!(damaged.check(), Err(Problem::Gpt(GptFault::HeaderChecksum)));

    let mut small = Disk::gpt(8 * MIB, 512);
    small.bytes.truncate(6 << 20);
    assert!(matches!(small.check(), Err(Problem::Gpt(GptFault::BehindDisk { sectors: 12288, .. }))));
    let mut small = Disk::mbr(8 * MIB, 512);
    small.bytes.truncate(2 << 20);
    assert_eq!(small.check(), Err(Problem::BehindDisk { number: 1, end: 3 * MIB, capacity: 2 * MIB }));

    // With the header alone nobody knows the partitions.
    let gpt = Disk::gpt(8 * MIB, 512);
    let problem = check(&gpt.bytes[..4096], 512, gpt.capacity()).unwrap_err();
    assert_eq!(problem, Problem::EntriesElsewhere { end: 1024 + 128 * 128, limit: 4096 });
}

#[test]
fn the_copy_is_moved_to_the_end() {
    for sector in [512, 4096] {
        let image = Disk::gpt(8 * MIB, sector);
        let step = u64::from(sector);
        for more in [step, 3 * step, 17 * step, 33 * step, 34 * step, MIB / 2, 3 * MIB + 5 * step, 40 * MIB] {
            let mut disk = image.on(image.capacity() + more, sector);
            let moved = disk.relocate(image.capacity()).unwrap().unwrap();
            assert_eq!(moved.to, disk.capacity() - step, "{more} more");
            disk.assert_sound();
            assert_eq!(disk.check().unwrap(), image.check().unwrap());
            // Of the old copy nothing is left that anybody could take for one.
            let headers = disk.bytes.chunks_exact(512).filter(|block| block.starts_with(b"EFI PART")).count();
            assert_eq!(headers, 2, "{more} more");
            let middle = usize::try_from(MIB).unwrap()..6 << 20;
            assert!(disk.bytes[middle.clone()] == image.bytes[middle]);
            assert_eq!(disk.relocate(image.capacity()), Ok(None), "it is there already");
        }
    }
}

#[test]
fn a_disk_that_ends_within_a_sector_has_its_copy_in_the_last_whole_one() {
    let image = Disk::gpt(8 * MIB, 512);
    let mut disk = image.on(20 * MIB + 511, 512);
    let moved = disk.relocate(image.capacity()).unwrap().unwrap();
    assert_eq!(moved, Moved { to: 20 * MIB - 512, stale: Some(8 * MIB - 512..8 * MIB) });
    disk.assert_sound();
}

#[test]
fn tables_of_any_shape_are_moved() {
    for entries in [4, 64, 256] {
        let script = format!(
            "label: gpt\ntable-length: {entries}\nstart=1MiB, size=2MiB, name=one\nsize=2MiB, name=two\n"
        );
        let image = Disk::by_sfdisk(8 * MIB, 512, &script);
        let mut disk = image.on(11 * MIB + 512, 512);
        disk.relocate(image.capacity()).unwrap().unwrap();
        disk.assert_sound();
        assert_eq!(disk.check().unwrap(), image.check().unwrap());
    }
}

#[test]
fn entries_of_256_bytes_are_moved() {
    let image = with_wide_entries(Disk::gpt(8 * MIB, 512));
    let expected = image.check().unwrap();
    assert_eq!(expected.partitions.len(), 2);
    let mut disk = image.on(12 * MIB, 512);
    disk.relocate(image.capacity()).unwrap().unwrap();
    assert_eq!(disk.check().unwrap(), expected);
    // The tools know entries of 128 bytes alone: the copy is compared here.
    let last = disk.bytes.len() - 512;
    let header = &disk.bytes[last..];
    let own = u64::from_le_bytes(header[24..32].try_into().unwrap());
    let table = u64::from_le_bytes(header[72..80].try_into().unwrap());
    assert_eq!((own, table), (12 * MIB / 512 - 1, 12 * MIB / 512 - 1 - 64));
    let copy = usize::try_from(table * 512).unwrap();
    assert!(disk.bytes[copy..last] == disk.bytes[1024..1024 + 128 * 256]);
    assert_eq!(disk.relocate(image.capacity()), Ok(None));
}

/// The same partitions, in entries of 256 bytes.
fn with_wide_entries(mut image: Disk) -> Disk {
    let entries: Vec<u8> = image.bytes[1024..1024 + 128 * 128]
        .chunks_exact(128)
        .flat_map(|entry| [entry, &[0; 128]].concat())
        .collect();
    let crc = crc::Crc::<u32>::new(&crc::CRC_32_ISO_HDLC);
    let header = &mut image.bytes[512..512 + 92];
    header[40..48].copy_from_slice(&66_u64.to_le_bytes());
    header[84..88].copy_from_slice(&256_u32.to_le_bytes());
    header[88..92].copy_from_slice(&crc.checksum(&entries).to_le_bytes());
    header[16..20].fill(0);
    let checksum = crc.checksum(header);
    header[16..20].copy_from_slice(&checksum.to_le_bytes());
    image.bytes[1024..1024 + entries.len()].copy_from_slice(&entries);
    image
}

#[test]
fn an_image_that_lost_its_copy_gets_one() {
    let mut cut = Disk::gpt(8 * MIB, 512);
    cut.bytes.truncate(7 << 20);
    for capacity in [8 * MIB, 9 * MIB, 30 * MIB] {
        let mut disk = cut.on(capacity, 512);
        let moved = disk.relocate(cut.capacity()).unwrap().unwrap();
        assert_eq!(moved.stale, None, "it brought none");
        disk.assert_sound();
    }
}

#[test]
fn a_disk_as_large_as_the_image_is_left_alone() {
    let mut disk = Disk::gpt(8 * MIB, 512);
    let before = disk.bytes.clone();
    assert_eq!(disk.relocate(8 * MIB), Ok(None));
    assert!(disk.bytes == before);

    // But a damaged copy is made anew.
    let last = disk.bytes.len() - 512;
    disk.bytes[last - 512] ^= 1;
    disk.relocate(8 * MIB).unwrap().unwrap();
    disk.assert_sound();
}

#[test]
fn a_copy_never_lands_on_a_partition() {
    // The last usable sector of the image is in use, and the disk has one sector less behind it than a copy needs.
    let image = Disk::by_sfdisk(8 * MIB, 512, "label: gpt\nstart=2048, size=14303\n");
    let mut small = image.clone();
    small.bytes.truncate((8 << 20) - 512);
    let before = small.bytes.clone();
    let problem = small.relocate(small.capacity()).unwrap_err();
    assert_eq!(problem, Problem::NoRoomForCopy { last_used: 16350, copy: 16350 });
    assert!(small.bytes == before);

    let mut enough = image.on(8 * MIB, 512);
    enough.bytes[(8 << 20) - 512..].fill(0);
    enough.relocate(8 * MIB).unwrap().unwrap();
    enough.assert_sound();
}

#[test]
fn a_header_that_lies_about_its_copy_costs_no_data() {
    let image = Disk::gpt(8 * MIB, 512);
    for alternate in [0_u64, 1, 2, 40, 2048, 9000, 12287, u64::MAX] {
        let mut lying = image.on(16 * MIB, 512);
        lying.bytes[20_000..8 << 20].fill(0x5a);
        let header = &mut lying.bytes[512..512 + 92];
        header[32..40].copy_from_slice(&alternate.to_le_bytes());
        header[16..20].fill(0);
        let checksum = crc::Crc::<u32>::new(&crc::CRC_32_ISO_HDLC).checksum(header);
        header[16..20].copy_from_slice(&checksum.to_le_bytes());
        assert_eq!(lying.relocate(8 * MIB).unwrap().unwrap().stale, None, "{alternate}");
        assert!(lying.bytes[20_000..8 << 20].iter().all(|byte| *byte == 0x5a), "{alternate}");
        lying.assert_sound();
    }
}

#[test]
fn what_has_no_gpt_for_these_sectors_is_left_alone() {
    for mut disk in
        [Disk::mbr(8 * MIB, 512), Disk::new(8 * MIB, 512), Disk::gpt(8 * MIB, 512).on(16 * MIB, 4096)]
    {
        let before = disk.bytes.clone();
        assert_eq!(disk.relocate(8 * MIB), Ok(None));
        assert!(disk.bytes == before);
    }
}

#[test]
fn a_hybrid_is_a_gpt() {
    let mut disk = Disk::gpt(8 * MIB, 512);
    disk.told("sgdisk", &["--hybrid", "1"], "").unwrap();
    assert_eq!(disk.check().unwrap().scheme, Scheme::Gpt);
    let mut disk = disk.on(13 * MIB, 512);
    let record = disk.bytes[..512].to_vec();
    disk.relocate(8 * MIB).unwrap().unwrap();
    assert!(disk.bytes[..512] == record, "its MBR is its own matter");
}
