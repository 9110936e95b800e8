//! Network interfaces, from sysfs, their drivers and the kernel's list of addresses.

use std::collections::BTreeMap;
use std::fs;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::Path;

use nix::ifaddrs::getifaddrs;

use super::HardwareError;
use crate::wire::inventory::Interface;
use crate::{ioctl, sysfs};

const INTERFACES: &str = "/sys/class/net";

/// The interfaces that are cards, VLANs or bonds, in the order of their names.
pub(super) fn collect() -> Result<Vec<Interface>, HardwareError> {
    let addresses = addresses()?;
    let interfaces = read_all(Path::new(INTERFACES), &addresses, |name| {
        ioctl::permanent_mac(name).ok().map(|mac| mac.map(|octet| format!("{octet:02x}")).join(":"))
    })?;
    let (copies, unique): (Vec<_>, Vec<_>) = interfaces.into_iter().partition(is_same_on_many_machines);
    for copy in copies {
        tracing::warn!(
            interface = copy.name,
            mac = copy.mac_address,
            "interface left out of the inventory: other machines have this address too"
        );
    }
    Ok(unique)
}

/// The first addresses of an interface by which others can reach it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Addresses {
    v4: Option<Ipv4Addr>,
    v6: Option<Ipv6Addr>,
}

impl Addresses {
    fn add(&mut self, v4: Option<Ipv4Addr>, v6: Option<Ipv6Addr>) {
        self.v4 = self.v4.or(v4);
        self.v6 = self.v6.or_else(|| v6.filter(|ip| !ip.is_loopback() && !ip.is_unicast_link_local()));
    }
}

/// Those of every interface, by its name.
fn addresses() -> Result<BTreeMap<String, Addresses>, HardwareError> {
    let mut found = BTreeMap::<_, Addresses>::new();
    for entry in getifaddrs().map_err(HardwareError::Addresses)? {
        let Some(address) = entry.address else { continue };
        found.entry(entry.interface_name).or_default().add(
            address.as_sockaddr_in().map(|address| address.ip()),
            address.as_sockaddr_in6().map(|address| address.ip()),
        );
    }
    Ok(found)
}

fn read_all(
    folder: &Path,
    addresses: &BTreeMap<String, Addresses>,
    permanent_mac: impl Fn(&str) -> Option<String>,
) -> Result<Vec<Interface>, HardwareError> {
    let unreadable =
        |source| HardwareError::Read { path: folder.to_owned(), what: "which interfaces there are", source };
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        // An interface's name is any bytes; one that is not text can be named to nobody.
        let Ok(name) = entry.file_name().into_string() else { continue };
        let path = entry.path();
        if is_wanted(&path) {
            found.push(read_one(
                &path,
                addresses.get(&name).copied().unwrap_or_default(),
                &permanent_mac,
                name,
            ));
        }
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

/// Behind a card is a device; VLANs and bonds lead to cards. Loopback, bridges, tunnels and the like are only in this system.
fn is_wanted(interface: &Path) -> bool {
    interface.join("device").exists()
        || sysfs::text(&interface.join("uevent"))
            .is_some_and(|uevent| uevent.lines().any(|line| matches!(line, "DEVTYPE=vlan" | "DEVTYPE=bond")))
}

fn read_one(
    path: &Path,
    addresses: Addresses,
    permanent_mac: impl Fn(&str) -> Option<String>,
    name: String,
) -> Interface {
    let file = |name: &str| sysfs::text(&path.join(name));
    Interface {
        mac_address: permanent_mac(&name).or_else(|| file("address")),
        ipv4_address: addresses.v4.map(|ip| ip.to_string()),
        ipv6_address: addresses.v6.map(|ip| ip.to_string()),
        has_carrier: file("carrier").as_deref() == Some("1"),
        vendor: file("device/vendor"),
        product: file("device/device"),
        // Without a link the kernel says -1, 4294967295 or nothing, by driver and version.
        speed_mbps: file("speed")
            .and_then(|speed| speed.parse().ok())
            .filter(|&speed| speed != 0 && speed != u32::MAX),
        pci_address: pci_address(&path.join("device")),
        driver: fs::read_link(path.join("device/driver"))
            .ok()
            .and_then(|driver| Some(driver.file_name()?.to_string_lossy().into_owned())),
        name,
    }
}

/// The address of the function that the device is or hangs below, as with virtio or USB.
fn pci_address(device: &Path) -> Option<String> {
    let device = device.canonicalize().ok()?;
    device.iter().rev().filter_map(|part| part.to_str()).find(|part| is_pci_address(part)).map(str::to_owned)
}

/// `0000:3b:00.1`: domain (longer behind some bridges), bus, device and function.
fn is_pci_address(text: &str) -> bool {
    let Some((rest, function)) = text.split_once('.') else { return false };
    let parts: Vec<_> = rest.split(':').collect();
    let [domain, bus, device] = parts.as_slice() else { return false };
    let is_hex = |text: &str| text.bytes().all(|b| b.is_ascii_hexdigit());
    (4..=8).contains(&domain.len())
        && bus.len() == 2
        && device.len() == 2
        && parts.iter().all(|part| is_hex(part))
        && matches!(function.as_bytes(), [b'0'..=b'7'])
}

/// Machines of HPE's Gen12 have a port inside whose address begins with `fa:` and is the same on many of them, so that Ironic leaves
/// such ports out. Ports that OpenStack makes for virtual machines begin with `fa:16:3e` and are unique.
fn is_same_on_many_machines(interface: &Interface) -> bool {
    interface
        .mac_address
        .as_deref()
        .is_some_and(|mac| mac.starts_with("fa:") && !mac.starts_with("fa:16:3e:"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::path::PathBuf;

    use proptest::prelude::*;

    use super::*;

    /// A sysfs of its own, with interfaces as the kernel lays them out.
    struct Sysfs(tempfile::TempDir);

    impl Sysfs {
        fn new() -> Self {
            let root = tempfile::tempdir().unwrap();
            fs::create_dir(root.path().join("net")).unwrap();
            Self(root)
        }

        fn folder(&self) -> PathBuf {
            self.0.path().join("net")
        }

        fn interface(&self, name: &str, files: &[(&str, &str)], device: Option<&str>) {
            let folder = self.folder().join(name);
            fs::create_dir(&folder).unwrap();
            if let Some(device) = device {
                let device = self.0.path().join(device);
                fs::create_dir_all(&device).unwrap();
                symlink(device, folder.join("device")).unwrap();
            }
            for (file, text) in files {
                fs::write(folder.join(file), text).unwrap();
            }
        }

        fn read(&self) -> Vec<Interface> {
            read_all(&self.folder(), &BTreeMap::new(), |_| None).unwrap()
        }
    }

    #[test]
    fn a_card_is_told_in_full() {
        let sysfs = Sysfs::new();
        sysfs.interface(
            "eno1",
            &[
                ("address", "3c:fd:fe:00:00:99\n"),
                ("carrier", "1\n"),
                ("speed", "25000\n"),
                ("device/vendor", "0x8086\n"),
                ("device/device", "0x158b\n"),
            ],
            Some("devices/pci0000:3a/0000:3b:00.1"),
        );
        symlink("../../../bus/pci/drivers/i40e", sysfs.folder().join("eno1/device/driver")).unwrap();
        let addresses = Addresses {
            v4: Some(Ipv4Addr::new(192, 0, 2, 7)),
            v6: Some(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 7)),
        };
        let found = read_all(&sysfs.folder(), &BTreeMap::from([("eno1".to_owned(), addresses)]), |name| {
            (name == "eno1").then(|| "3c:fd:fe:00:00:01".to_owned())
        });
        let expected = Interface {
            name: "eno1".to_owned(),
            mac_address: Some("3c:fd:fe:00:00:01".to_owned()),
            ipv4_address: Some("192.0.2.7".to_owned()),
            ipv6_address: Some("2001:db8::7".to_owned()),
            has_carrier: true,
            vendor: Some("0x8086".to_owned()),
            product: Some("0x158b".to_owned()),
            speed_mbps: Some(25000),
            pci_address: Some("0000:3b:00.1".to_owned()),
            driver: Some("i40e".to_owned()),
        };
        assert_eq!(found.unwrap(), [expected]);
    }

    #[test]
    fn cards_vlans_and_bonds_alone_are_listed_by_name() {
        let sysfs = Sysfs::new();
        sysfs.interface("lo", &[("uevent", "INTERFACE=lo\nIFINDEX=1\n")], None);
        sysfs.interface("veth0", &[("uevent", "INTERFACE=veth0\nIFINDEX=7\n")], None);
        sysfs.interface("br0", &[("uevent", "DEVTYPE=bridge\nINTERFACE=br0\n")], None);
        sysfs.interface("eth0.12", &[("uevent", "DEVTYPE=vlan\nINTERFACE=eth0.12\n")], None);
        sysfs.interface("eth0", &[], Some("devices/pci0000:00/0000:00:03.0/virtio2"));
        sysfs.interface("bond0", &[("uevent", "DEVTYPE=bond\nINTERFACE=bond0\n")], None);
        // The kernel keeps a file beside the folders of interfaces when bonding is loaded.
        fs::write(sysfs.folder().join("bonding_masters"), "bond0\n").unwrap();
        let found = sysfs.read();
        let names: Vec<_> = found.iter().map(|interface| interface.name.as_str()).collect();
        assert_eq!(names, ["bond0", "eth0", "eth0.12"]);
        assert_eq!(found[1].pci_address.as_deref(), Some("0000:00:03.0"), "virtio hangs below PCI");
    }

    #[test]
    fn no_link_has_no_speed() {
        for speed in ["-1", "4294967295", "0", ""] {
            let sysfs = Sysfs::new();
            let files = [("speed", speed), ("carrier", "0"), ("address", "52:54:00:00:00:01")];
            sysfs.interface("eth0", &files, Some("devices/platform/ethernet"));
            let [found] = <[_; 1]>::try_from(sysfs.read()).unwrap();
            assert_eq!(
                (found.speed_mbps, found.has_carrier, found.pci_address),
                (None, false, None),
                "{speed}"
            );
            assert_eq!(found.mac_address.as_deref(), Some("52:54:00:00:00:01"), "the present address");
        }
    }

    #[test]
    fn nothing_wanted_is_an_empty_list_and_no_sysfs_an_error() {
        assert_eq!(Sysfs::new().read(), []);
        let error = read_all(Path::new("/absent"), &BTreeMap::new(), |_| None).unwrap_err();
        assert_eq!(
            error.to_string(),
            "cannot read /absent, which says which interfaces there are; are /proc and /sys mounted?"
        );
    }

    #[test]
    fn addresses_that_others_cannot_reach_are_passed_over() {
        let mut found = Addresses::default();
        let global = "2001:db8::1".parse().unwrap();
        for v6 in ["fe80::1", "::1", "2001:db8::1", "2001:db8::2"] {
            found.add(None, Some(v6.parse().unwrap()));
        }
        found.add(Some(Ipv4Addr::new(192, 0, 2, 1)), None);
        found.add(Some(Ipv4Addr::new(192, 0, 2, 2)), None);
        assert_eq!(found, Addresses { v4: Some(Ipv4Addr::new(192, 0, 2, 1)), v6: Some(global) });
    }

    #[test]
    fn addresses_that_many_machines_have_are_known() {
        let with = |mac: &str| Interface { mac_address: Some(mac.to_owned()), ..Interface::default() };
        assert!(is_same_on_many_machines(&with("fa:00:00:00:00:01")));
        assert!(!is_same_on_many_machines(&with("fa:16:3e:00:00:01")));
        assert!(!is_same_on_many_machines(&with("52:54:00:00:00:01")));
        assert!(!is_same_on_many_machines(&Interface::default()));
    }

    #[test]
    fn this_machine_has_a_loopback_that_is_not_listed() {
        assert_eq!(addresses().unwrap()["lo"].v4, Some(Ipv4Addr::LOCALHOST));
        assert!(collect().unwrap().iter().all(|interface| interface.name != "lo"));
    }

    proptest! {
        #[test]
        fn every_pci_address_is_known(domain: u16, bus: u8, device in 0..32_u8, function in 0..8_u8) {
            let address = format!("{domain:04x}:{bus:02x}:{device:02x}.{function}");
            prop_assert!(is_pci_address(&address));
            prop_assert!(!is_pci_address(&address[1..]));
            let bus = format!("pci{domain:04x}:{bus:02x}");
            prop_assert!(!is_pci_address(&bus));
        }
    }
}
