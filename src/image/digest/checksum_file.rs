//! Checksum files, as `sha256sum`, `shasum`, BSD's `sha256` and Linux distributions write them. Free of I/O.

use crate::wire::{Digest, DigestAlgorithm};

/// Names that an error lists.
const LISTED: usize = 5;

/// Why a checksum file gives no digest of an image.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadChecksumFile {
    /// It is no text.
    #[error("it is no text in UTF-8: is it a checksum file?")]
    NotText,
    /// It has no digest at all.
    #[error("it has no line like `HASH  name`, `SHA256 (name) = HASH`, or a hash alone")]
    NoDigest,
    /// It does not name the image.
    #[error("it does not name {name}; it names {}", list(.named))]
    NotNamed {
        /// The image.
        name: String,
        /// What it names.
        named: Vec<String>,
    },
    /// It has two digests by one algorithm.
    #[error("it has two {algorithm} digests of {name}")]
    Contradiction {
        /// The image.
        name: String,
        /// The algorithm.
        algorithm: DigestAlgorithm,
    },
}

fn list(names: &[String]) -> String {
    let shown: Vec<_> = names.iter().take(LISTED).map(|name| format!("{name:?}")).collect();
    let more = names.len().saturating_sub(LISTED);
    if more == 0 { shown.join(", ") } else { format!("{} and {more} more", shown.join(", ")) }
}

/// What a line says.
#[derive(Debug, PartialEq, Eq)]
struct Entry<'a> {
    digest: Digest,
    /// None in a line that has a hash and nothing else.
    name: Option<&'a str>,
}

/// The digest of the image of this name: by the strongest algorithm that the file has for it.
///
/// Names may have a path; their last component counts. A hash alone counts when it is all that the file has.
///
/// # Errors
/// [`BadChecksumFile`].
pub fn find(file: &[u8], name: &str) -> Result<Digest, BadChecksumFile> {
    let text = std::str::from_utf8(file).map_err(|_| BadChecksumFile::NotText)?;
    let entries: Vec<_> = text.trim_start_matches('\u{feff}').lines().filter_map(parse).collect();
    if let [Entry { digest, name: None }] = entries[..] {
        return Ok(digest);
    }
    let mut best: Option<Digest> = None;
    let of_image = entries.iter().filter(|entry| entry.name.is_some_and(|found| is_name(found, name)));
    for Entry { digest, .. } in of_image {
        match best {
            Some(other) if other.algorithm() == digest.algorithm() && other != *digest => {
                let algorithm = digest.algorithm();
                return Err(BadChecksumFile::Contradiction { name: name.to_owned(), algorithm });
            }
            Some(other) if strength(other) >= strength(*digest) => {}
            _ => best = Some(*digest),
        }
    }
    best.ok_or_else(|| not_found(&entries, name))
}

fn not_found(entries: &[Entry<'_>], name: &str) -> BadChecksumFile {
    let named: Vec<_> = entries.iter().filter_map(|entry| entry.name.map(str::to_owned)).collect();
    if named.is_empty() {
        BadChecksumFile::NoDigest
    } else {
        BadChecksumFile::NotNamed { name: name.to_owned(), named }
    }
}

fn strength(digest: Digest) -> u8 {
    match digest.algorithm() {
        DigestAlgorithm::Sha512 => 3,
        DigestAlgorithm::Sha256 => 2,
        DigestAlgorithm::Sha1 => 1,
        DigestAlgorithm::Md5 => 0,
    }
}

fn is_name(found: &str, name: &str) -> bool {
    found == name || found.rsplit('/').next() == Some(name)
}

/// Nothing for comments, armour and whatever else is no digest.
fn parse(line: &str) -> Option<Entry<'_>> {
    let line = line.trim();
    // GNU escapes a name with a line break or a backslash, and says so in front of the line. No URL ends in such a name.
    let line = line.strip_prefix('\\').unwrap_or(line);
    if line.starts_with('#') {
        return None;
    }
    parse_bsd(line).or_else(|| parse_gnu(line))
}

/// `SHA256 (name) = HASH`
fn parse_bsd(line: &str) -> Option<Entry<'_>> {
    let (algorithm, rest) = line.split_once(' ')?;
    let (name, digits) = rest.trim_start().strip_prefix('(')?.rsplit_once(')')?;
    let digits = digits.trim_start().strip_prefix('=')?.trim();
    let algorithm = DigestAlgorithm::by_name(&algorithm.replace("SHA2-", "SHA"))?;
    Some(Entry { digest: Digest::from_hex(algorithm, digits).ok()?, name: Some(name) })
}

/// `HASH  name`, `HASH *name`, or a hash alone; any of them may have `sha256:` in front of the hash.
fn parse_gnu(line: &str) -> Option<Entry<'_>> {
    let (digits, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let digest = digits.parse().ok()?;
    let name = rest.trim_start();
    let name = name.strip_prefix('*').unwrap_or(name);
    Some(Entry { digest, name: (!name.is_empty()).then_some(name) })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NAME: &str = "debian-12 (genericcloud) [v1]+x.qcow2";

    fn sha256(byte: u8) -> Digest {
        Digest::Sha256([byte; 32])
    }

    fn hex_of(digest: Digest) -> String {
        hex::encode(digest.as_bytes())
    }

    #[test]
    fn reads_every_way_to_write_a_line() {
        let hash = hex_of(sha256(0xab));
        let upper = hash.to_uppercase();
        for line in [
            format!("{hash}  {NAME}"),
            format!("{hash} *{NAME}"),
            format!("{upper} {NAME}"),
            format!("{hash}\t./images/a/{NAME}"),
            format!("\\{hash}  {NAME}"),
            format!("SHA256 ({NAME}) = {upper}"),
            format!("SHA2-256 (./images/{NAME})= {hash}"),
            format!("sha-256 ({NAME}) = {hash}"),
            format!("sha256:{hash}  {NAME}"),
            hash.clone(),
            format!("\u{feff}# made by hand\r\n\r\n{hash}\r\n"),
            format!(
                "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\n{}  other\n{hash}  {NAME}\n-----BEGIN PGP SIGNATURE-----\n\niQIzBAEBCAA\n-----END PGP SIGNATURE-----",
                hex_of(sha256(1))
            ),
        ] {
            assert_eq!(find(line.as_bytes(), NAME), Ok(sha256(0xab)), "{line}");
        }
    }

    #[test]
    fn only_the_image_counts_and_the_strongest_digest_of_it() {
        let sha512 = Digest::Sha512([7; 64]);
        let file = format!(
            "MD5 ({NAME}) = {}\n{}  x{NAME}\n{}  {NAME}\nSHA512 ({NAME}) = {}\n{}  {NAME}.asc\n",
            "11".repeat(16),
            hex_of(sha256(1)),
            hex_of(sha256(2)),
            hex_of(sha512),
            hex_of(sha256(3)),
        );
        assert_eq!(find(file.as_bytes(), NAME), Ok(sha512));
    }

    #[test]
    fn says_what_is_wrong_with_the_file() {
        let (one, two) = (hex_of(sha256(1)), hex_of(sha256(2)));
        let message = |file: &str| find(file.as_bytes(), "image").unwrap_err().to_string();
        assert!(message(&format!("{one}  image\n{two}  image")).contains("two sha256 digests of image"));
        let error = message(&format!("{one}  a\n{two}  b/c\n"));
        assert!(error.contains("does not name image") && error.contains("\"a\", \"b/c\""), "{error}");
        assert!(message("<html>not found</html>").contains("no line like"));
        assert!(message(&format!("{one}\n{two}\n")).contains("no line like"));
        assert_eq!(find(b"\xff\xfe", "image"), Err(BadChecksumFile::NotText));
        // The same digest twice is no contradiction.
        assert_eq!(find(format!("{one}  image\n{one} *image").as_bytes(), "image"), Ok(sha256(1)));
    }

    proptest! {
        #[test]
        fn never_panics(file in prop::collection::vec(any::<u8>(), 0..400), name in ".{0,20}") {
            let _ = find(&file, &name);
        }

        #[test]
        fn a_line_among_others_is_found(before in "[ -~\n]{0,200}", name in "[a-z(). ]{0,8}[a-z]", after in "[ -~\n]{0,200}") {
            let hash = hex_of(sha256(9));
            // Nothing of this shape among the others, so that they cannot name the same file.
            prop_assume!(!before.contains(&name) && !after.contains(&name));
            let name = name.trim();
            let file = format!("{before}\n{hash}  {name}\n{after}");
            prop_assert_eq!(find(file.as_bytes(), name), Ok(sha256(9)));
        }
    }
}
