//! What sysfs tells of a block device: `Documentation/ABI/stable/sysfs-block` of Linux, and the files of its SCSI, NVMe, virtio and
//! MMC drivers. Neither udev nor lsblk is needed, which a RAM disk need not have.

use std::fs;
use std::path::{Path, PathBuf};

pub(super) use crate::sysfs::number;
use crate::sysfs::{clean, text};
use crate::wire::inventory;

/// sysfs counts sizes in units of this, whatever the sector of the device.
const SYSFS_SECTOR: u64 = 512;
/// Bytes before the serial number in the SCSI page `vpd_pg80`.
const VPD_HEADER: usize = 4;
/// Hex digits of a World Wide Name without its vendor extension.
const WWN_DIGITS: usize = 16;

/// The folder of the block device with this number, if there is one.
pub(super) fn folder(device: u64) -> Option<PathBuf> {
    let (major, minor) = (nix::sys::stat::major(device), nix::sys::stat::minor(device));
    fs::canonicalize(format!("/sys/dev/block/{major}:{minor}")).ok()
}

/// What the device in `folder`, opened as `name`, is like. What the kernel does not tell is left out.
pub(super) fn facts(folder: &Path, name: &Path) -> inventory::Disk {
    let device = folder.join("device");
    let wwn = wwn(folder);
    inventory::Disk {
        name: name.display().to_string(),
        model: text(&device.join("model")),
        size: number(&folder.join("size")).unwrap_or(0).saturating_mul(SYSFS_SECTOR),
        rotational: flag(&folder.join("queue/rotational")),
        serial: serial(folder),
        vendor: text(&device.join("vendor")),
        hctl: scsi_address(&device),
        by_path: by_path(name),
        logical_sectors: sector(folder, "logical"),
        physical_sectors: sector(folder, "physical"),
        tran: transport(folder),
        read_only: flag(&folder.join("ro")),
        wwn: wwn.name,
        wwn_with_extension: wwn.with_extension,
        wwn_vendor_extension: wwn.vendor_extension,
    }
}

/// The serial number: that of the disk, or the name of the file behind a loop device.
pub(super) fn serial(folder: &Path) -> Option<String> {
    text(&folder.join("device/serial"))
        .or_else(|| text(&folder.join("serial")))
        .or_else(|| unit_serial(&fs::read(folder.join("device/vpd_pg80")).ok()?))
        .or_else(|| backing_file(folder)?.file_name().map(|name| name.to_string_lossy().into_owned()))
}

/// The file behind a loop device.
pub(super) fn backing_file(folder: &Path) -> Option<PathBuf> {
    text(&folder.join("loop/backing_file")).map(PathBuf::from)
}

/// Counts the disks that appeared, if the kernel is new enough.
pub(super) fn sequence(folder: &Path) -> Option<u64> {
    number(&folder.join("diskseq"))
}

/// The number of a block device, from its file `dev`.
pub(super) fn device_number(folder: &Path) -> Option<u64> {
    let dev = text(&folder.join("dev"))?;
    let (major, minor) = dev.split_once(':')?;
    Some(nix::sys::stat::makedev(major.parse().ok()?, minor.parse().ok()?))
}

/// The folders of the partitions that the kernel sees on a device, each with its name.
pub(super) fn partitions(folder: &Path) -> Vec<(String, PathBuf)> {
    children(folder).into_iter().filter(|(_, path)| path.join("partition").exists()).collect()
}

/// Everything in a folder, by name. None when it cannot be read.
pub(super) fn children(folder: &Path) -> Vec<(String, PathBuf)> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut children: Vec<_> =
        entries.map(|entry| (entry.file_name().to_string_lossy().into_owned(), entry.path())).collect();
    children.sort_unstable();
    children
}

fn flag(file: &Path) -> bool {
    number(file) == Some(1)
}

fn sector(folder: &Path, kind: &str) -> u32 {
    let bytes = number(&folder.join(format!("queue/{kind}_block_size")));
    bytes.and_then(|bytes| u32::try_from(bytes).ok()).unwrap_or(512)
}

/// The unit serial number page of SCSI Primary Commands.
fn unit_serial(page: &[u8]) -> Option<String> {
    clean(page.get(VPD_HEADER..)?)
}

/// A SCSI disk has one folder here, named after its address.
fn scsi_address(device: &Path) -> Option<String> {
    children(&device.join("scsi_device")).into_iter().next().map(|(address, _)| address)
}

/// A World Wide Name and its parts, written as udev and Ironic do.
#[derive(Debug, Default, PartialEq, Eq)]
struct Wwn {
    name: Option<String>,
    with_extension: Option<String>,
    vendor_extension: Option<String>,
}

fn wwn(folder: &Path) -> Wwn {
    text(&folder.join("wwid"))
        .or_else(|| text(&folder.join("device/wwid")))
        .map_or_else(Wwn::default, parse_wwn)
}

/// From the World Wide ID of the kernel: `naa.` and 16 or 32 hex digits, of which the second 16 are the vendor's, or what an NVMe
/// namespace has. A `t10.` ID is made of the vendor and serial number and is no World Wide Name.
fn parse_wwn(wwid: String) -> Wwn {
    let Some(digits) = wwid.strip_prefix("naa.") else {
        let name = ["eui.", "uuid.", "nvme."].iter().any(|kind| wwid.starts_with(kind)).then_some(wwid);
        return Wwn { with_extension: name.clone(), name, vendor_extension: None };
    };
    if digits.is_empty() || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return Wwn::default();
    }
    let (name, extension) = digits.split_at(digits.len().min(WWN_DIGITS));
    Wwn {
        name: Some(format!("0x{name}")),
        with_extension: Some(format!("0x{digits}")),
        vendor_extension: (!extension.is_empty()).then(|| format!("0x{extension}")),
    }
}

/// The bus by which the disk is attached, from the devices on the way to it.
fn transport(folder: &Path) -> Option<String> {
    // Outermost last: a USB box that speaks SCSI is a USB disk, and a SATA disk at a SAS controller is a SAS one.
    const BUSES: &[(&str, &str)] = &[
        ("loop", "loop"),
        ("nvme", "nvme"),
        ("mmc", "mmc"),
        ("usb", "usb"),
        ("rport-", "fc"),
        ("session", "iscsi"),
        ("end_device-", "sas"),
        ("ata", "sata"),
        ("virtio", "virtio"),
    ];
    let names: Vec<_> = folder.components().map(|name| name.as_os_str().to_string_lossy()).collect();
    let passes = |start: &str| names.iter().any(|name| is_numbered(name, start));
    BUSES.iter().find(|(start, _)| passes(start)).map(|(_, bus)| (*bus).to_owned())
}

/// Whether a name is `start` and a number, perhaps with more behind: `ata3`, `nvme0n1`, `end_device-0:1`.
fn is_numbered(name: &str, start: &str) -> bool {
    name.strip_prefix(start).is_some_and(|rest| rest.starts_with(|char: char| char.is_ascii_digit()))
}

/// The link that leads to the device, if something like udev makes such links here.
fn by_path(name: &Path) -> Option<String> {
    let leads_here = |link: &PathBuf| fs::canonicalize(link).is_ok_and(|target| target == name);
    let links = children(Path::new("/dev/disk/by-path")).into_iter().map(|(_, link)| link);
    links.into_iter().find(leads_here).map(|link| link.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder_with(files: &[(&str, &[u8])]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, content) in files {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        dir
    }

    #[test]
    fn a_sata_disk_tells_what_it_is() {
        let dir = folder_with(&[
            ("size", b"2048\n"),
            ("ro", b"0\n"),
            ("diskseq", b"9\n"),
            ("dev", b"8:16\n"),
            ("queue/rotational", b"1\n"),
            ("queue/logical_block_size", b"512\n"),
            ("queue/physical_block_size", b"4096\n"),
            ("device/model", b"ST4000NM0033-9ZM\n"),
            ("device/vendor", b"ATA     \n"),
            ("device/vpd_pg80", b"\0\x80\0\x14            Z1Z0ABCD"),
            ("device/wwid", b"naa.5000c500a1b2c3d4\n"),
            ("device/scsi_device/2:0:0:0/uevent", b""),
        ]);
        let disk = facts(dir.path(), Path::new("/dev/sdb"));
        assert_eq!((disk.size, disk.rotational, disk.read_only), (1 << 20, true, false));
        assert_eq!((disk.logical_sectors, disk.physical_sectors), (512, 4096));
        assert_eq!(disk.model.as_deref(), Some("ST4000NM0033-9ZM"));
        assert_eq!(disk.vendor.as_deref(), Some("ATA"));
        assert_eq!(disk.serial.as_deref(), Some("Z1Z0ABCD"));
        assert_eq!(disk.wwn.as_deref(), Some("0x5000c500a1b2c3d4"));
        assert_eq!(disk.hctl.as_deref(), Some("2:0:0:0"));
        assert_eq!(sequence(dir.path()), Some(9));
        assert_eq!(device_number(dir.path()), Some(nix::sys::stat::makedev(8, 16)));
    }

    #[test]
    fn a_device_that_tells_nothing_is_empty() {
        let dir = folder_with(&[("device/model", b" \0\n"), ("device/vpd_pg80", b"\0\x80")]);
        let disk = facts(dir.path(), Path::new("/dev/sdb"));
        assert_eq!((disk.size, disk.model, disk.serial, disk.wwn), (0, None, None, None));
        assert_eq!((disk.logical_sectors, disk.physical_sectors), (512, 512));
    }

    #[test]
    fn world_wide_names_are_written_as_udev_does() {
        let long = parse_wwn("naa.600508b1001c5e757c79ba05c8cd9bb0".to_owned());
        assert_eq!(long.name.as_deref(), Some("0x600508b1001c5e75"));
        assert_eq!(long.vendor_extension.as_deref(), Some("0x7c79ba05c8cd9bb0"));
        assert_eq!(long.with_extension.as_deref(), Some("0x600508b1001c5e757c79ba05c8cd9bb0"));

        let nvme = parse_wwn("eui.0025385b71b00f2e".to_owned());
        assert_eq!(nvme.name.as_deref(), Some("eui.0025385b71b00f2e"));
        assert_eq!(nvme.vendor_extension, None);

        for other in ["t10.ATA     ST4000", "naa.", "naa.5000c500zz", "naa.5000c500é", ""] {
            assert_eq!(parse_wwn(other.to_owned()), Wwn::default(), "{other}");
        }
    }

    #[test]
    fn the_transport_is_that_of_the_nearest_bus() {
        for (path, expected) in [
            ("/sys/devices/pci0000:00/0000:00:1f.2/ata3/host2/target2:0:0/2:0:0:0/block/sda", Some("sata")),
            ("/sys/devices/pci0000:00/0000:00:14.0/usb1/1-2/1-2:1.0/host6/block/sdc", Some("usb")),
            ("/sys/devices/pci0000:00/0000:01:00.0/nvme/nvme0/nvme0n1", Some("nvme")),
            ("/sys/devices/virtual/nvme-subsystem/nvme-subsys0/nvme0n1", Some("nvme")),
            ("/sys/devices/pci0000:00/0000:02:00.0/host0/port-0:0/end_device-0:0/block/sda", Some("sas")),
            ("/sys/devices/pci0000:00/0000:00:05.0/virtio2/block/vda", Some("virtio")),
            ("/sys/devices/virtual/block/loop3", Some("loop")),
            ("/sys/devices/platform/data/block/xda", None),
        ] {
            assert_eq!(transport(Path::new(path)).as_deref(), expected, "{path}");
        }
    }
}
