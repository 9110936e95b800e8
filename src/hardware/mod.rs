//! What the machine is made of.
//!
//! Each source of facts is a file: its collector reads what the kernel shows, and a pure part makes sense of it. What a
//! machine does not say is absent from the inventory and never a failure.

mod boot;
mod cpu;
mod error;
mod interfaces;
mod memory;
mod smbios;

use std::path::Path;

pub use error::HardwareError;

use crate::disk::Access;
use crate::wire::inventory::{Inventory, Memory};

/// What this machine is made of, with those of its disks that may be touched. Blocks.
///
/// # Errors
/// When the kernel does not say what every Linux says, and when a lab disk is not there.
pub fn inventory(access: &Access) -> Result<Inventory, HardwareError> {
    let smbios = smbios::collect();
    Ok(Inventory {
        cpu: cpu::collect()?,
        memory: Memory { total: memory::usable()?, physical_mb: smbios.physical_mb },
        disks: access.disks()?.iter().map(|disk| disk.facts().clone()).collect(),
        interfaces: interfaces::collect()?,
        system_vendor: smbios.system_vendor,
        boot: boot::collect()?,
        hostname: hostname(),
    })
}

/// The name of this machine, as the kernel has it.
#[must_use]
pub fn hostname() -> String {
    // The call fails only where the name is longer than the kernel lets it be.
    nix::unistd::gethostname()
        .map_or_else(|_| "localhost".to_owned(), |name| name.to_string_lossy().into_owned())
}

/// A file that every Linux has.
fn read(path: &Path, what: &'static str) -> Result<String, HardwareError> {
    std::fs::read_to_string(path).map_err(|source| HardwareError::Read {
        path: path.to_owned(),
        what,
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Coded as _, ErrorCode};

    #[test]
    fn the_inventory_lists_no_disk_that_was_not_given() {
        let access = Access::detect(Vec::new()).unwrap();
        assert!(!access.is_ramdisk(), "the tests do not run in a RAM disk of Farrier's");
        let inventory = inventory(&access).unwrap();
        assert_eq!(inventory.disks, []);
        assert!(inventory.memory.total > 0 && inventory.cpu.count > 0, "{inventory:?}");
        assert_eq!(inventory.hostname, hostname());
    }

    #[test]
    fn what_every_linux_has_is_named_when_it_is_missing() {
        let error = read(Path::new("/absent"), "a thing").unwrap_err();
        assert_eq!(error.code(), ErrorCode::Hardware);
        assert_eq!(
            error.report().message,
            "cannot read /absent, which says a thing; are /proc and /sys mounted?: No such file or directory (os error 2)"
        );
    }
}
