//! What is in the images: the same in every run.

use rand::{Rng as _, RngExt as _, SeedableRng as _, rngs::SmallRng};

const SEED: u64 = 0x6661_7272_6965_7232;
/// Content is made once and repeated: at a distance that no compressor here looks back.
const UNIT_BYTES: usize = 32 << 20;
const WORDS: usize = 4096;

/// Bytes that nothing can compress.
pub(super) fn noise() -> Vec<u8> {
    let mut unit = vec![0; UNIT_BYTES];
    SmallRng::seed_from_u64(SEED).fill_bytes(&mut unit);
    unit
}

/// Bytes that compress as the files of an operating system do, to somewhat less than half: words, of which few are frequent, and
/// noise in between.
pub(super) fn files() -> Vec<u8> {
    let mut rng = SmallRng::seed_from_u64(SEED);
    let words: Vec<Vec<u8>> = (0..WORDS)
        .map(|_| {
            let mut word = vec![0; rng.random_range(3..12)];
            rng.fill_bytes(&mut word);
            word
        })
        .collect();
    let mut unit = Vec::with_capacity(UNIT_BYTES + 16);
    while unit.len() < UNIT_BYTES {
        let frequent = rng.random_range(0..WORDS).min(rng.random_range(0..WORDS));
        unit.extend_from_slice(&words[frequent]);
        unit.push(rng.random());
    }
    unit.truncate(UNIT_BYTES);
    unit
}
