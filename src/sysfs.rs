//! Reading the small files of sysfs, each of which says one thing or is not there.

use std::fs;
use std::path::Path;

/// A file as text, if it can be read in the present state of its device and says anything.
pub(crate) fn text(file: &Path) -> Option<String> {
    clean(&fs::read(file).ok()?)
}

/// A file as a number.
pub(crate) fn number(file: &Path) -> Option<u64> {
    text(file)?.parse().ok()
}

/// What a device says of itself: devices fill it up with spaces and zeros.
pub(crate) fn clean(bytes: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(bytes);
    let text = text.trim_matches(|char: char| char.is_whitespace() || char == '\0');
    if text.is_empty() { None } else { Some(text.to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_is_no_text() {
        for (bytes, expected) in [
            (&b" QEMU \0\n"[..], Some("QEMU")),
            (b" \0 \n", None),
            (b"\xff\n", Some("\u{fffd}")),
            (b"", None),
        ] {
            assert_eq!(clean(bytes).as_deref(), expected, "{bytes:?}");
        }
    }

    #[test]
    fn what_is_no_number_or_no_file_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        for (said, expected) in [("4096\n", Some(4096)), ("-1\n", None), ("x", None), ("", None)] {
            fs::write(&file, said).unwrap();
            assert_eq!(number(&file), expected, "{said:?}");
        }
        assert_eq!(text(folder.path()), None);
        assert_eq!(text(&folder.path().join("absent")), None);
    }
}
