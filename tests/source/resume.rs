//! Whatever breaks on the way, the bytes on the disk are those of the image.

use std::sync::LazyLock;
use std::time::Duration;

use farrier::image::{Connection, Image, Limits, Settings};
use farrier::wire::{Coded as _, ErrorCode};
use farrier_testbed::http::{Fault, FaultyServer, Request, Script, Validator};
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;
use tokio::runtime::Runtime;

use crate::lab::{body, digest_of, fetch, limits, sent};

const BYTES: usize = 200_000;

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().unwrap());

fn settings(tries: u32) -> Settings {
    let limits = Limits {
        connect: Duration::from_millis(200),
        stall: Duration::from_millis(100),
        tries,
        backoff_max: Duration::from_millis(5),
        ..limits()
    };
    Settings { limits, ..Settings::default() }
}

fn image(servers: &[&FaultyServer]) -> Image {
    let urls: Vec<_> = servers.iter().map(|server| server.url("image")).collect();
    Image { checksum: Some(digest_of(&body(BYTES))), ..crate::lab::image_at(&urls, Connection::default()) }
}

fn place() -> impl Strategy<Value = usize> {
    prop_oneof![0..BYTES, Just(0), Just(1), Just(BYTES - 1), Just(BYTES)]
}

/// What keeps the object as it is.
fn passing() -> impl Strategy<Value = Fault> {
    prop_oneof![
        8 => place().prop_map(Fault::CutAfter),
        1 => place().prop_map(Fault::StallAfter),
        1 => Just(Fault::Silence),
        2 => prop::sample::select(&[408_u16, 425, 429, 500, 502, 503][..]).prop_map(Fault::Status),
        1 => Just(Fault::RetryAfter(503, "0".to_owned())),
        1 => Just(Fault::RedirectTo("/elsewhere".to_owned())),
    ]
}

/// What makes it another one, or a lie.
fn lying() -> impl Strategy<Value = Fault> {
    prop_oneof![
        Just(Fault::NoRanges),
        Just(Fault::NoConditions),
        Just(Fault::NoContentLength),
        Just(Fault::Tag("\"other\"".to_owned())),
        (0..BYTES as u64 * 2).prop_map(Fault::ContentLength),
        (place(), place()).prop_map(|(from, to)| Fault::ContentRange(format!("bytes {from}-{to}/{BYTES}"))),
    ]
}

fn validator() -> impl Strategy<Value = Validator> {
    prop_oneof![
        Just(Validator::Tag("\"a\"".to_owned())),
        Just(Validator::Tag("W/\"a\"".to_owned())),
        Just(Validator::Modified("Sun, 01 Mar 2026 11:00:00 GMT".to_owned())),
        Just(Validator::None),
    ]
}

async fn server(faults: Vec<Fault>, validator: Validator) -> FaultyServer {
    FaultyServer::run(Script::new(body(BYTES), faults).with(validator)).await.unwrap()
}

fn then_nothing(mut faults: Vec<Fault>) -> Vec<Fault> {
    faults.push(Fault::Nothing);
    faults
}

/// Where each request begins, which is never before what has come.
fn starts(requests: &[Request]) -> Vec<usize> {
    let start = |range: &str| range.trim_start_matches("bytes=").trim_end_matches('-').parse().unwrap();
    sent(requests, "range").into_iter().map(|range| range.map_or(0, start)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, max_shrink_iters: 40, ..ProptestConfig::default() })]

    #[test]
    fn what_passes_costs_no_byte_twice(
        faults in prop::collection::vec(passing(), 0..6),
        validator in validator(),
    ) {
        RUNTIME.block_on(async {
            let server = server(then_nothing(faults.clone()), validator).await;
            let content = fetch(&image(&[&server]), &settings(20)).await;
            let content = content.map_err(|error| TestCaseError::fail(error.report().to_string()))?;
            prop_assert!(content == body(BYTES));
            let starts = starts(&server.requests());
            prop_assert!(starts.is_sorted(), "{starts:?}");
            let furthest = |fault: &Fault| match fault {
                Fault::CutAfter(end) | Fault::StallAfter(end) => *end,
                _ => 0,
            };
            // Every request begins where the furthest one before it has ended.
            let mut reached = 0;
            for (start, fault) in starts.iter().zip(faults.iter().chain([&Fault::Nothing])) {
                prop_assert_eq!(*start, reached, "{:?}", starts);
                reached = reached.max(furthest(fault));
            }
            Ok(())
        })?;
    }

    #[test]
    fn lies_are_found_out_or_do_no_harm(
        faults in prop::collection::vec(prop_oneof![passing(), lying()], 0..6),
        more in prop::collection::vec(prop_oneof![passing(), lying()], 0..6),
        validators in [validator(), validator()],
    ) {
        RUNTIME.block_on(async {
            let [first, second] = validators;
            let servers = [server(then_nothing(faults), first).await, server(then_nothing(more), second).await];
            match fetch(&image(&[&servers[0], &servers[1]]), &settings(20)).await {
                Ok(content) => prop_assert!(content == body(BYTES)),
                // The whole is fetched anew only so often, and one lie about the length is as good as the truth.
                Err(error) => prop_assert!(
                    matches!(
                        error.code(),
                        ErrorCode::HttpChanged
                            | ErrorCode::HttpTruncated
                            | ErrorCode::HttpStalled
                            | ErrorCode::DigestMismatch
                    ),
                    "{}", error.report()
                ),
            }
            Ok(())
        })?;
    }

    #[test]
    fn mirrors_take_over_from_each_other(
        faults in prop::collection::vec(passing(), 1..6),
        more in prop::collection::vec(passing(), 1..6),
        validators in [validator(), validator()],
    ) {
        RUNTIME.block_on(async {
            let [first, second] = validators;
            let servers = [server(then_nothing(faults), first).await, server(then_nothing(more), second).await];
            let content = fetch(&image(&[&servers[0], &servers[1]]), &settings(20)).await;
            let content = content.map_err(|error| TestCaseError::fail(error.report().to_string()))?;
            prop_assert!(content == body(BYTES));
            Ok(())
        })?;
    }
}

#[tokio::test]
async fn a_slow_server_is_not_a_silent_one() {
    // Every pause is much shorter than the patience, and all together are longer.
    let trickle = Fault::Trickle(BYTES / 40, Duration::from_millis(10));
    let server = server(vec![trickle], Validator::None).await;
    assert!(fetch(&image(&[&server]), &settings(1)).await.unwrap() == body(BYTES));
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn a_changed_object_is_fetched_from_its_beginning() {
    let faults = vec![Fault::CutAfter(100_000), Fault::Tag("\"new\"".to_owned()), Fault::Nothing];
    let server = server(faults, Validator::Tag("\"old\"".to_owned())).await;
    let content = fetch(&image(&[&server]), &settings(3)).await.unwrap();
    assert!(content == body(BYTES));
    assert_eq!(starts(&server.requests()), [0, 100_000, 0]);
}

#[tokio::test]
async fn without_a_digest_a_validator_is_needed_to_go_on() {
    let mut settings = settings(3);
    settings.policy.without_digest = true;
    for (validator, expected) in [(Validator::Tag("\"a\"".to_owned()), 100_000), (Validator::None, 0)] {
        let server = server(vec![Fault::CutAfter(100_000), Fault::Nothing], validator).await;
        let image = Image { checksum: None, ..image(&[&server]) };
        assert!(fetch(&image, &settings).await.unwrap() == body(BYTES));
        assert_eq!(starts(&server.requests()), [0, expected]);
    }
}

#[tokio::test]
async fn what_was_put_together_wrongly_is_fetched_from_one_place() {
    // A mirror with another image of the same length: only the digest can tell.
    let first = server(vec![Fault::CutAfter(100_000), Fault::Nothing], Validator::None).await;
    let other: Vec<u8> = body(BYTES).iter().map(|byte| !byte).collect();
    let second = FaultyServer::run(Script::new(other, vec![Fault::Nothing])).await.unwrap();
    let content = fetch(&image(&[&first, &second]), &settings(3)).await.unwrap();
    assert!(content == body(BYTES));
    assert_eq!((starts(&first.requests()), starts(&second.requests())), (vec![0, 0], vec![100_000]));
}

#[tokio::test]
async fn an_object_that_changes_again_and_again_is_given_up() {
    let changing = || [Fault::CutAfter(100_000), Fault::Tag("\"new\"".to_owned())];
    let faults = (0..10).flat_map(|_| changing()).collect();
    let server = server(faults, Validator::Tag("\"old\"".to_owned())).await;
    let error = fetch(&image(&[&server]), &settings(3)).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::HttpChanged);
    let starts = starts(&server.requests());
    assert!(starts.len() < 20 && starts.chunks(2).all(|pass| pass == [0, 100_000]), "{starts:?}");
}

#[tokio::test]
async fn a_server_that_always_breaks_at_the_same_byte_is_given_up() {
    let server = server(vec![Fault::CutAfter(100_000)], Validator::None).await;
    let error = fetch(&image(&[&server]), &settings(3)).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::HttpTruncated);
    assert_eq!(starts(&server.requests()), [0, 100_000, 100_000, 100_000]);
}
