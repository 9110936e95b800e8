//! How the machine was booted: its firmware mode, and the interface that it was booted from.

use std::path::Path;

use super::{HardwareError, read};
use crate::wire::inventory::Boot;

const CMDLINE: &str = "/proc/cmdline";
const EFI: &str = "/sys/firmware/efi";

/// How this system was booted.
pub(super) fn collect() -> Result<Boot, HardwareError> {
    let cmdline = read(Path::new(CMDLINE), "how the kernel was started")?;
    let mode = if Path::new(EFI).exists() { "uefi" } else { "bios" };
    Ok(Boot { current_boot_mode: mode.to_owned(), pxe_interface: bootif(&cmdline) })
}

/// The hardware address in `BOOTIF`, in lower case with colons. PXELINUX and iPXE put the hardware type of ARP before it
/// (`01-` is Ethernet); a value that is not such an address is none.
fn bootif(cmdline: &str) -> Option<String> {
    let value = cmdline.split_ascii_whitespace().find_map(|word| word.strip_prefix("BOOTIF="))?;
    let octets: Vec<_> = value.split(['-', ':']).collect();
    let is_octet = |text: &&str| text.len() == 2 && text.bytes().all(|b| b.is_ascii_hexdigit());
    let address = match octets.as_slice() {
        [_hardware_type, address @ ..] if address.len() == 6 => address,
        address if address.len() == 6 => address,
        _ => return None,
    };
    octets.iter().all(is_octet).then(|| address.join(":").to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn bootif_is_an_address_with_colons() {
        let expected = Some("52:54:00:ab:cd:ef".to_owned());
        assert_eq!(bootif("quiet BOOTIF=01-52-54-00-AB-CD-EF ro\n"), expected);
        assert_eq!(bootif("BOOTIF=52:54:00:ab:cd:ef"), expected);
    }

    #[test]
    fn what_is_no_address_is_none() {
        for cmdline in [
            "",
            "quiet",
            "BOOTIF=",
            "BOOTIF=eth0",
            "BOOTIF=01-52-54-00-ab",
            "BOOTIF=01-52-54-00-ab-cd-eg",
            "XBOOTIF=01-52-54-00-ab-cd-ef",
            "BOOTIF=00-01-52-54-00-ab-cd-ef",
        ] {
            assert_eq!(bootif(cmdline), None, "{cmdline:?}");
        }
    }

    #[test]
    fn this_system_was_booted() {
        let boot = collect().unwrap();
        assert!(["uefi", "bios"].contains(&boot.current_boot_mode.as_str()), "{boot:?}");
    }

    proptest! {
        #[test]
        fn any_address_is_read(address in prop::array::uniform6(any::<u8>())) {
            let octets = address.map(|octet| format!("{octet:02x}"));
            let cmdline = format!("a=b BOOTIF=01-{} c", octets.join("-"));
            prop_assert_eq!(bootif(&cmdline), Some(octets.join(":")));
        }

        #[test]
        fn any_text_is_survived(text in "(BOOTIF=)?\\PC*") {
            let _ = bootif(&text);
        }
    }
}
