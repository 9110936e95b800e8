//! Tells the bytes of a disk from the containers that images come in, by their magic. Only raw images are written.

use std::fmt;

use crate::image::ImageError;
use crate::wire::ImageUrl;

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

/// The magics, from the specification of each format.
const CONTAINERS: &[Container] = &[
    container("a QCOW image", 0, b"QFI\xfb"),
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
    container("compressed with gzip", 0, b"\x1f\x8b"),
    container("compressed with xz", 0, b"\xfd7zXZ\0"),
    container("compressed with zstd", 0, b"\x28\xb5\x2f\xfd"),
    container("compressed with bzip2", 0, b"BZh"),
    container("compressed with lz4", 0, b"\x04\x22\x4d\x18"),
    container("a 7-Zip archive", 0, b"7z\xbc\xaf\x27\x1c"),
    container("a ZIP archive", 0, b"PK\x03\x04"),
    container("a tar archive", 257, b"ustar"),
];

const fn container(name: &'static str, offset: usize, magic: &'static [u8]) -> Container {
    Container { name, offset, magic }
}

/// Where a GPT header lies on disks of 512 and of 4096 byte sectors.
const GPT_OFFSETS: [usize; 2] = [512, 4096];

/// Takes only what begins as a disk does: with an MBR, a protective one before a GPT included.
///
/// `head` is the first MiB of the image, or the whole of a smaller one.
///
/// # Errors
/// [`ImageError::Format`] for a known container, [`ImageError::NotBootable`] for anything else that is no disk.
pub(in crate::image) fn require_disk(url: &ImageUrl, head: &[u8]) -> Result<(), ImageError> {
    if let Some(container) = CONTAINERS.iter().find(|known| has(head, known.offset, known.magic)) {
        return Err(ImageError::Format { url: Box::new(url.clone()), container: *container });
    }
    let is_disk = has(head, 510, b"\x55\xaa") || GPT_OFFSETS.iter().any(|at| has(head, *at, b"EFI PART"));
    if is_disk {
        return Ok(());
    }
    let begins_with = match head {
        [] => "nothing at all".to_owned(),
        _ => format!("\"{}\"", head[..head.len().min(16)].escape_ascii()),
    };
    Err(ImageError::NotBootable { url: Box::new(url.clone()), begins_with })
}

fn has(head: &[u8], offset: usize, magic: &[u8]) -> bool {
    head.get(offset..).is_some_and(|rest| rest.starts_with(magic))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Coded as _, ErrorCode};

    fn judge(head: &[u8]) -> Result<(), ImageError> {
        require_disk(&"http://h/image".parse().unwrap(), head)
    }

    fn disk() -> Vec<u8> {
        let mut head = vec![0; 1 << 20];
        head[510..512].copy_from_slice(b"\x55\xaa");
        head
    }

    #[test]
    fn takes_disks() {
        judge(&disk()).unwrap();
        for at in GPT_OFFSETS {
            let mut head = vec![0; 1 << 20];
            head[at..at + 8].copy_from_slice(b"EFI PART");
            judge(&head).unwrap();
        }
    }

    #[test]
    fn refuses_every_container_even_one_that_looks_like_a_disk_too() {
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
}
