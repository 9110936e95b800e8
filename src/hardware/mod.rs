//! What the machine is made of.
//!
//! Each source of facts is a file: its collector reads what the kernel shows, and a pure part makes sense of it. What a
//! machine does not say is absent from the inventory and never a failure.

mod boot;
mod cpu;
mod error;
mod memory;
mod smbios;

use std::path::Path;

pub use error::HardwareError;

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

/// A file that may not be there, or may not be read in the present state of a device. Without blanks around it.
fn read_optional(path: &Path) -> Option<String> {
    let bytes = std::fs::read(path).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    let text = text.trim_matches(|c: char| c.is_whitespace() || c == '\0');
    (!text.is_empty()).then(|| text.to_owned())
}
