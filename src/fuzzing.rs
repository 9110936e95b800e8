//! Ways in for `fuzz/` and for the test that replays its inputs: each takes any bytes and must return.

