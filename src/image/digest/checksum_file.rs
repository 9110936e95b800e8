//! Checksum files, as `sha256sum`, `shasum`, BSD's `sha256` and Linux distributions write them. Free of I/O.

use crate::wire::{Digest, DigestAlgorithm};

/// Names that an error lists.
const LISTED: usize = 5;
/// Characters of a name that an error shows.
const SHOWN: usize = 100;

/// Why a checksum file gives no digest of an image.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadChecksumFile {
    /// It is no text.
    #[error("it is no text in UTF-8: is it a checksum file?")]
    NotText,
    /// It has no digest at all, or one that stands alone among other text.
    #[error("it has no line like `HASH  name` or `SHA256 (name) = HASH`, and is no hash alone")]
    NoDigest,
    /// It does not name the image.
    #[error("it does not name {name:?}; it names {}{}", .named.join(", "), and_more(*.more))]
    NotNamed {
        /// The image.
        name: String,
        /// The first few that it names, quoted and shortened.
        named: Vec<String>,
        /// How many more it names.
        more: usize,
    },
    /// It has two digests by one algorithm.
    #[error("it has two {algorithm} digests of {name:?}: which one is meant?")]
    Contradiction {
        /// The image.
        name: String,
        /// The algorithm.
        algorithm: DigestAlgorithm,
    },
}

fn and_more(names: usize) -> String {
    if names == 0 { String::new() } else { format!(" and {names} more") }
}

/// What a line says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Line<'a> {
    Named(Digest, &'a str),
    /// A hash and nothing else.
    Alone(Digest),
    Other,
}

/// The digest of the image of this name: by the strongest algorithm that the file has for it.
///
/// Names may have a path; their last component counts. A hash alone counts when it is all that the file says.
///
/// # Errors
/// [`BadChecksumFile`].
pub fn find(file: &[u8], name: &str) -> Result<Digest, BadChecksumFile> {
    let text = std::str::from_utf8(file).map_err(|_| BadChecksumFile::NotText)?;
    let lines: Vec<_> = said_by(text).map(parse).collect();
    if let [Line::Alone(digest)] = lines[..] {
        return Ok(digest);
    }
    let mut best: Option<Digest> = None;
    for algorithm in STRONGEST_FIRST {
        let mut digests = lines.iter().filter_map(|line| match line {
            Line::Named(digest, found) if digest.algorithm() == algorithm && is_name(found, name) => {
                Some(*digest)
            }
            _ => None,
        });
        let first = digests.next();
        if digests.any(|other| Some(other) != first) {
            return Err(BadChecksumFile::Contradiction { name: name.to_owned(), algorithm });
        }
        best = best.or(first);
    }
    best.ok_or_else(|| not_found(&lines, name))
}

const STRONGEST_FIRST: [DigestAlgorithm; 4] =
    [DigestAlgorithm::Sha512, DigestAlgorithm::Sha256, DigestAlgorithm::Sha1, DigestAlgorithm::Md5];

fn not_found(lines: &[Line<'_>], name: &str) -> BadChecksumFile {
    let mut names = lines.iter().filter_map(|line| match line {
        Line::Named(_, name) => Some(name),
        _ => None,
    });
    let named: Vec<_> = names.by_ref().take(LISTED).map(|name| shown(name)).collect();
    if named.is_empty() {
        return BadChecksumFile::NoDigest;
    }
    BadChecksumFile::NotNamed { name: name.to_owned(), named, more: names.count() }
}

fn shown(name: &str) -> String {
    match name.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{:?}...", &name[..end]),
        None => format!("{name:?}"),
    }
}

fn is_name(found: &str, name: &str) -> bool {
    found == name || found.rsplit('/').next() == Some(name)
}

/// The lines that say something: no blank ones, no comments, no armour of OpenPGP (RFC 9580, 7: cleartext signatures). Whether the
/// signature is right is not looked at.
fn said_by(text: &str) -> impl Iterator<Item = &str> {
    let mut armour = Armour::None;
    text.trim_start_matches('\u{feff}').lines().map(str::trim).filter(move |line| {
        armour = match (armour, *line) {
            (_, "-----BEGIN PGP SIGNED MESSAGE-----") => Armour::Header,
            (_, "-----BEGIN PGP SIGNATURE-----") => Armour::Signature,
            (Armour::Header, "") | (Armour::Signature, "-----END PGP SIGNATURE-----") => {
                armour = Armour::None;
                return false;
            }
            _ => armour,
        };
        armour == Armour::None && !line.is_empty() && !line.starts_with('#')
    })
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Armour {
    None,
    /// Before the signed text: its end is a blank line.
    Header,
    Signature,
}

fn parse(line: &str) -> Line<'_> {
    // GNU escapes a name with a line break or a backslash, and says so in front of the line. No image has such a name.
    let line = line.strip_prefix('\\').unwrap_or(line);
    parse_bsd(line).or_else(|| parse_gnu(line)).unwrap_or(Line::Other)
}

/// `SHA256 (name) = HASH`, or `SHA2-256(name)= HASH` as OpenSSL writes it.
fn parse_bsd(line: &str) -> Option<Line<'_>> {
    let (algorithm, rest) = line.split_once('(')?;
    let (name, digits) = rest.rsplit_once(')')?;
    let digits = digits.trim_start().strip_prefix('=')?.trim();
    let algorithm = algorithm.trim().to_ascii_uppercase().replace("SHA2-", "SHA");
    let algorithm = DigestAlgorithm::by_name(&algorithm)?;
    Some(Line::Named(Digest::from_hex(algorithm, digits).ok()?, name))
}

/// `HASH  name`, `HASH *name`, or a hash alone; any of them may have `sha256:` in front of the hash.
fn parse_gnu(line: &str) -> Option<Line<'_>> {
    let (digits, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let digest = digits.parse().ok()?;
    let name = rest.trim_start();
    let name = name.strip_prefix('*').unwrap_or(name);
    Some(if name.is_empty() { Line::Alone(digest) } else { Line::Named(digest, name) })
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
            format!("SHA256({NAME})= {hash}"),
            format!("sha2-256({NAME})= {hash}"),
            format!("sha256:{hash}  {NAME}"),
            hash.clone(),
            format!(
                "-----BEGIN PGP SIGNED MESSAGE-----\r\nHash: SHA256\r\n\r\n{hash}\r\n-----BEGIN PGP SIGNATURE-----\r\n\r\niQIz\r\n-----END PGP SIGNATURE-----\r\n"
            ),
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
        assert!(message(&format!("{one}  image\n{two}  image")).contains("two sha256 digests of \"image\""));
        let error = message(&format!("{one}  a\n{two}  b/c\n"));
        assert!(error.contains("does not name \"image\"") && error.contains("\"a\", \"b/c\""), "{error}");
        assert!(message("<html>not found</html>").contains("no line like"));
        assert!(message(&format!("{one}\n{two}\n")).contains("no line like"));
        assert_eq!(find(b"\xff\xfe", "image"), Err(BadChecksumFile::NotText));
        // Nor does a stronger digest make up for a contradiction of weaker ones, wherever it stands.
        let stronger = format!("{}  image", "ab".repeat(64));
        for lines in [[&stronger, &one, &two], [&one, &stronger, &two], [&one, &two, &stronger]] {
            let file =
                lines.map(|hash| format!("{hash}  image")).join("\n").replace("  image  image", "  image");
            assert!(message(&file).contains("two sha256 digests"), "{file}");
        }
        // A hash among other text may be that of anything.
        assert!(message(&format!("{one}\nof the image of Monday\n")).contains("no line like"));
        assert!(message(&format!("{one}\n{two}  other\n")).contains("does not name"));
        // The same digest twice is no contradiction.
        assert_eq!(find(format!("{one}  image\n{one} *image").as_bytes(), "image"), Ok(sha256(1)));
    }

    #[test]
    fn an_error_is_short_however_long_the_file_is() {
        let hash = hex_of(sha256(1));
        let file: String = (0..1000).map(|n| format!("{hash}  {n}{}\n", "\u{e9}".repeat(500))).collect();
        let error = find(file.as_bytes(), "image").unwrap_err().to_string();
        assert!(error.len() < 2000 && error.contains("and 995 more"), "{error}");
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
