//! Temporary URLs in the store: two coordinators, a clock that jumps, and settings that change.

use std::collections::HashMap;
use std::time::Duration;

use chrono::DateTime;
use farrier_coordinator::images::swift::{Terms, runs_out_at};
use farrier_coordinator::store::{Handed, TempUrlEntry};
use proptest::prelude::*;
use proptest::test_runner::TestCaseResult;

use crate::lab::Lab;

/// 2026, in microseconds since 1970.
const BEGIN: i64 = 1_770_000_000_000_000;
/// What URLs are of: the object, the key and the endpoint all show as another fingerprint.
const FINGERPRINTS: [&str; 3] = ["one", "another key", "another object"];

/// One coordinator asks for a URL.
#[derive(Clone, Debug)]
struct Ask {
    coordinator: usize,
    fingerprint: usize,
    /// By how much the clock has moved since the last one: forwards, or a little back.
    moved: i64,
    duration: u32,
    /// At most the duration: the configuration allows no other.
    delay: u32,
    /// A URL that was refused.
    fresh: bool,
}

fn ask() -> impl Strategy<Value = Ask> {
    let seconds = prop_oneof![1..30_u32, 600..3600_u32];
    let moved = prop_oneof![Just(0), 0..5_000_000_i64, 0..3_000_000_000_i64, -2_000_000..0_i64];
    (
        0..2_usize,
        0..FINGERPRINTS.len(),
        moved,
        seconds,
        any::<prop::sample::Index>(),
        prop::bool::weighted(0.1),
    )
        .prop_map(|(coordinator, fingerprint, moved, duration, delay, fresh)| {
            let delay = u32::try_from(delay.index(usize::try_from(duration).unwrap() + 1)).unwrap();
            Ask { coordinator, fingerprint, moved, duration, delay, fresh }
        })
}

async fn check(asks: Vec<Ask>) -> TestCaseResult {
    let directory = tempfile::tempdir().unwrap();
    let database = directory.path().join("farrier.db");
    let coordinators = [Lab::at(&database).await, Lab::at(&database).await];
    // What must be handed out again, by fingerprint.
    let mut kept: HashMap<usize, TempUrlEntry> = HashMap::new();
    let mut now = BEGIN;
    for (number, ask) in asks.into_iter().enumerate() {
        now += ask.moved;
        let refused = kept.get(&ask.fingerprint).filter(|_| ask.fresh).map(|entry| entry.expires_at);
        let terms = Terms { now, start_delay: ask.delay.into(), later_than: refused };
        let duration = Duration::from_secs(ask.duration.into());
        let expires_at = runs_out_at(DateTime::from_timestamp_micros(now).unwrap(), duration);
        let new = TempUrlEntry { url: format!("http://swift/{}/{number}", ask.fingerprint), expires_at };
        let store = &coordinators[ask.coordinator].store;
        let handed = store.temp_url(FINGERPRINTS[ask.fingerprint], terms, new.clone()).await.unwrap();
        let (entry, again) = match handed {
            Handed::Again(entry) => (entry, true),
            Handed::New(entry) => (entry, false),
        };
        let lives = entry.expires_at * 1_000_000 - now;
        prop_assert!(
            lives >= i64::from(ask.delay) * 1_000_000,
            "{ask:?} was handed one that lives {lives} us"
        );
        let may = kept.get(&ask.fingerprint).filter(|entry| terms.allow(entry.expires_at));
        prop_assert_eq!(again, may.is_some(), "{:?}", ask);
        prop_assert_eq!(&entry, may.unwrap_or(&new), "{:?}", ask);
        kept.insert(ask.fingerprint, entry);
        // What has run out is deleted whenever something is written, so a clock that goes back does not find it again.
        if !again {
            kept.retain(|_, entry| entry.expires_at >= now.div_euclid(1_000_000));
        }
    }
    Ok(())
}

proptest! {
    // Every step is a commit that waits for the disk.
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn coordinators_hand_out_the_same_url_for_as_long_as_it_is_good(asks in prop::collection::vec(ask(), 1..24)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(check(asks))?;
    }
}

#[tokio::test]
async fn all_who_ask_at_once_and_after_a_restart_are_handed_the_same() {
    let directory = tempfile::tempdir().unwrap();
    let database = directory.path().join("farrier.db");
    let terms = Terms { now: BEGIN, start_delay: 60, later_than: None };
    let new =
        |number: usize| TempUrlEntry { url: format!("http://swift/{number}"), expires_at: 1_770_001_200 };
    let mut urls = Vec::new();
    {
        let coordinators = [Lab::at(&database).await, Lab::at(&database).await];
        let asked = (0..8).map(|number| {
            let store = coordinators[number % 2].store.clone();
            tokio::spawn(async move { store.temp_url("f", terms, new(number)).await.unwrap() })
        });
        for handed in asked.collect::<Vec<_>>() {
            urls.push(handed.await.unwrap());
        }
        for coordinator in coordinators {
            coordinator.store.close().await;
        }
    }
    let restarted = Lab::at(&database).await;
    urls.push(restarted.store.temp_url("f", terms, new(8)).await.unwrap());
    assert_eq!(urls.iter().filter(|handed| matches!(handed, Handed::New(_))).count(), 1, "{urls:?}");
    let mut different: Vec<_> = urls
        .into_iter()
        .map(|handed| match handed {
            Handed::Again(entry) | Handed::New(entry) => entry.url,
        })
        .collect();
    different.dedup();
    assert_eq!(different.len(), 1, "{different:?}");
    let fresh = Terms { later_than: Some(1_770_001_200), ..terms };
    let later = TempUrlEntry { url: "http://swift/9".to_owned(), expires_at: 1_770_001_201 };
    let handed = restarted.store.temp_url("f", fresh, later.clone()).await.unwrap();
    assert_eq!(handed, Handed::New(later.clone()), "the one that was refused is not handed out again");
    let second = restarted.store.temp_url("f", fresh, new(10)).await.unwrap();
    assert_eq!(second, Handed::Again(later), "and who was refused as well shares the fresh one");
    assert!(!format!("{second:?}").contains("http"), "a debug print must not show a URL");
}
