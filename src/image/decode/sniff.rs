//! Tells image formats apart by content, and from everything else that images are shipped in, whatever was declared.

use std::fmt;

use crate::image::ImageError;
use crate::wire::{ImageFormat, ImageUrl};

/// A container that image writers must not take for the bytes of a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Container {
    name: &'static str,
    offset: usize,
    magic: &'static [u8],
}

impl fmt::Display for Container {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// Formats that are taken, by their magics, from the specification of each. All of them lie at the beginning.
const TAKEN: &[(ImageFormat, &[u8])] = &[
    (ImageFormat::Qcow2, b"QFI\xfb\0\0\0\x02"),
    (ImageFormat::Qcow2, b"QFI\xfb\0\0\0\x03"),
    (ImageFormat::Gzip, b"\x1f\x8b"),
    (ImageFormat::Xz, b"\xfd7zXZ\0"),
    (ImageFormat::Zstd, b"\x28\xb5\x2f\xfd"),
    (ImageFormat::Bzip2, b"BZh"),
    (ImageFormat::Lz4, b"\x04\x22\x4d\x18"),
];

/// Formats that are not taken, and named.
const CONTAINERS: &[Container] = &[
    container("a QCOW image of version 1, or of one after 3", 0, b"QFI\xfb"),
    container("a VMDK image", 0, b"KDMV"),
    container("a VMDK image (version 3)", 0, b"COWD"),
    container("a VMDK descriptor", 0, b"# Disk DescriptorFile"),
    container("a VHD image", 0, b"conectix"),
    container("a VHDX image", 0, b"vhdxfile"),
    container("a VDI image", 64, b"\x7f\x10\xda\xbe"),
    container("a QED image", 0, b"QED\0"),
    container("a Parallels image", 0, b"WithoutFreeSpace"),
    container("a Parallels image (extended)", 0, b"WithouFreSpacExt"),
    container("a LUKS volume", 0, b"LUKS\xba\xbe"),
    container("an ISO 9660 image", 0x8001, b"CD001"),
    container("an Android sparse image", 0, b"\x3a\xff\x26\xed"),
    container("a WIM image", 0, b"MSWIM\0\0\0"),
    container("a SquashFS image", 0, b"hsqs"),
    container("compressed with lz4 in its legacy format", 0, b"\x02\x21\x4c\x18"),
    container("compressed with lzma", 0, b"\x5d\0\0"),
    container("compressed with lzip", 0, b"LZIP"),
    container("compressed with compress", 0, b"\x1f\x9d"),
    container("a 7-Zip archive", 0, b"7z\xbc\xaf\x27\x1c"),
    container("a ZIP archive", 0, b"PK\x03\x04"),
    container("a tar archive", 257, b"ustar"),
];

const fn container(name: &'static str, offset: usize, magic: &'static [u8]) -> Container {
    Container::new(name, offset, magic)
}

impl Container {
    pub(super) const fn new(name: &'static str, offset: usize, magic: &'static [u8]) -> Self {
        Self { name, offset, magic }
    }

    pub(super) fn is_in(&self, bytes: &[u8]) -> bool {
        has(bytes, self.offset, self.magic)
    }
}

/// Where a GPT header lies on disks of 512 and of 4096 byte sectors.
const GPT_OFFSETS: [usize; 2] = [512, 4096];

/// What images come in, taken or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImageKind {
    /// A format that is taken.
    Taken(ImageFormat),
    /// One that is not.
    Refused(Container),
}

impl fmt::Display for ImageKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Taken(format) => format.fmt(f),
            Self::Refused(container) => container.fmt(f),
        }
    }
}

/// The format of an image, by its first MiB or the whole of a smaller one.
///
/// What looks like a disk and like a container is the container: another reader may take it for that, and a disk that begins so is
/// none that anybody makes.
///
/// # Errors
/// [`ImageError::Format`] for a known container, [`ImageError::NotBootable`] for anything else that is no disk.
pub(in crate::image) fn detect(url: &ImageUrl, head: &[u8]) -> Result<ImageFormat, ImageError> {
    match kind_of(head) {
        Some(ImageKind::Taken(format)) => Ok(format),
        Some(ImageKind::Refused(container)) => {
            Err(ImageError::Format { url: Box::new(url.clone()), container })
        }
        None => Err(not_bootable(url, None, head)),
    }
}

fn kind_of(head: &[u8]) -> Option<ImageKind> {
    if let Some((format, _)) = TAKEN.iter().find(|(_, magic)| head.starts_with(magic)) {
        return Some(ImageKind::Taken(*format));
    }
    if let Some(format) = behind_skippable_frames(head) {
        return Some(ImageKind::Taken(format));
    }
    if let Some(container) = CONTAINERS.iter().find(|known| known.is_in(head)) {
        return Some(ImageKind::Refused(*container));
    }
    let is_disk = has(head, 510, b"\x55\xaa") || GPT_OFFSETS.iter().any(|at| has(head, *at, b"EFI PART"));
    is_disk.then_some(ImageKind::Taken(ImageFormat::Raw))
}

/// What follows frames that hold nothing of the image, of which zstd (RFC 8878, 3.1.2) and lz4 have the same: `pzstd` begins with one.
fn behind_skippable_frames(head: &[u8]) -> Option<ImageFormat> {
    let mut rest = head;
    let mut skipped = false;
    while let [0x50..=0x5f, 0x2a, 0x4d, 0x18, a, b, c, d, frame @ ..] = rest {
        let length = usize::try_from(u32::from_le_bytes([*a, *b, *c, *d])).ok()?;
        rest = frame.get(length..)?;
        skipped = true;
    }
    let followed_by = |format| TAKEN.iter().any(|(known, magic)| *known == format && rest.starts_with(magic));
    [ImageFormat::Zstd, ImageFormat::Lz4].into_iter().find(|format| skipped && followed_by(*format))
}

fn not_bootable(url: &ImageUrl, within: Option<ImageFormat>, head: &[u8]) -> ImageError {
    let begins_with = match head {
        [] => "nothing at all".to_owned(),
        _ => format!("\"{}\"", head[..head.len().min(16)].escape_ascii()),
    };
    ImageError::NotBootable { url: Box::new(url.clone()), within, begins_with }
}

/// Takes only the format that was declared, and one of those that are allowed.
///
/// # Errors
/// [`ImageError::OtherFormat`], [`ImageError::FormatNotAllowed`].
pub(in crate::image) fn require(
    url: &ImageUrl,
    found: ImageFormat,
    declared: Option<ImageFormat>,
    allowed: &[ImageFormat],
) -> Result<(), ImageError> {
    match declared {
        Some(declared) if declared != found => {
            Err(ImageError::OtherFormat { url: Box::new(url.clone()), found, declared })
        }
        _ if !allowed.contains(&found) => {
            Err(ImageError::FormatNotAllowed { url: Box::new(url.clone()), found, allowed: allowed.to_vec() })
        }
        _ => Ok(()),
    }
}

/// Takes only a raw image in a compressed one. `head` is its first MiB or the whole of a smaller one.
///
/// # Errors
/// [`ImageError::Within`], [`ImageError::NotBootable`].
pub(in crate::image) fn require_raw_within(
    url: &ImageUrl,
    format: ImageFormat,
    head: &[u8],
) -> Result<(), ImageError> {
    match kind_of(head) {
        Some(ImageKind::Taken(ImageFormat::Raw)) => Ok(()),
        Some(found) => Err(ImageError::Within { url: Box::new(url.clone()), format, found }),
        None => Err(not_bootable(url, Some(format), head)),
    }
}

/// A container was found within a compressed image.
pub(super) fn within(url: &ImageUrl, format: ImageFormat, container: Container) -> ImageError {
    ImageError::Within { url: Box::new(url.clone()), format, found: ImageKind::Refused(container) }
}

fn has(head: &[u8], offset: usize, magic: &[u8]) -> bool {
    head.get(offset..).is_some_and(|rest| rest.starts_with(magic))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Coded as _, ErrorCode};

    fn url() -> ImageUrl {
        "http://h/image".parse().unwrap()
    }

    fn judge(head: &[u8]) -> Result<ImageFormat, ImageError> {
        detect(&url(), head)
    }

    fn disk() -> Vec<u8> {
        let mut head = vec![0; 1 << 20];
        head[510..512].copy_from_slice(b"\x55\xaa");
        head
    }

    #[test]
    fn knows_disks() {
        assert_eq!(judge(&disk()).unwrap(), ImageFormat::Raw);
        for at in GPT_OFFSETS {
            let mut head = vec![0; 1 << 20];
            head[at..at + 8].copy_from_slice(b"EFI PART");
            assert_eq!(judge(&head).unwrap(), ImageFormat::Raw);
        }
    }

    #[test]
    fn knows_what_is_taken_even_if_it_looks_like_a_disk_too() {
        for (format, magic) in TAKEN {
            let mut head = disk();
            head[..magic.len()].copy_from_slice(magic);
            assert_eq!(judge(&head).unwrap(), *format);
            assert_eq!(judge(magic).unwrap(), *format);
        }
    }

    #[test]
    fn refuses_every_other_container_even_one_that_looks_like_a_disk_too() {
        for container in CONTAINERS {
            let mut head = disk();
            let end = container.offset + container.magic.len();
            head[container.offset..end].copy_from_slice(container.magic);
            let error = judge(&head).unwrap_err();
            assert_eq!(error.code(), ErrorCode::ImageFormat);
            assert!(error.to_string().contains(container.name), "{error}");
            // The magic alone, and cut short, must not be read past its end.
            assert_eq!(judge(&head[..end]).unwrap_err().code(), ErrorCode::ImageFormat);
            let _ = judge(&head[..end - 1]);
        }
    }

    #[test]
    fn refuses_what_is_no_disk_and_says_how_it_begins() {
        let error = judge(b"<html>not found</html>").unwrap_err();
        assert_eq!(error.code(), ErrorCode::ImageNotBootable);
        assert!(error.to_string().contains("\"<html>not found<\""), "{error}");
        assert!(judge(b"").unwrap_err().to_string().contains("nothing at all"));
    }

    #[test]
    fn what_was_declared_must_be_found_and_what_is_found_must_be_allowed() {
        let all = ImageFormat::ALL;
        assert!(require(&url(), ImageFormat::Raw, Some(ImageFormat::Raw), all).is_ok());
        assert!(require(&url(), ImageFormat::Zstd, None, all).is_ok());
        let error = require(&url(), ImageFormat::Qcow2, Some(ImageFormat::Raw), all).unwrap_err().to_string();
        assert!(error.contains("qcow2") && error.contains("raw"), "{error}");
        let error = require(&url(), ImageFormat::Qcow2, None, &[ImageFormat::Raw]).unwrap_err();
        assert_eq!(error.code(), ErrorCode::ImageFormat);
        assert!(error.to_string().contains("image.formats"), "{error}");
    }

    #[test]
    fn frames_that_hold_nothing_may_come_first() {
        let skippable = |length: u32| {
            let content = vec![7; usize::try_from(length).unwrap()];
            [&b"\x5a\x2a\x4d\x18"[..], &length.to_le_bytes(), &content].concat()
        };
        for (behind, expected) in [
            (&b"\x28\xb5\x2f\xfd"[..], Some(ImageFormat::Zstd)),
            (b"\x04\x22\x4d\x18", Some(ImageFormat::Lz4)),
            (b"\x1f\x8b", None),
            (b"", None),
        ] {
            for before in [skippable(4), skippable(0), [skippable(1), skippable(70)].concat()] {
                assert_eq!(judge(&[&before, behind].concat()).ok(), expected, "{behind:?}");
            }
        }
        // One that is longer than what is seen of the image.
        assert!(judge(b"\x50\x2a\x4d\x18\xff\xff\xff\xff\x28\xb5\x2f\xfd").is_err());
    }

    #[test]
    fn what_is_within_a_compressed_image_is_named_as_that() {
        for (head, part) in [
            (&b"QFI\xfb\0\0\0\x03"[..], "qcow2 within gzip"),
            (b"\xfd7zXZ\0", "xz within gzip"),
            (b"KDMV", "a VMDK image within gzip"),
        ] {
            let error = require_raw_within(&url(), ImageFormat::Gzip, head).unwrap_err();
            assert_eq!(error.code(), ErrorCode::ImageFormat);
            assert!(error.to_string().contains(part), "{error}");
        }
        let error = require_raw_within(&url(), ImageFormat::Gzip, b"text").unwrap_err();
        assert_eq!(error.code(), ErrorCode::ImageNotBootable);
        assert!(error.to_string().contains("decoded by gzip"), "{error}");
        assert!(require_raw_within(&url(), ImageFormat::Gzip, &disk()).is_ok());
    }
}
