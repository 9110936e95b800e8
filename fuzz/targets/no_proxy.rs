//! See `farrier::fuzzing::no_proxy`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| farrier::fuzzing::no_proxy(bytes));
