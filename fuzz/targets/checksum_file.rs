//! See `farrier::fuzzing::checksum_file`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| farrier::fuzzing::checksum_file(bytes));
