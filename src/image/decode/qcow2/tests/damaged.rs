//! Images with random damage: nothing may panic, and what is decoded is written wholly and once.

use std::sync::LazyLock;

use farrier_testbed::qemu_img::Qcow2;
use proptest::prelude::*;
use proptest::sample::Index;

use super::super::header::Header;
use super::super::memory::{decode_other, fuzz};
use super::builder::text;

/// Some real images, small enough for damage to hit what matters.
static IMAGES: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let dir = tempfile::tempdir().unwrap();
    let options = [
        "cluster_size=512,compat=0.10",
        "cluster_size=4096,compression_type=zstd",
        "cluster_size=16384,extended_l2=on",
        "cluster_size=65536",
    ];
    let path = dir.path().join("image.qcow2");
    let content = dir.path().join("content");
    std::fs::write(&content, text(65536)).unwrap();
    let content = content.display();
    let commands = [format!("write -q -c -s {content} 0 64k"), format!("write -q -s {content} 200k 5k")];
    let make = |options: &&str| {
        let image = Qcow2::create(&path, options, 300 << 10).unwrap();
        image.io(&commands).unwrap();
        image.snapshot("s").unwrap();
        image.bytes().unwrap()
    };
    options.iter().map(make).collect()
});

#[derive(Clone, Copy, Debug)]
enum Damage {
    Byte(u8),
    Bit(u8),
    Number(u64),
}

fn damage() -> impl Strategy<Value = Damage> {
    prop_oneof![
        any::<u8>().prop_map(Damage::Byte),
        (0..8_u8).prop_map(Damage::Bit),
        prop_oneof![Just(0), Just(u64::MAX), 0..20_u64, any::<u64>()].prop_map(Damage::Number),
        (0..40_u64, 9..17_u32).prop_map(|(number, bits)| Damage::Number(number << bits)),
    ]
}

/// Does damage where it hurts: to the header, or to a place that is no zero, which tables are few of.
fn damage_image(image: &mut [u8], place: Index, in_header: bool, damage: Damage) {
    let at = if in_header {
        place.index(112)
    } else {
        let used: Vec<_> = (0..image.len()).filter(|at| image[*at] != 0).collect();
        used[place.index(used.len())]
    };
    match damage {
        Damage::Byte(byte) => image[at] = byte,
        Damage::Bit(bit) => image[at] ^= 1 << bit,
        Damage::Number(number) => {
            let at = at / 8 * 8;
            image[at..at + 8].copy_from_slice(&number.to_be_bytes());
        }
    }
}

proptest! {
    #[test]
    fn damaged_images(
        image in any::<Index>(),
        damages in prop::collection::vec((any::<Index>(), any::<bool>(), damage()), 1..4),
        cut in prop::option::weighted(0.1, any::<Index>()),
        is_length_known in any::<bool>(),
    ) {
        let mut file = image.get(&IMAGES).clone();
        for (place, in_header, damage) in damages {
            damage_image(&mut file, place, in_header, damage);
        }
        file.truncate(cut.map_or(file.len(), |cut| cut.index(file.len())));
        let length = is_length_known.then_some(file.len() as u64);
        let _ = decode_other(&file, &file, length, &[1000, 100_000]);
    }

    #[test]
    fn anything(mut bytes in prop::collection::vec(any::<u8>(), 0..2000), version in 2..=3_u8) {
        let _ = Header::parse(&bytes);
        fuzz(&bytes);
        let prefix = [b'Q', b'F', b'I', 0xfb, 0, 0, 0, version];
        bytes.splice(..bytes.len().min(8), prefix);
        let _ = Header::parse(&bytes);
        fuzz(&bytes);
    }
}
