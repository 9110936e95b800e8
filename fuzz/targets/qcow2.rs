//! See `farrier::fuzzing::qcow2`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| farrier::fuzzing::qcow2(bytes));
