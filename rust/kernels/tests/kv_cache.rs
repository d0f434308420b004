//! Writing keys and values into the paged cache.
#![allow(clippy::unwrap_used)]

use std::collections::HashMap;

use cortex_kernels::{KernelError, KvLayout, kv_write};
use proptest::prelude::*;

/// A layout, blocks of the cache, and slots to write.
fn cases() -> impl Strategy<Value = (KvLayout, usize, Vec<u32>)> {
    (1..6usize, 1..4usize, 1..7usize, 1..5usize).prop_flat_map(
        |(block_size, kv_heads, head_dim, blocks)| {
            let layout = KvLayout {
                block_size,
                kv_heads,
                head_dim,
                shared: None,
            };
            let slots = 0..(blocks * block_size) as u32;
            (
                Just(layout),
                Just(blocks),
                prop::collection::vec(slots, 0..12),
            )
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn each_slot_has_what_was_written_last_and_no_other_changes((layout, blocks, slots) in cases()) {
        let KvLayout { block_size, kv_heads, head_dim, .. } = layout;
        let width = kv_heads * head_dim;
        let mut keys = vec![-1.0; blocks * block_size * width];
        let mut values = vec![-2.0; keys.len()];
        let k: Vec<f32> = (0..slots.len() * width).map(|i| i as f32).collect();
        let v: Vec<f32> = k.iter().map(|k| k + 0.5).collect();
        kv_write(&layout, &mut keys, &mut values, &k, &v, &slots).unwrap();
        let last: HashMap<usize, usize> = slots.iter().enumerate().map(|(row, slot)| (*slot as usize, row)).collect();
        for slot in 0..blocks * block_size {
            let (block, place) = (slot / block_size, slot % block_size);
            for (head, i) in (0..kv_heads).flat_map(|head| (0..head_dim).map(move |i| (head, i))) {
                let start = (block * kv_heads + head) * head_dim * block_size;
                let found = (keys[start + i * block_size + place], values[start + place * head_dim + i]);
                let expected = last.get(&slot).map_or((-1.0, -2.0), |row| {
                    let at = row * width + head * head_dim + i;
                    (k[at], v[at])
                });
                prop_assert_eq!(found, expected);
            }
        }
    }
}

#[test]
fn what_does_not_fit_is_refused_and_nothing_is_written() {
    let layout = KvLayout {
        block_size: 2,
        kv_heads: 1,
        head_dim: 3,
        shared: None,
    };
    let write = |layout: &KvLayout,
                 (k_cache, v_cache, k, v): (usize, usize, usize, usize),
                 slots: &[u32]| {
        let (mut keys, mut values) = (vec![7.0; k_cache], vec![7.0; v_cache]);
        let (k, v) = (vec![1.0; k], vec![1.0; v]);
        let result = kv_write(layout, &mut keys, &mut values, &k, &v, slots);
        let clean = keys.iter().chain(&values).all(|cell| *cell == 7.0);
        assert!(result.is_ok() || clean);
        result
    };
    assert_eq!(write(&layout, (12, 12, 6, 6), &[3, 0]), Ok(()));
    let (what, index, len) = ("slot", 4, 4);
    let beyond = Err(KernelError::OutOfRange { what, index, len });
    assert_eq!(write(&layout, (12, 12, 6, 6), &[3, 4]), beyond);
    for sizes in [
        (12, 6, 6, 6),
        (11, 11, 6, 6),
        (12, 12, 5, 6),
        (12, 12, 6, 3),
    ] {
        assert!(write(&layout, sizes, &[3, 0]).is_err(), "{sizes:?}");
    }
    for (shared, sizes, sound) in [
        (2, (12, 0, 6, 0), true),
        (2, (12, 0, 6, 6), false),
        (2, (12, 12, 6, 0), false),
        (0, (12, 0, 6, 0), false),
        (4, (12, 0, 6, 0), false),
    ] {
        let layout = KvLayout {
            shared: Some(shared),
            ..layout
        };
        assert_eq!(
            write(&layout, sizes, &[3, 0]).is_ok(),
            sound,
            "{shared} {sizes:?}"
        );
    }
    let empty = KvLayout {
        block_size: 0,
        ..layout
    };
    assert!(write(&empty, (0, 0, 0, 0), &[]).is_err());
    let huge = KvLayout {
        kv_heads: usize::MAX,
        ..layout
    };
    assert!(write(&huge, (0, 0, 0, 0), &[]).is_err());
}
