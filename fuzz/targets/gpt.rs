//! See `farrier::fuzzing::gpt`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| farrier::fuzzing::gpt(bytes));
