//! Memory that the kernel can use, from `/proc/meminfo`. What is installed comes from SMBIOS.

use std::path::Path;

use super::{HardwareError, read};

const MEMINFO: &str = "/proc/meminfo";

/// Bytes that the kernel can use.
pub(super) fn usable() -> Result<u64, HardwareError> {
    let path = Path::new(MEMINFO);
    let text = read(path, "how much memory there is")?;
    total(&text).ok_or_else(|| HardwareError::Malformed {
        path: path.to_owned(),
        what: "how much memory there is",
        expected: "a line `MemTotal: <number> kB`",
        found: text
            .lines()
            .find(|line| line.starts_with("MemTotal"))
            .map_or_else(|| "none".to_owned(), |line| format!("`{line}`")),
    })
}

/// `MemTotal` in bytes. The kernel writes `kB` and means KiB.
fn total(meminfo: &str) -> Option<u64> {
    let value = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    value.trim().strip_suffix("kB")?.trim_end().parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn total_is_in_bytes() {
        assert_eq!(total("MemTotal:       24683656 kB\nMemFree: 1 kB\n"), Some(24_683_656 * 1024));
    }

    #[test]
    fn what_is_not_a_total_is_none() {
        for text in ["", "MemFree: 1 kB\n", "MemTotal: 1\n", "MemTotal: x kB\n", "MemTotal: 1 MB\n"] {
            assert_eq!(total(text), None, "{text:?}");
        }
        assert_eq!(total(&format!("MemTotal: {} kB\n", u64::MAX)), None);
    }

    #[test]
    fn this_machine_has_memory() {
        assert!(usable().unwrap() > 0);
    }

    proptest! {
        #[test]
        fn any_total_is_read(kib in 0..u64::MAX / 1024) {
            prop_assert_eq!(total(&format!("MemTotal: {kib} kB\n")), Some(kib * 1024));
        }

        #[test]
        fn any_text_is_survived(text in "(MemTotal:)?\\PC*") {
            let _ = total(&text);
        }
    }
}
