//! What the firmware says of the machine, from its SMBIOS table (DMTF DSP0134).
//!
//! The kernel has checked the entry point before it shows the table, and which fields a structure has follows from its own
//! length, so that only the table is read here. The bytes come from firmware: nothing in them is trusted.

use std::path::Path;

use crate::sysfs;
use crate::wire::inventory::{Firmware, SystemVendor};

const TABLE: &str = "/sys/firmware/dmi/tables/DMI";
const DMI_ID: &str = "/sys/class/dmi/id";

/// Who made the machine, and what of it is in no other place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Smbios {
    pub(super) system_vendor: SystemVendor,
    /// MiB of memory that are installed.
    pub(super) physical_mb: Option<u64>,
}

/// From the table; what it does not say (or where only root may read it), from what the kernel has made of it.
pub(super) fn collect() -> Smbios {
    let mut found = std::fs::read(TABLE).map(|table| parse(&table)).unwrap_or_default();
    found.system_vendor = complete(found.system_vendor, &from_dmi_id(Path::new(DMI_ID)));
    found
}

fn from_dmi_id(folder: &Path) -> SystemVendor {
    let field = |name: &str| sysfs::text(&folder.join(name));
    SystemVendor {
        product_name: field("product_name"),
        serial_number: field("product_serial"),
        manufacturer: field("sys_vendor"),
        firmware: Firmware {
            vendor: field("bios_vendor"),
            version: field("bios_version"),
            build_date: field("bios_date"),
        },
    }
}

fn complete(first: SystemVendor, second: &SystemVendor) -> SystemVendor {
    let or = |a: Option<String>, b: &Option<String>| a.or_else(|| b.clone());
    SystemVendor {
        product_name: or(first.product_name, &second.product_name),
        serial_number: or(first.serial_number, &second.serial_number),
        manufacturer: or(first.manufacturer, &second.manufacturer),
        firmware: Firmware {
            vendor: or(first.firmware.vendor, &second.firmware.vendor),
            version: or(first.firmware.version, &second.firmware.version),
            build_date: or(first.firmware.build_date, &second.firmware.build_date),
        },
    }
}

/// Makes sense of a table, up to where it stops making sense.
fn parse(table: &[u8]) -> Smbios {
    let mut found = Smbios::default();
    let mut other_arrays = Vec::new();
    let mut modules = Vec::new();
    for structure in Structures(table) {
        match structure.kind {
            BIOS => {
                found.system_vendor.firmware = Firmware {
                    vendor: structure.string(0x04),
                    version: structure.string(0x05),
                    build_date: structure.string(0x08),
                };
            }
            SYSTEM => {
                found.system_vendor.manufacturer = structure.string(0x04);
                found.system_vendor.product_name = structure.string(0x05);
                found.system_vendor.serial_number = structure.string(0x07);
            }
            MEMORY_ARRAY if structure.byte(0x05) != Some(SYSTEM_MEMORY) => {
                other_arrays.push(structure.handle);
            }
            MEMORY_DEVICE => modules.push((structure.word(0x04), structure.module_kib())),
            _ => {}
        }
    }
    // A firmware chip or a cache may have an array of its own, and is not what a workload can use.
    let kib = modules
        .into_iter()
        .filter(|(array, _)| array.is_none_or(|array| !other_arrays.contains(&array)))
        .fold(0_u64, |sum, (_, kib)| sum.saturating_add(kib));
    found.physical_mb = Some(kib / 1024).filter(|&mib| mib > 0);
    found
}

const BIOS: u8 = 0;
const SYSTEM: u8 = 1;
const MEMORY_ARRAY: u8 = 16;
const MEMORY_DEVICE: u8 = 17;
const END_OF_TABLE: u8 = 127;

/// The use of a memory array that holds what the system runs in.
const SYSTEM_MEMORY: u8 = 0x03;

/// A structure: its formatted area, which begins with a header of four bytes, and its strings.
struct Structure<'a> {
    kind: u8,
    handle: u16,
    formatted: &'a [u8],
    strings: &'a [u8],
}

impl Structure<'_> {
    fn byte(&self, offset: usize) -> Option<u8> {
        self.formatted.get(offset).copied()
    }

    fn word(&self, offset: usize) -> Option<u16> {
        self.formatted.get(offset..)?.first_chunk().map(|bytes| u16::from_le_bytes(*bytes))
    }

    fn double_word(&self, offset: usize) -> Option<u32> {
        self.formatted.get(offset..)?.first_chunk().map(|bytes| u32::from_le_bytes(*bytes))
    }

    /// The string whose number stands at `offset`. Numbers begin at 1; 0 is none.
    fn string(&self, offset: usize) -> Option<String> {
        let index = usize::from(self.byte(offset)?).checked_sub(1)?;
        sysfs::clean(self.strings.split(|&byte| byte == 0).nth(index)?)
    }

    /// The size of a memory device in KiB; 0 where its slot is empty or the firmware does not know.
    fn module_kib(&self) -> u64 {
        const UNKNOWN: u16 = 0xffff;
        const EXTENDED: u16 = 0x7fff;
        const IN_KIB: u16 = 0x8000;
        match self.word(0x0c) {
            None | Some(UNKNOWN) => 0,
            Some(EXTENDED) => {
                self.double_word(0x1c).map_or(0, |mib| u64::from(mib & 0x7fff_ffff).saturating_mul(1024))
            }
            Some(size) if size & IN_KIB != 0 => u64::from(size & !IN_KIB),
            Some(mib) => u64::from(mib).saturating_mul(1024),
        }
    }
}

/// The structures of a table, up to its end or to the first that cannot be.
struct Structures<'a>(&'a [u8]);

impl<'a> Iterator for Structures<'a> {
    type Item = Structure<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        let &[kind, length, low, high] = self.0.first_chunk()?;
        let length = usize::from(length);
        if kind == END_OF_TABLE || length < 4 {
            return None;
        }
        let (formatted, rest) = self.0.split_at_checked(length)?;
        // The strings end with an empty one; a structure without any has two zeros.
        let end = rest.windows(2).position(|pair| pair == [0, 0])?;
        let (strings, rest) = rest.split_at(end);
        self.0 = &rest[2..];
        Some(Structure { kind, handle: u16::from_le_bytes([low, high]), formatted, strings })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use proptest::prelude::*;

    use super::*;

    /// A structure with the given body after its header.
    fn structure(kind: u8, handle: u16, body: &[u8], strings: &[&str]) -> Vec<u8> {
        let mut bytes = vec![kind, u8::try_from(body.len() + 4).unwrap()];
        bytes.extend(handle.to_le_bytes());
        bytes.extend(body);
        if strings.is_empty() {
            bytes.push(0);
        }
        for string in strings {
            bytes.extend(string.as_bytes());
            bytes.push(0);
        }
        bytes.push(0);
        bytes
    }

    /// A memory device of an array, with the two fields of its size.
    fn module(array: u16, size: u16, extended: u32) -> Vec<u8> {
        let mut body = vec![0; 0x54];
        body[0..2].copy_from_slice(&array.to_le_bytes());
        body[8..10].copy_from_slice(&size.to_le_bytes());
        body[0x18..0x1c].copy_from_slice(&extended.to_le_bytes());
        structure(MEMORY_DEVICE, 0x1100, &body, &["DIMM 1"])
    }

    fn array(handle: u16, purpose: u8) -> Vec<u8> {
        structure(MEMORY_ARRAY, handle, &[3, purpose, 6, 0, 0, 0, 0, 0xfe, 0xff, 4, 0], &[])
    }

    fn physical_mb(structures: &[Vec<u8>]) -> Option<u64> {
        parse(&structures.concat()).physical_mb
    }

    #[test]
    fn names_the_maker_and_the_firmware() {
        let table = [
            structure(BIOS, 0, &[1, 2, 0, 0xe0, 3], &["Dell Inc.", " 2.19.1 ", "06/04/2023"]),
            structure(SYSTEM, 1, &[1, 2, 0, 3], &["Dell Inc.", "PowerEdge R640", "7XK2JQ3"]),
            structure(END_OF_TABLE, 2, &[], &[]),
            structure(SYSTEM, 3, &[1, 1, 0, 1], &["after the end"]),
        ]
        .concat();
        let expected = SystemVendor {
            product_name: Some("PowerEdge R640".to_owned()),
            serial_number: Some("7XK2JQ3".to_owned()),
            manufacturer: Some("Dell Inc.".to_owned()),
            firmware: Firmware {
                vendor: Some("Dell Inc.".to_owned()),
                version: Some("2.19.1".to_owned()),
                build_date: Some("06/04/2023".to_owned()),
            },
        };
        assert_eq!(parse(&table), Smbios { system_vendor: expected, physical_mb: None });
    }

    #[test]
    fn a_string_that_is_not_there_is_none() {
        let found = parse(&structure(SYSTEM, 1, &[0, 9, 0, 1], &["  "])).system_vendor;
        assert_eq!(found, SystemVendor::default());
        // Too short to have a serial number.
        let found = parse(&structure(SYSTEM, 1, &[1], &["QEMU"])).system_vendor;
        assert_eq!(found, SystemVendor { manufacturer: Some("QEMU".to_owned()), ..SystemVendor::default() });
    }

    #[test]
    fn adds_the_modules_of_system_memory_in_every_unit() {
        let table = [
            array(0x1000, SYSTEM_MEMORY),
            module(0x1000, 16384, 0),
            module(0x1000, 0x7fff, 65536),
            module(0x1000, 0x8000 | 2048, 0),
            module(0x1000, 0, 0),
            module(0x1000, 0xffff, 0),
        ];
        assert_eq!(physical_mb(&table), Some(16384 + 65536 + 2));
    }

    #[test]
    fn leaves_out_what_is_not_system_memory() {
        const FLASH: u8 = 0x05;
        let dimm = module(0x1000, 1024, 0);
        let chip = module(0x1001, 64, 0);
        // An array may stand after its devices.
        let table = [chip, dimm, array(0x1001, FLASH), array(0x1000, SYSTEM_MEMORY)];
        assert_eq!(physical_mb(&table), Some(1024));
        assert_eq!(physical_mb(&[module(7, 512, 0)]), Some(512), "an array that is not there");
        assert_eq!(physical_mb(&[array(0x1000, SYSTEM_MEMORY)]), None);
    }

    #[test]
    fn keeps_what_came_before_a_broken_structure() {
        let good = structure(SYSTEM, 1, &[1, 2, 0, 3], &["a", "b", "c"]);
        let zero_length: &[u8] = &[17, 0, 0, 0, 0, 0];
        let beyond_the_end: &[u8] = &[17, 255, 0, 0, 0, 0];
        let no_end: &[u8] = &[17, 4, 0, 0, b'x'];
        for broken in [zero_length, beyond_the_end, no_end, &[17, 4]] {
            let found = parse(&[&good, broken].concat());
            assert_eq!(found.system_vendor.product_name.as_deref(), Some("b"), "{broken:?}");
        }
    }

    #[test]
    fn the_kernel_s_own_reading_fills_gaps_only() {
        let root = tempfile::tempdir().unwrap();
        for (name, value) in
            [("sys_vendor", "kernel\n"), ("product_name", "\n"), ("bios_date", "01/02/2024\n")]
        {
            fs::write(root.path().join(name), value).unwrap();
        }
        let table = SystemVendor { manufacturer: Some("table".to_owned()), ..SystemVendor::default() };
        let found = complete(table, &from_dmi_id(root.path()));
        assert_eq!(found.manufacturer.as_deref(), Some("table"));
        assert_eq!(found.product_name, None);
        assert_eq!(found.firmware.build_date.as_deref(), Some("01/02/2024"));
        assert_eq!(from_dmi_id(&root.path().join("absent")), SystemVendor::default());
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(table in prop::collection::vec(any::<u8>(), 0..2048)) {
            let _ = parse(&table);
        }

        /// Bytes that look like structures go deeper into the parser than noise does.
        #[test]
        fn any_structures_are_survived(
            structures in prop::collection::vec(
                (prop::sample::select(vec![0_u8, 1, 16, 17, 3]), any::<u16>(),
                 prop::collection::vec(any::<u8>(), 0..40), prop::collection::vec("[ -~]{1,8}", 0..4)),
                0..20),
            cut in any::<prop::sample::Index>(),
        ) {
            let mut table: Vec<u8> = structures.iter().flat_map(|(kind, handle, body, strings)| {
                structure(*kind, *handle, body, &strings.iter().map(String::as_str).collect::<Vec<_>>())
            }).collect();
            prop_assert_eq!(Structures(&table).count(), structures.len());
            table.truncate(cut.index(table.len() + 1));
            let _ = parse(&table);
        }

        #[test]
        fn any_size_in_mib_is_added(sizes in prop::collection::vec(1..0x7fff_u16, 1..16)) {
            let table: Vec<_> = sizes.iter().map(|&mib| module(1, mib, 0)).collect();
            prop_assert_eq!(physical_mb(&table), Some(sizes.iter().copied().map(u64::from).sum()));
        }
    }
}
