//! What the kernel offers as `ioctl` alone: block devices and the permanent address of a network card.
//!
//! The only module with unsafe code. Request numbers are those of `linux/fs.h` and `linux/sockios.h`.
#![allow(unsafe_code)]

use std::ffi::c_int;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;

use nix::libc;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

/// Requests to block devices, from `linux/fs.h`.
mod request {
    use std::ffi::c_int;

    use nix::{
        ioctl_none, ioctl_read, ioctl_read_bad, ioctl_write_ptr_bad, request_code_none, request_code_read,
    };

    ioctl_read_bad!(blkroget, request_code_none!(0x12, 94), c_int);
    ioctl_none!(blkrrpart, 0x12, 95);
    ioctl_none!(blkflsbuf, 0x12, 97);
    ioctl_read_bad!(blksszget, request_code_none!(0x12, 104), c_int);
    // Named after `size_t`, and 64 bits wide whatever that is.
    ioctl_read_bad!(blkgetsize64, request_code_read!(0x12, 114, size_of::<usize>()), u64);
    ioctl_write_ptr_bad!(blkdiscard, request_code_none!(0x12, 119), [u64; 2]);
    ioctl_write_ptr_bad!(blkzeroout, request_code_none!(0x12, 127), [u64; 2]);
    ioctl_read!(blkgetdiskseq, 0x12, 128, u64);
    ioctl_read_bad!(siocethtool, nix::libc::SIOCETHTOOL, nix::libc::ifreq);
}

/// `ETHTOOL_GPERMADDR` of `linux/ethtool.h`.
const ETHTOOL_GPERMADDR: u32 = 0x20;
/// `MAX_ADDR_LEN` of `linux/netdevice.h`.
const MAX_ADDR_LEN: usize = 32;

/// Size of a block device in bytes.
pub(crate) fn size(device: &File) -> io::Result<u64> {
    let mut bytes = 0;
    // SAFETY: `BLKGETSIZE64` writes one `u64`, which `bytes` is; the descriptor is open while `device` is borrowed.
    unsafe { request::blkgetsize64(device.as_raw_fd(), &raw mut bytes) }?;
    Ok(bytes)
}

/// Bytes in a logical sector of a block device.
pub(crate) fn logical_sector(device: &File) -> io::Result<u32> {
    let mut bytes: c_int = 0;
    // SAFETY: `BLKSSZGET` writes one `int`, which `bytes` is; the descriptor is open while `device` is borrowed.
    unsafe { request::blksszget(device.as_raw_fd(), &raw mut bytes) }?;
    u32::try_from(bytes).map_err(|_| io::Error::other("the kernel told a negative sector size"))
}

/// Whether a block device is read-only.
pub(crate) fn is_read_only(device: &File) -> io::Result<bool> {
    let mut read_only: c_int = 0;
    // SAFETY: `BLKROGET` writes one `int`, which `read_only` is; the descriptor is open while `device` is borrowed.
    unsafe { request::blkroget(device.as_raw_fd(), &raw mut read_only) }?;
    Ok(read_only != 0)
}

/// The sequence number of the disk behind a block device: never the same for two disks of one boot. `ENOTTY` before Linux 5.15.
pub(crate) fn disk_sequence(device: &File) -> io::Result<u64> {
    let mut sequence = 0;
    // SAFETY: `BLKGETDISKSEQ` writes one `u64`, which `sequence` is; the descriptor is open while `device` is borrowed.
    unsafe { request::blkgetdiskseq(device.as_raw_fd(), &raw mut sequence) }?;
    Ok(sequence)
}

/// Makes the kernel read the partition table of a block device.
pub(crate) fn reread_partitions(device: &File) -> io::Result<()> {
    // SAFETY: `BLKRRPART` takes no argument; the descriptor is open while `device` is borrowed.
    unsafe { request::blkrrpart(device.as_raw_fd()) }?;
    Ok(())
}

/// Writes what the page cache holds of a block device and drops it from there.
pub(crate) fn flush_cache(device: &File) -> io::Result<()> {
    // SAFETY: `BLKFLSBUF` takes no argument; the descriptor is open while `device` is borrowed.
    unsafe { request::blkflsbuf(device.as_raw_fd()) }?;
    Ok(())
}

/// Discards a range of a block device, in bytes that are whole sectors.
pub(crate) fn discard(device: &File, offset: u64, length: u64) -> io::Result<()> {
    // SAFETY: `BLKDISCARD` reads two `u64`, which the array is; it takes no pointer to memory, and the descriptor is open while
    // `device` is borrowed.
    unsafe { request::blkdiscard(device.as_raw_fd(), &[offset, length]) }?;
    Ok(())
}

/// Zeroes a range of a block device, in bytes that are whole sectors.
pub(crate) fn zero_out(device: &File, offset: u64, length: u64) -> io::Result<()> {
    // SAFETY: as for `discard`: `BLKZEROOUT` reads two `u64`.
    unsafe { request::blkzeroout(device.as_raw_fd(), &[offset, length]) }?;
    Ok(())
}

/// `struct ethtool_perm_addr` with room for every address.
#[repr(C)]
struct PermanentAddress {
    command: u32,
    size: u32,
    data: [u8; MAX_ADDR_LEN],
}

/// The Ethernet address that the card was made with, whatever address it has been given since.
///
/// # Errors
/// When there is no such interface, its driver does not tell, or the address is none of Ethernet.
pub(crate) fn permanent_mac(interface: &str) -> io::Result<[u8; 6]> {
    let socket = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
    let mut address = PermanentAddress { command: ETHTOOL_GPERMADDR, size: 32, data: [0; MAX_ADDR_LEN] };
    let mut request = libc::ifreq {
        ifr_name: interface_name(interface)?,
        ifr_ifru: libc::__c_anonymous_ifr_ifru { ifru_data: (&raw mut address).cast() },
    };
    // SAFETY: `SIOCETHTOOL` reads the `ifreq` and, at its pointer, the command and its argument. `ETHTOOL_GPERMADDR` writes at most
    // `size` bytes of `data`, which is as long; both live until it returns, and the name ends with a zero.
    unsafe { request::siocethtool(socket.as_raw_fd(), &raw mut request) }?;
    match address.data.first_chunk::<6>() {
        Some(mac) if address.size == 6 && *mac != [0; 6] => Ok(*mac),
        _ => Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("{interface} tells no permanent Ethernet address"),
        )),
    }
}

/// The name, ended by a zero.
fn interface_name(name: &str) -> io::Result<[libc::c_char; libc::IFNAMSIZ]> {
    if name.is_empty() || name.len() >= libc::IFNAMSIZ || name.bytes().any(|byte| byte == 0) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("{name:?} is no name of a network interface"),
        ));
    }
    let mut array = [0; libc::IFNAMSIZ];
    for (to, from) in array.iter_mut().zip(name.bytes()) {
        *to = libc::c_char::from_ne_bytes([from]);
    }
    Ok(array)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_has_no_permanent_address() {
        assert!(permanent_mac("lo").is_err());
    }

    #[test]
    fn what_is_no_interface_is_refused() {
        assert!(permanent_mac("no-such-if").is_err());
        for name in ["", "a-name-that-is-far-too-long", "a\0b"] {
            assert_eq!(permanent_mac(name).unwrap_err().kind(), io::ErrorKind::InvalidInput, "{name:?}");
        }
    }

    #[test]
    fn a_file_is_no_block_device() {
        let file = tempfile::tempfile().unwrap();
        for error in [size(&file).unwrap_err(), reread_partitions(&file).unwrap_err()] {
            assert_eq!(error.raw_os_error(), Some(libc::ENOTTY));
        }
    }
}
