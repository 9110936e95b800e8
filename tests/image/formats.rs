//! Images in every format, as the tools of each make them, on disks full of old data.

use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, LazyLock};

use farrier::image::{self, FreshUrls, Image, ImageError, Settings, Spool, Target, Written};
use farrier::meter::Meter;
use farrier::wire::{
    Checksum, Coded as _, Digest, DigestAlgorithm, ErrorCode, ErrorReport, ImageFormat, ImageUrl,
};
use farrier_testbed::disk_image;
use farrier_testbed::http::{Fault, FaultyServer, Nginx, Script};
use farrier_testbed::lab_disk;
use farrier_testbed::loop_device::LoopDevice;
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, ready};
use tempfile::TempDir;

use crate::lab::{BOUND, MIB, digest_of, settings, short, target};

/// A real system of 24 MiB, and every file that is made of it.
struct Built {
    dir: TempDir,
    raw: Vec<u8>,
}

static BUILT: LazyLock<Built> = LazyLock::new(|| {
    let dir = tempfile::tempdir().unwrap();
    let image = disk_image::build(dir.path(), 24).unwrap();
    let raw = fs::read(&image.path).unwrap();
    let (source, dir_path) = (image.path.display().to_string(), dir.path().display().to_string());
    for command in [
        format!("gzip -c {source} > {dir_path}/gzip"),
        format!("xz -0 -c {source} > {dir_path}/xz"),
        format!("zstd -q -c {source} > {dir_path}/zstd"),
        format!("bzip2 -1 -c {source} > {dir_path}/bzip2"),
        format!("lz4 -q -c {source} > {dir_path}/lz4"),
        format!("qemu-img convert -f raw -O qcow2 {source} {dir_path}/qcow2"),
        format!("qemu-img convert -f raw -O qcow2 -o compat=0.10 {source} {dir_path}/qcow2-v2"),
        format!("qemu-img convert -f raw -c -O qcow2 {source} {dir_path}/qcow2-zlib"),
        format!(
            "qemu-img convert -f raw -c -O qcow2 -o compression_type=zstd,cluster_size=2M {source} {dir_path}/qcow2-zstd"
        ),
        format!(
            "qemu-img convert -f raw -O qcow2 -o extended_l2=on,cluster_size=128k {source} {dir_path}/qcow2-extended"
        ),
        format!("qemu-img convert -f raw -O qcow2 -o cluster_size=512 {source} {dir_path}/qcow2-small"),
        format!("qemu-img convert -f raw -O vmdk {source} {dir_path}/vmdk"),
        format!("qemu-img convert -f raw -O vpc {source} {dir_path}/vhd"),
        format!(
            "qemu-img convert -f raw -O vpc -o subformat=fixed,force_size=on {source} {dir_path}/vhd-fixed"
        ),
        format!("qemu-img convert -f raw -O vdi {source} {dir_path}/vdi"),
        format!("qemu-img create -q -f qcow2 -b {source} -F raw {dir_path}/qcow2-backed"),
        format!("gzip -c {dir_path}/qcow2 > {dir_path}/qcow2-in-gzip"),
        format!("cp {source} {dir_path}/raw"),
        format!("head -c 3000000 {dir_path}/zstd > {dir_path}/zstd-cut"),
        format!("(cat {dir_path}/gzip; echo more) > {dir_path}/gzip-and-more"),
    ] {
        let status = Command::new("sh").args(["-c", &command]).status().unwrap();
        assert!(status.success(), "{command}");
    }
    Built { dir, raw }
});

struct Lab {
    dir: TempDir,
    disk: PathBuf,
    nginx: Nginx,
}

impl Lab {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let disk = dir.path().join("disk");
        lab_disk::create(&disk, (BUILT.raw.len() + 3 * MIB) as u64).unwrap();
        let nginx = Nginx::start(&dir.path().join("nginx"), BUILT.dir.path()).unwrap();
        Self { dir, disk, nginx }
    }

    fn image(&self, name: &str) -> Image {
        let digest = digest_of(&fs::read(BUILT.dir.path().join(name)).unwrap());
        Image::new(self.nginx.url(name).parse().unwrap(), Some(Checksum::Digest(digest)))
    }

    async fn write(&self, image: &Image) -> Result<Written, ImageError> {
        self.write_with(image, &settings(short())).await
    }

    async fn write_with(&self, image: &Image, settings: &Settings) -> Result<Written, ImageError> {
        let meter = Meter::unobserved();
        let writing = image::write(image, target(&self.disk), settings, &meter);
        tokio::time::timeout(3 * BOUND, writing).await.expect("the pipeline neither ends nor fails")
    }

    fn assert_holds_the_image(&self, name: &str) {
        let disk = fs::read(&self.disk).unwrap();
        // The copy of the partition table goes to the end of the disk; the first one says so.
        let (start, end) = (MIB, BUILT.raw.len() - MIB);
        assert!(disk[start..end] == BUILT.raw[start..end], "{name}: the partitions differ");
        let sfdisk = Command::new("sfdisk").args(["--json"]).arg(&self.disk).output().unwrap();
        assert!(sfdisk.status.success(), "{name}: {}", String::from_utf8_lossy(&sfdisk.stderr));
    }

    fn assert_does_not_boot(&self) {
        let disk = fs::read(&self.disk).unwrap();
        let ends = [&disk[..MIB], &disk[disk.len() - MIB..]];
        assert!(ends.iter().all(|end| end.iter().all(|byte| *byte == 0)), "an end of the disk is not zero");
    }

    fn assert_untouched(&self) {
        let disk = fs::read(&self.disk).unwrap();
        assert!(
            disk.chunks(16).all(|chunk| lab_disk::OLD_DATA.starts_with(chunk)),
            "the disk was written to"
        );
    }
}

#[tokio::test]
async fn every_format_ends_up_as_the_same_disk() {
    for (name, format) in [
        ("raw", ImageFormat::Raw),
        ("gzip", ImageFormat::Gzip),
        ("xz", ImageFormat::Xz),
        ("zstd", ImageFormat::Zstd),
        ("bzip2", ImageFormat::Bzip2),
        ("lz4", ImageFormat::Lz4),
        ("qcow2", ImageFormat::Qcow2),
        ("qcow2-v2", ImageFormat::Qcow2),
        ("qcow2-zlib", ImageFormat::Qcow2),
        ("qcow2-zstd", ImageFormat::Qcow2),
        ("qcow2-extended", ImageFormat::Qcow2),
        ("qcow2-small", ImageFormat::Qcow2),
    ] {
        let lab = Lab::new();
        let mut image = lab.image(name);
        image.read_back = true;
        let written = lab.write(&image).await.unwrap_or_else(|error| panic!("{name}: {}", error.report()));
        assert_eq!((written.format, written.bytes), (format, BUILT.raw.len() as u64), "{name}");
        lab.assert_holds_the_image(name);
    }
}

#[tokio::test]
async fn every_kind_of_format_ends_up_on_block_devices_as_qemu_and_the_tools_have_it() {
    for name in ["raw", "zstd", "qcow2", "qcow2-zlib", "qcow2-extended", "qcow2-small"] {
        let lab = Lab::new();
        // As large as the image, so that nothing is moved: the whole device must be the image.
        lab_disk::create(&lab.disk, BUILT.raw.len() as u64).unwrap();
        let device = LoopDevice::attach(&lab.disk, 512).unwrap();
        let file = OpenOptions::new().read(true).write(true).open(device.path()).unwrap();
        let capacity = BUILT.raw.len() as u64;
        let target = Target { name: device.path().display().to_string(), file, capacity, sector: 512 };
        image::write(&lab.image(name), target, &settings(short()), &Meter::unobserved()).await.unwrap();
        drop(device);
        assert!(fs::read(&lab.disk).unwrap() == BUILT.raw, "{name}");
    }
}

#[tokio::test]
async fn images_come_from_files_too() {
    let lab = Lab::new();
    for name in ["raw", "qcow2", "zstd"] {
        let mut image = lab.image(name);
        image.source = format!("file://{}/{name}", BUILT.dir.path().display()).parse().unwrap();
        lab.write(&image).await.unwrap();
        lab.assert_holds_the_image(name);
    }
}

#[tokio::test]
async fn what_is_not_taken_is_named_and_nothing_is_written() {
    let lab = Lab::new();
    for (name, code, part) in [
        ("vmdk", ErrorCode::ImageFormat, "VMDK"),
        ("vhd", ErrorCode::ImageFormat, "VHD"),
        ("vdi", ErrorCode::ImageFormat, "VDI"),
        ("qcow2-backed", ErrorCode::ImageUnsupported, "backing file"),
    ] {
        let error = lab.write(&lab.image(name)).await.unwrap_err().report();
        assert_eq!(error.code, code, "{error}");
        assert!(error.message.contains(part), "{error}");
        lab.assert_untouched();
    }
    let mut image = lab.image("qcow2");
    image.format = Some(ImageFormat::Raw);
    let error = lab.write(&image).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::ImageFormat, "{error}");
    let mut only_raw = settings(short());
    only_raw.policy.formats = vec![ImageFormat::Raw];
    let error = lab.write_with(&lab.image("zstd"), &only_raw).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::ImageFormat, "{error}");
    lab.assert_untouched();
}

#[tokio::test]
async fn damage_is_found_while_it_is_written_and_the_disk_does_not_boot() {
    for (name, code) in [
        ("zstd-cut", ErrorCode::ImageCorrupt),
        ("gzip-and-more", ErrorCode::ImageCorrupt),
        ("qcow2-in-gzip", ErrorCode::ImageFormat),
        // A footer alone tells it from a raw image.
        ("vhd-fixed", ErrorCode::ImageFormat),
    ] {
        let lab = Lab::new();
        let error = lab.write(&lab.image(name)).await.unwrap_err();
        assert_eq!(error.code(), code, "{name}: {}", error.report());
        lab.assert_does_not_boot();
    }
}

#[tokio::test]
async fn a_wrong_digest_of_any_format_leaves_no_partition_table() {
    for name in ["gzip", "qcow2", "qcow2-zlib"] {
        let lab = Lab::new();
        let mut image = lab.image(name);
        image.checksum = Some(Checksum::Digest(Digest::Sha256([7; 32])));
        assert_eq!(lab.write(&image).await.unwrap_err().code(), ErrorCode::DigestMismatch, "{name}");
        lab.assert_does_not_boot();
    }
}

#[tokio::test]
async fn an_image_that_decodes_to_more_than_the_disk_is_refused() {
    let lab = Lab::new();
    lab_disk::create(&lab.disk, (BUILT.raw.len() - 4096) as u64).unwrap();
    assert_eq!(lab.write(&lab.image("qcow2")).await.unwrap_err().code(), ErrorCode::ImageTooLarge);
    lab.assert_untouched();
    assert_eq!(lab.write(&lab.image("lz4")).await.unwrap_err().code(), ErrorCode::ImageTooLarge);
    lab.assert_does_not_boot();
}

#[tokio::test]
async fn a_qcow2_without_ranges_is_kept_only_where_there_is_room() {
    let lab = Lab::new();
    let bytes = fs::read(BUILT.dir.path().join("qcow2")).unwrap();
    let server = FaultyServer::start(bytes.clone(), Fault::NoRanges).await.unwrap();
    let mut image = lab.image("qcow2");
    image.source = server.url("qcow2").parse().unwrap();
    let error = lab.write(&image).await.unwrap_err().report();
    assert_eq!(error.code, ErrorCode::ImageNeedsSpool);
    assert!(error.message.contains("image.spool_dir"), "{error}");

    let room = |bytes| Spool { directory: lab.dir.path().to_owned(), bytes };
    let mut settings = settings(short());
    settings.policy.spool = Some(room(bytes.len() as u64 - 1));
    let error = lab.write_with(&image, &settings).await.unwrap_err().report();
    assert_eq!(error.code, ErrorCode::ImageNeedsSpool, "{error}");
    lab.assert_untouched();

    settings.policy.spool = Some(room(bytes.len() as u64));
    lab.write_with(&image, &settings).await.unwrap();
    lab.assert_holds_the_image("kept");
    let left: Vec<_> = names_in(lab.dir.path()).into_iter().filter(|name| name.starts_with(".tmp")).collect();
    assert!(left.is_empty(), "{left:?}");
}

/// Gives a fixed URL in the place of any.
#[derive(Debug)]
struct Fresh(ImageUrl);

impl FreshUrls for Fresh {
    fn fresh<'a>(&'a self, _: &'a ImageUrl, _: u16) -> BoxFuture<'a, Result<Vec<ImageUrl>, ErrorReport>> {
        ready(Ok(vec![self.0.clone()])).boxed()
    }
}

#[tokio::test]
async fn a_qcow2_whose_url_runs_out_among_its_tables_goes_on_with_a_fresh_one() {
    let lab = Lab::new();
    let bytes = fs::read(BUILT.dir.path().join("qcow2-small")).unwrap();
    let faults = vec![Fault::Nothing, Fault::Nothing, Fault::Status(401), Fault::Nothing];
    let server = FaultyServer::run(Script::new(bytes, faults)).await.unwrap();
    let mut image = lab.image("qcow2-small");
    image.source = server.url("image?sig=1").parse().unwrap();
    let fresh = Arc::new(Fresh(server.url("image?sig=2").parse().unwrap()));
    let settings = Settings { fresh_urls: Some(fresh), ..settings(short()) };
    lab.write_with(&image, &settings).await.unwrap();
    lab.assert_holds_the_image("qcow2-small");
    let requests = server.requests();
    assert!(requests.len() > 4, "the tables were not read by ranges: {requests:#?}");
    let (old, new) = requests.split_at(3);
    assert!(old.iter().all(|request| request.line.contains("sig=1")), "{old:#?}");
    assert!(new.iter().all(|request| request.line.contains("sig=2")), "{new:#?}");
    let range = |place: usize| requests[place].header("range").unwrap();
    assert_eq!(range(2), range(3), "the part that was refused is asked for again");
}

fn names_in(dir: &Path) -> Vec<String> {
    fs::read_dir(dir).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap()).collect()
}

#[tokio::test]
async fn digests_are_of_the_bytes_as_served_by_any_algorithm_that_is_allowed() {
    let lab = Lab::new();
    let sum = |tool: &str| {
        let output = Command::new(tool).arg(BUILT.dir.path().join("zstd")).output().unwrap();
        String::from_utf8(output.stdout).unwrap().split(' ').next().unwrap().to_uppercase()
    };
    for (algorithm, tool) in [
        (DigestAlgorithm::Sha256, "sha256sum"),
        (DigestAlgorithm::Sha512, "sha512sum"),
        (DigestAlgorithm::Sha1, "sha1sum"),
        (DigestAlgorithm::Md5, "md5sum"),
    ] {
        let mut image = lab.image("zstd");
        image.checksum = Some(sum(tool).parse().unwrap());
        if algorithm.is_weak() {
            let error = lab.write(&image).await.unwrap_err().report();
            assert_eq!(error.code, ErrorCode::DigestRequired);
            assert!(error.message.contains("image.weak_digests"), "{error}");
        }
        let mut settings = settings(short());
        settings.policy.weak_digests = algorithm.is_weak();
        let written = lab.write_with(&image, &settings).await.unwrap();
        assert_eq!(written.checksum.algorithm(), algorithm);
        lab.assert_holds_the_image(tool);
    }
}

#[tokio::test]
async fn an_image_without_a_digest_is_written_only_where_that_is_allowed() {
    let lab = Lab::new();
    let mut image = lab.image("raw");
    image.checksum = None;
    let error = lab.write(&image).await.unwrap_err().report();
    assert_eq!(error.code, ErrorCode::DigestRequired);
    assert!(error.message.contains("image_checksum"), "{error}");
    lab.assert_untouched();
    let mut settings = settings(short());
    settings.policy.without_digest = true;
    let written = lab.write_with(&image, &settings).await.unwrap();
    assert_eq!(written.checksum, digest_of(&BUILT.raw));
}

#[tokio::test]
async fn the_digest_stands_in_a_checksum_file() {
    let lab = Lab::new();
    let docroot = lab.dir.path().join("sums");
    fs::create_dir_all(&docroot).unwrap();
    let digest = hex::encode(digest_of(&fs::read(BUILT.dir.path().join("zstd")).unwrap()).as_bytes());
    let wrong = "07".repeat(32);
    fs::write(docroot.join("GOOD"), format!("# sums\n{wrong}  raw\n{digest} *./images/zstd\n")).unwrap();
    fs::write(docroot.join("WRONG"), format!("{wrong}  zstd\n")).unwrap();
    fs::write(docroot.join("OTHER"), format!("{digest}  zstd.sig\n")).unwrap();
    fs::write(docroot.join("HUGE"), vec![b'#'; 2 * MIB]).unwrap();
    let sums = Nginx::start(&lab.dir.path().join("nginx-of-sums"), &docroot).unwrap();
    for (name, code) in [
        ("GOOD", None),
        ("WRONG", Some(ErrorCode::DigestMismatch)),
        ("OTHER", Some(ErrorCode::ChecksumFile)),
        ("HUGE", Some(ErrorCode::ChecksumFile)),
        ("ABSENT", Some(ErrorCode::HttpStatus)),
    ] {
        let mut image = lab.image("zstd");
        image.checksum = Some(sums.url(name).parse().unwrap());
        let found = lab.write(&image).await.err();
        assert_eq!(found.as_ref().map(|error| error.code()), code, "{name}: {found:?}");
    }
}
