//! The keys of the configuration: a file of lines, each the 32 bytes of a key in base64 or in hex digits.

use std::fmt;
use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chacha20poly1305::{KeyInit as _, XChaCha20Poly1305};
use farrier::config::ConfigError;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

/// The setting that names the file.
const SETTING: &str = "secret_key_file";
/// Bytes of a key.
const LENGTH: usize = 32;
/// The largest file that is read, in bytes: hundreds of keys.
const LARGEST_FILE: u64 = 64 << 10;
/// Makes names of keys differ from whatever else is hashed.
const NAMING: &[u8] = b"farrier secret key id\0";

/// A key, with its name. Wiped when it is dropped, and never shown.
pub struct SecretKey {
    id: String,
    cipher: XChaCha20Poly1305,
}

impl SecretKey {
    /// Takes the bytes of a key.
    #[must_use]
    pub fn new(bytes: &[u8; LENGTH]) -> Self {
        let digest = Sha256::new().chain_update(NAMING).chain_update(bytes).finalize();
        // The name tells apart the few keys of one file, and nothing about the key.
        Self { id: hex::encode(&digest[..4]), cipher: XChaCha20Poly1305::new(bytes.into()) }
    }

    /// Its name: a few digits of a hash of it.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    pub(super) fn cipher(&self) -> &XChaCha20Poly1305 {
        &self.cipher
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretKey({})", self.id)
    }
}

/// Reads the keys of a file, in their order. Blocks: for the time before the runtime is started.
///
/// # Errors
/// The file cannot be read, may be read by others, or has a line that is no key. No error shows a line.
pub fn read(path: &Path) -> Result<Vec<SecretKey>, ConfigError> {
    let unreadable =
        |source| ConfigError::Unreadable { what: "the secret key file", path: path.to_owned(), source };
    // Asked before it is opened: opening a pipe would wait for its writer.
    if !fs::metadata(path).map_err(unreadable)?.is_file() {
        return Err(bad(format!("{} is not a regular file", path.display())));
    }
    let file = File::open(path).map_err(unreadable)?;
    let mode = file.metadata().map_err(unreadable)?.permissions().mode();
    if mode & 0o077 != 0 {
        return Err(bad(format!(
            "{path} may be used by others than its owner (mode {:o}); run `chmod 600 {path}`, and make new keys if others \
             may have read these",
            mode & 0o777,
            path = path.display()
        )));
    }
    let mut text = Zeroizing::new(String::new());
    let mut file = file.take(LARGEST_FILE + 1);
    file.read_to_string(&mut text).map_err(unreadable)?;
    if file.limit() == 0 {
        return Err(bad(format!(
            "{} is larger than {LARGEST_FILE} bytes; is it a file of keys?",
            path.display()
        )));
    }
    parse(&text, path)
}

fn parse(text: &str, path: &Path) -> Result<Vec<SecretKey>, ConfigError> {
    let mut keys: Vec<SecretKey> = Vec::new();
    for (line, text) in (1..).zip(text.lines()).filter(|(_, text)| !text.trim().is_empty()) {
        let key = decode(text.trim()).ok_or_else(|| {
            bad(format!(
                "{}, line {line}: expected 32 bytes in base64 or in hex digits, as `openssl rand -base64 32` makes them",
                path.display()
            ))
        })?;
        let key = SecretKey::new(&key);
        if keys.iter().any(|other| other.id == key.id) {
            return Err(bad(format!("{}, line {line}: the key {} is there twice", path.display(), key.id)));
        }
        keys.push(key);
    }
    if keys.is_empty() {
        return Err(bad(format!(
            "{} has no key in it; make one with `openssl rand -base64 32`, or leave the setting out",
            path.display()
        )));
    }
    Ok(keys)
}

fn decode(text: &str) -> Option<Zeroizing<[u8; LENGTH]>> {
    let bytes = match text.len() {
        64 => Zeroizing::new(hex::decode(text).ok()?),
        _ => Zeroizing::new(STANDARD.decode(text).ok()?),
    };
    bytes.as_slice().try_into().ok().map(Zeroizing::new)
}

fn bad(reason: String) -> ConfigError {
    ConfigError::setting(SETTING, reason)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    const BASE64: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    const HEX: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

    fn file(text: &str) -> Result<Vec<String>, String> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        let path = file.path().display().to_string();
        let keys = read(file.path()).map_err(|error| error.to_string().replace(&path, "FILE"))?;
        Ok(keys.iter().map(|key| key.id().to_owned()).collect())
    }

    #[test]
    fn a_key_is_base64_or_hex_and_has_a_name_of_its_own() {
        let names = file(&format!("\n {BASE64} \n\n{}\n", "ff".repeat(32))).unwrap();
        assert_eq!(names.len(), 2);
        assert_ne!(names[0], names[1]);
        assert_eq!(file(HEX).unwrap(), names[..1]);
        assert_eq!(
            format!("{:?}", SecretKey::new(&[7; 32])),
            format!("SecretKey({})", SecretKey::new(&[7; 32]).id())
        );
    }

    #[test]
    fn a_bad_file_is_named_with_its_line_and_never_shown() {
        for (text, expected) in [
            ("", "FILE has no key in it"),
            ("hunter2", "FILE, line 1: expected 32 bytes"),
            (&format!("{BASE64}\n{}", "hunter2=".repeat(5)), "FILE, line 2: expected 32 bytes"),
            (&"g".repeat(64), "FILE, line 1: expected 32 bytes"),
            (&format!("{BASE64}\n\n{HEX}"), "FILE, line 3: the key"),
            (&" ".repeat(70_000), "FILE is larger than 65536 bytes"),
        ] {
            let error = file(text).unwrap_err();
            assert!(error.starts_with(&format!("the setting `secret_key_file`: {expected}")), "{error}");
            assert!(!error.contains("hunter2") && !error.contains(BASE64), "{error}");
        }
    }

    #[test]
    fn a_file_that_others_may_read_is_refused() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(BASE64.as_bytes()).unwrap();
        for mode in [0o640, 0o604, 0o620] {
            fs::set_permissions(file.path(), fs::Permissions::from_mode(mode)).unwrap();
            let error = read(file.path()).unwrap_err().to_string();
            assert!(error.contains(&format!("mode {mode:o}")) && error.contains("chmod 600"), "{error}");
        }
        fs::set_permissions(file.path(), fs::Permissions::from_mode(0o400)).unwrap();
        assert_eq!(read(file.path()).unwrap().len(), 1);
    }

    #[test]
    fn what_is_no_file_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        assert!(read(folder.path()).unwrap_err().to_string().contains("not a regular file"));
        let missing = read(&folder.path().join("none")).unwrap_err().to_string();
        assert!(missing.starts_with("cannot read the secret key file"), "{missing}");
    }
}
