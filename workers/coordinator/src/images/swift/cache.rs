//! Which URL is handed out: the one that was, or a new one. Pure: the store keeps them.

use std::time::Duration;

use chrono::{DateTime, Utc};
use farrier::wire::SwiftObject;
use hmac::{Hmac, KeyInit as _, Mac as _};
use secrecy::ExposeSecret as _;
use sha2::Sha256;

use super::config::Glance;

/// A URL that is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// Now, in microseconds since 1970.
    pub now: i64,
    /// For how many seconds it must still be good.
    pub start_delay: i64,
    /// It must run out later than this, in seconds since 1970: one that did then has been refused.
    pub later_than: Option<i64>,
}

impl Terms {
    /// Whether a URL that runs out at `expires_at`, in seconds since 1970, may be handed out again. One that has exactly the delay to
    /// live may.
    #[must_use]
    pub fn allow(&self, expires_at: i64) -> bool {
        let begins = self.now.saturating_add(self.start_delay.saturating_mul(1_000_000));
        let lives = expires_at.saturating_mul(1_000_000) >= begins;
        lives && self.later_than.is_none_or(|refused| expires_at > refused)
    }
}

/// When a URL that is made now runs out, in seconds since 1970: rounded up, so that it is good for the whole duration.
#[must_use]
pub fn runs_out_at(now: DateTime<Utc>, duration: Duration) -> i64 {
    let began = now.timestamp().saturating_add(i64::from(now.timestamp_subsec_nanos() > 0));
    began.saturating_add(i64::try_from(duration.as_secs()).unwrap_or(i64::MAX))
}

/// What a URL is of, and how it is signed: two URLs are of the same only when nothing of that has changed. It tells nothing of the
/// key, for it is an HMAC by it.
pub(super) fn fingerprint(glance: &Glance, object: &SwiftObject, etag: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(glance.key.expose_secret().as_bytes())
        .expect("an HMAC takes a key of any length");
    for part in [
        "farrier temporary URL",
        &glance.agents_endpoint,
        &glance.api_version,
        &glance.account,
        object.container(),
        object.object(),
        glance.digest.as_str(),
        etag,
    ] {
        // With its length before it, no part runs into the next.
        mac.update(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        mac.update(part.as_bytes());
    }
    hex::encode(mac.finalize().into_bytes())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::images::swift::config::GlanceSettings;

    fn glance(key: &str, endpoint: &str, account: &str, digest: &str) -> Glance {
        let text = format!(
            "swift_temp_url_key = {key:?}\nswift_endpoint_url = {endpoint:?}\nswift_account = {account:?}\nswift_temp_url_digest_algorithm = {digest:?}"
        );
        toml::from_str::<GlanceSettings>(&text).unwrap().check().unwrap()
    }

    #[test]
    fn whatever_changes_makes_another_fingerprint() {
        let object = |container, object| SwiftObject::new(container, object).unwrap();
        let (plain, image) = (glance("k", "http://h", "a", "sha256"), object("c", "o"));
        let first = fingerprint(&plain, &image, "e");
        assert_eq!(first, fingerprint(&glance("k", "http://h/", "a", "sha256"), &image, "e"));
        for other in [
            fingerprint(&glance("l", "http://h", "a", "sha256"), &image, "e"),
            fingerprint(&glance("k", "http://i", "a", "sha256"), &image, "e"),
            fingerprint(&glance("k", "http://h", "b", "sha256"), &image, "e"),
            fingerprint(&glance("k", "http://h", "a", "sha512"), &image, "e"),
            fingerprint(&plain, &object("c", "oe"), ""),
            fingerprint(&plain, &object("co", "e"), ""),
            fingerprint(&plain, &image, "f"),
        ] {
            assert_ne!(first, other);
        }
    }

    #[test]
    fn the_last_moment_is_kept() {
        let terms = |micros: i64| Terms { now: 1_000_000_000 + micros, start_delay: 10, later_than: None };
        assert!(terms(0).allow(1010));
        assert!(!terms(1).allow(1010));
        assert!(terms(1).allow(1011));
        let refused = |at| Terms { later_than: Some(at), ..terms(0) };
        assert!(refused(2000).allow(2001) && !refused(2000).allow(2000));
    }

    proptest! {
        #[test]
        fn a_new_url_is_good_for_its_whole_duration(
            micros in 0..4_000_000_000_000_000_i64, duration in 1..=315_360_000_u64, delay in 0..=315_360_000_i64
        ) {
            let now = DateTime::from_timestamp_micros(micros).unwrap();
            let expires_at = runs_out_at(now, Duration::from_secs(duration));
            let lives = expires_at * 1_000_000 - micros - i64::try_from(duration).unwrap() * 1_000_000;
            prop_assert!((0..1_000_000).contains(&lives), "{}", lives);
            let terms = Terms { now: micros, start_delay: delay, later_than: None };
            if u64::try_from(delay).unwrap() <= duration {
                prop_assert!(terms.allow(expires_at), "what is new can be handed out");
            }
        }

        #[test]
        fn what_is_allowed_lives_at_least_the_delay(
            now: i64, start_delay in 0..=i64::MAX, expires_at: i64, later_than: Option<i64>
        ) {
            let terms = Terms { now, start_delay, later_than };
            let lives = i128::from(expires_at) * 1_000_000 - i128::from(now);
            let enough = lives >= i128::from(start_delay) * 1_000_000;
            let fresh = later_than.is_none_or(|refused| expires_at > refused);
            // Where the numbers do not fit any clock the answer may be anything, but there must be one.
            if i64::try_from(i128::from(expires_at) * 1_000_000).is_ok()
                && i64::try_from(i128::from(start_delay) * 1_000_000 + i128::from(now)).is_ok()
            {
                prop_assert_eq!(terms.allow(expires_at), enough && fresh);
            } else {
                let _ = terms.allow(expires_at);
            }
        }
    }
}
