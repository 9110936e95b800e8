//! What a node is made of, in the key names of Ironic's inventory.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The inventory. What the machine does not say is absent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Inventory {
    /// Processors.
    pub cpu: Cpu,
    /// Memory.
    pub memory: Memory,
    /// Disks that this agent may touch.
    pub disks: Vec<Disk>,
    /// Network interfaces.
    pub interfaces: Vec<Interface>,
    /// Who made the machine.
    pub system_vendor: SystemVendor,
    /// How it was booted.
    pub boot: Boot,
    /// The hostname.
    pub hostname: String,
}

/// Processors.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Cpu {
    /// The model of the first one.
    pub model_name: Option<String>,
    /// The highest frequency in MHz, as text.
    pub frequency: Option<String>,
    /// How many logical processors there are.
    pub count: u32,
    /// The architecture, as `uname -m` says it.
    pub architecture: String,
    /// The feature flags of the first one.
    pub flags: Vec<String>,
    /// How many sockets there are.
    pub socket_count: Option<u32>,
}

/// Memory.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Memory {
    /// Bytes that the kernel can use.
    pub total: u64,
    /// MiB that are installed, by SMBIOS.
    pub physical_mb: Option<u64>,
}

/// A disk.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Disk {
    /// The path by which it is opened now.
    pub name: String,
    /// Model.
    pub model: Option<String>,
    /// Bytes.
    pub size: u64,
    /// Whether it turns.
    pub rotational: bool,
    /// World Wide Name.
    pub wwn: Option<String>,
    /// Serial number.
    pub serial: Option<String>,
    /// Vendor.
    pub vendor: Option<String>,
    /// World Wide Name with the vendor extension.
    pub wwn_with_extension: Option<String>,
    /// Vendor extension of the World Wide Name.
    pub wwn_vendor_extension: Option<String>,
    /// SCSI address.
    pub hctl: Option<String>,
    /// The link in `/dev/disk/by-path`.
    pub by_path: Option<String>,
    /// Bytes in a logical sector.
    pub logical_sectors: u32,
    /// Bytes in a physical sector.
    pub physical_sectors: u32,
    /// Transport.
    pub tran: Option<String>,
    /// Whether it cannot be written.
    #[serde(default)]
    pub read_only: bool,
}

/// A network interface.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Its permanent address where the driver tells it, else the present one.
    pub mac_address: Option<String>,
    /// The first IPv4 address.
    pub ipv4_address: Option<String>,
    /// The first global IPv6 address.
    pub ipv6_address: Option<String>,
    /// Whether there is a link.
    pub has_carrier: bool,
    /// PCI vendor, in hex.
    pub vendor: Option<String>,
    /// PCI product, in hex.
    pub product: Option<String>,
    /// Speed in Mbit/s.
    pub speed_mbps: Option<u32>,
    /// PCI address.
    pub pci_address: Option<String>,
    /// Driver.
    pub driver: Option<String>,
}

/// Who made the machine, by SMBIOS.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SystemVendor {
    /// Product name.
    pub product_name: Option<String>,
    /// Serial number.
    pub serial_number: Option<String>,
    /// Manufacturer.
    pub manufacturer: Option<String>,
    /// Firmware.
    pub firmware: Firmware,
}

/// Firmware.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Firmware {
    /// Vendor.
    pub vendor: Option<String>,
    /// Version.
    pub version: Option<String>,
    /// Build date.
    pub build_date: Option<String>,
}

/// How the machine was booted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Boot {
    /// `uefi` or `bios`.
    pub current_boot_mode: String,
    /// The address of the interface that booted, from `BOOTIF` on the kernel command line.
    pub pxe_interface: Option<String>,
}
