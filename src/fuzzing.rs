//! Ways in for `fuzz/`, and for the test that replays its inputs: each takes any bytes and must return. Not a part of what this
//! library offers.

use url::Host;

use crate::image::{find_in_checksum_file, fuzz_qcow2};
use crate::partition_table::{self, Tail};
use crate::wire::NoProxy;

/// An image in qcow2: its tables are read, then it is decoded onto a disk in memory.
pub fn qcow2(bytes: &[u8]) {
    fuzz_qcow2(bytes);
}

/// The name of an image in the first line, and a checksum file after it.
pub fn checksum_file(bytes: &[u8]) {
    let end = bytes.iter().position(|byte| *byte == b'\n').unwrap_or(bytes.len());
    let (name, rest) = bytes.split_at(end);
    let _ = find_in_checksum_file(rest.get(1..).unwrap_or_default(), &String::from_utf8_lossy(name));
}

/// A host in the first line, and a list of those that are reached without a proxy after it. What can be read can be written and read
/// again, and says the same then.
pub fn no_proxy(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let (host, list) = text.split_once('\n').unwrap_or((&text, ""));
    let Ok(rules) = list.parse::<NoProxy>() else { return };
    let again: NoProxy = String::from(rules.clone()).parse().expect("it was read before");
    if let Ok(host) = Host::parse(host) {
        let host = match &host {
            Host::Domain(name) => Host::Domain(name.as_str()),
            Host::Ipv4(address) => Host::Ipv4(*address),
            Host::Ipv6(address) => Host::Ipv6(*address),
        };
        for port in [80, 443] {
            assert_eq!(rules.bypasses(&host, port), again.bypasses(&host, port), "{list:?}");
        }
    }
}

/// The first bytes of a disk, in front of them its size in sectors: checked, and moved to its end. What was moved is right.
pub fn gpt(bytes: &[u8]) {
    let Some((sectors, head)) = bytes.split_first_chunk::<4>() else { return };
    let sectors = u64::from(u32::from_le_bytes(*sectors)).max(1);
    for sector in [512, 4096] {
        let capacity = sectors * u64::from(sector);
        let sound = partition_table::check(head, sector, capacity).is_ok();
        let mut head = head.to_vec();
        let length = capacity.min(64 << 10);
        let mut tail = vec![0; usize::try_from(length).expect("64 KiB at most")];
        let tail = Tail { bytes: &mut tail, start: capacity - length };
        if partition_table::relocate(&mut head, tail, sector, capacity, capacity / 2).is_ok() && sound {
            partition_table::check(&head, sector, capacity).expect("it was sound before it was moved");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    type Target = fn(&[u8]);

    /// What fuzzing has found, and what it began with.
    #[test]
    fn nothing_that_was_kept_does_harm() {
        let targets: [(&str, Target); 4] =
            [("qcow2", qcow2), ("checksum_file", checksum_file), ("no_proxy", no_proxy), ("gpt", gpt)];
        for (name, target) in targets {
            let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(name);
            let inputs: Vec<_> =
                std::fs::read_dir(&corpus).unwrap().map(|file| file.unwrap().path()).collect();
            assert!(!inputs.is_empty(), "{} is empty", corpus.display());
            for input in inputs {
                target(&std::fs::read(input).unwrap());
            }
        }
    }
}
