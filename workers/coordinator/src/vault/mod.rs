//! Secrets at rest: what is sealed before it goes into the store, and opened where it is used.
//!
//! XChaCha20-Poly1305 under keys of the configuration ([`keys`]): the first of them seals, all of them open, so that keys can be
//! changed. A sealed text says under which key it was sealed, and is bound to its [`Place`]: moved to another row, it does not
//! open. What was written while there was no key is plain, and stays readable.

pub mod keys;

use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chacha20poly1305::XNonce;
use chacha20poly1305::aead::{Aead as _, Generate as _, Payload};
use farrier::wire::{Coded, ErrorCode};
use zeroize::Zeroizing;

use keys::SecretKey;

/// What every sealed text begins with. No JSON does.
const PREFIX: &str = "farrier:v1:";
/// Bytes of a nonce. So many that random ones do not meet.
const NONCE: usize = 24;

/// The keys. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Vault {
    keys: Arc<[SecretKey]>,
}

/// Where a text stands in the store: it opens only there.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// The table.
    pub table: &'a str,
    /// The column, and for a part of one, which part.
    pub column: &'a str,
    /// The row.
    pub row: &'a str,
}

/// There is nothing to seal with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the coordinator has no key to keep secrets under; make one with `openssl rand -base64 32`, put it into a file that \
     nobody else may read, and start the coordinator with --secret-key-file FILE"
)]
pub struct KeyMissing;

/// Why a sealed text does not open.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// The key is not among those of the configuration.
    #[error(
        "it was sealed under the key {key_id}, which the coordinator does not have; add that key to the file of \
         --secret-key-file, or write the secret anew"
    )]
    UnknownKey {
        /// The key.
        key_id: String,
    },
    /// The key is there and does not fit.
    #[error(
        "it does not open with the key {key_id}, under which it says that it was sealed: it was damaged, or stood \
         elsewhere; write the secret anew"
    )]
    Damaged {
        /// The key.
        key_id: String,
    },
}

impl Coded for KeyMissing {
    fn code(&self) -> ErrorCode {
        ErrorCode::SecretKeyMissing
    }
}

impl Coded for Unreadable {
    fn code(&self) -> ErrorCode {
        ErrorCode::SecretUnreadable
    }
}

impl Vault {
    /// A vault that seals with the first key and opens with all of them.
    #[must_use]
    pub fn new(keys: Vec<SecretKey>) -> Self {
        Self { keys: keys.into() }
    }

    /// Seals a text for a place.
    ///
    /// # Errors
    /// There is no key.
    ///
    /// # Panics
    /// When the operating system has no random numbers. The cipher itself takes all that fits into memory.
    pub fn seal(&self, place: Place<'_>, text: &str) -> Result<String, KeyMissing> {
        let key = self.keys.first().ok_or(KeyMissing)?;
        let nonce = XNonce::generate();
        let associated = place.associated();
        let payload = Payload { msg: text.as_bytes(), aad: &associated };
        let sealed = key.cipher().encrypt(&nonce, payload).expect("texts are shorter than 256 GiB");
        Ok(format!("{PREFIX}{}:{}", key.id(), STANDARD.encode([nonce.as_slice(), &sealed].concat())))
    }

    /// Seals a text where there is a key; without one it stays as it is.
    #[must_use]
    pub fn seal_if_keyed(&self, place: Place<'_>, text: String) -> String {
        self.seal(place, &text).unwrap_or(text)
    }

    /// Opens a text that stands at a place. One that is not sealed was written without a key, and is as it is.
    ///
    /// # Errors
    /// Its key is not there, or does not fit.
    pub fn open(&self, place: Place<'_>, stored: &str) -> Result<Zeroizing<String>, Unreadable> {
        let Some((key_id, body)) = sealed(stored) else { return Ok(stored.to_owned().into()) };
        let key = self.keys.iter().find(|key| key.id() == key_id);
        let key = key.ok_or_else(|| Unreadable::UnknownKey { key_id: key_id.to_owned() })?;
        open(key, place, body).ok_or_else(|| Unreadable::Damaged { key_id: key_id.to_owned() })
    }

    /// Whether a text stands as it would be written now: under the first key, or plain where there is none.
    #[must_use]
    pub fn is_current(&self, stored: &str) -> bool {
        match self.keys.first() {
            Some(key) => sealed(stored).is_some_and(|(key_id, _)| key_id == key.id()),
            None => true,
        }
    }

    /// The name of the key that seals.
    #[must_use]
    pub fn key_id(&self) -> Option<&str> {
        self.keys.first().map(SecretKey::id)
    }
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` of {} {}", self.column, self.table, self.row)
    }
}

impl Place<'_> {
    /// The place as bytes that no other place has: names of tables and columns have no zero in them.
    fn associated(&self) -> Vec<u8> {
        [self.table, self.column, self.row].join("\0").into_bytes()
    }
}

/// Whether a text is sealed.
#[must_use]
pub fn is_sealed(stored: &str) -> bool {
    sealed(stored).is_some()
}

/// The name of the key of a sealed text, and what was sealed.
fn sealed(stored: &str) -> Option<(&str, &str)> {
    stored.strip_prefix(PREFIX)?.split_once(':')
}

fn open(key: &SecretKey, place: Place<'_>, body: &str) -> Option<Zeroizing<String>> {
    let bytes = STANDARD.decode(body).ok()?;
    let (nonce, sealed) = bytes.split_first_chunk::<NONCE>()?;
    let associated = place.associated();
    let payload = Payload { msg: sealed, aad: &associated };
    let text = key.cipher().decrypt(&XNonce::from(*nonce), payload).ok()?;
    String::from_utf8(text).ok().map(Zeroizing::new)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PLACE: Place<'_> = Place { table: "nodes", column: "driver_info.redfish_password", row: "n1" };

    fn key(byte: u8) -> SecretKey {
        SecretKey::new(&[byte; 32])
    }

    #[test]
    fn without_a_key_nothing_is_sealed_and_plain_text_stays_readable() {
        let vault = Vault::default();
        assert_eq!(vault.seal(PLACE, "hunter2"), Err(KeyMissing));
        assert_eq!(vault.seal_if_keyed(PLACE, "{}".into()), "{}");
        assert_eq!(vault.open(PLACE, "{}").unwrap().as_str(), "{}");
        assert!(vault.is_current("{}") && vault.key_id().is_none());
        let keyed = Vault::new(vec![key(1)]);
        assert_eq!(keyed.open(PLACE, "{}").unwrap().as_str(), "{}");
        assert!(!keyed.is_current("{}"), "it is to be sealed");
    }

    #[test]
    fn the_first_key_seals_and_all_of_them_open() {
        let old = Vault::new(vec![key(1)]).seal(PLACE, "hunter2").unwrap();
        let rotated = Vault::new(vec![key(2), key(1)]);
        assert_eq!(rotated.open(PLACE, &old).unwrap().as_str(), "hunter2");
        assert!(!rotated.is_current(&old));
        let new = rotated.seal(PLACE, "hunter2").unwrap();
        assert!(rotated.is_current(&new) && is_sealed(&new));
        assert_eq!(Vault::new(vec![key(2)]).open(PLACE, &new).unwrap().as_str(), "hunter2");
        let error = Vault::new(vec![key(2)]).open(PLACE, &old).unwrap_err();
        assert_eq!(error, Unreadable::UnknownKey { key_id: key(1).id().to_owned() });
        assert_eq!(Vault::default().open(PLACE, &old).unwrap_err(), error, "no key opens nothing");
    }

    #[test]
    fn the_same_text_is_sealed_differently_each_time() {
        let vault = Vault::new(vec![key(1)]);
        assert_ne!(vault.seal(PLACE, "hunter2").unwrap(), vault.seal(PLACE, "hunter2").unwrap());
    }

    #[test]
    fn a_text_opens_only_where_it_was_sealed() {
        let vault = Vault::new(vec![key(1)]);
        let sealed = vault.seal(PLACE, "hunter2").unwrap();
        for place in [
            Place { row: "n2", ..PLACE },
            Place { column: "driver_info.ipmi_password", ..PLACE },
            Place { table: "jobs", ..PLACE },
        ] {
            let damaged = Unreadable::Damaged { key_id: key(1).id().to_owned() };
            assert_eq!(vault.open(place, &sealed).unwrap_err(), damaged, "{place:?}");
        }
    }

    #[test]
    fn errors_name_the_key_and_the_way_out_and_have_their_codes() {
        let error = Unreadable::UnknownKey { key_id: "abcd".into() };
        assert!(
            error.to_string().contains("the key abcd") && error.to_string().contains("--secret-key-file")
        );
        assert_eq!(
            (error.code(), KeyMissing.code()),
            (ErrorCode::SecretUnreadable, ErrorCode::SecretKeyMissing)
        );
        assert!(KeyMissing.to_string().contains("openssl rand -base64 32"));
    }

    proptest! {
        #[test]
        fn what_was_sealed_opens_and_what_was_damaged_does_not(text in ".*", at in any::<prop::sample::Index>()) {
            let vault = Vault::new(vec![key(1)]);
            let sealed = vault.seal(PLACE, &text).unwrap();
            let opened = vault.open(PLACE, &sealed).unwrap();
            prop_assert_eq!(opened.as_str(), text.as_str());
            let begin = PREFIX.len() + key(1).id().len() + 1;
            let at = begin + at.index(sealed.len() - begin);
            let mut damaged = sealed.clone();
            let other = if sealed.as_bytes()[at] == b'A' { "B" } else { "A" };
            damaged.replace_range(at..=at, other);
            prop_assert!(vault.open(PLACE, &damaged).is_err());
            prop_assert!(vault.open(PLACE, &sealed[..at]).is_err());
        }

        #[test]
        fn no_text_of_the_store_makes_it_panic(stored in "farrier:v1:[0-9a-f]{0,8}:?.{0,80}") {
            let vault = Vault::new(vec![key(1)]);
            let _ = vault.open(PLACE, &stored);
            let _ = vault.open(PLACE, &format!("{PREFIX}{}:{stored}", key(1).id()));
        }
    }
}
