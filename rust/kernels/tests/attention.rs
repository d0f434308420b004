//! Paged attention against plain arithmetic over the same keys and values.
#![allow(clippy::unwrap_used)]

use cortex_kernels::{
    AttentionParameters, AttentionSequence, KvCell, KvLayout, Pool, kv_write, paged_attention,
};
use proptest::prelude::*;

/// One sequence: context and how many of its last tokens are queries.
type Lengths = (usize, usize);

struct Batch {
    layout: KvLayout,
    heads: usize,
    keys: Vec<f32>,
    values: Vec<f32>,
    queries: Vec<f32>,
    /// Block tables, and the lengths.
    sequences: Vec<(Vec<u32>, Lengths)>,
    /// Keys and values of each sequence in order: `[context, kv_heads, head_dim]`; keys again where they are shared.
    plain: Vec<(Vec<f32>, Vec<f32>)>,
}

fn random(seed: &mut u64) -> f32 {
    *seed = seed
        .wrapping_mul(6_364_136_223_846_793_005)
        .wrapping_add(1_442_695_040_888_963_407);
    (*seed >> 40) as f32 / (1 << 23) as f32 - 1.0
}

fn batch(layout: KvLayout, heads: usize, lengths: &[Lengths]) -> Batch {
    let mut seed = 3;
    let width = layout.kv_heads * layout.head_dim;
    let tables: Vec<usize> = lengths
        .iter()
        .map(|(context, _)| context.div_ceil(layout.block_size))
        .collect();
    let blocks: usize = tables.iter().sum::<usize>() + 1;
    // What no sequence has written must not matter.
    let mut keys = vec![f32::NAN; blocks * layout.block_size * width];
    let beside = layout.shared.is_none();
    let mut values = if beside { keys.clone() } else { Vec::new() };
    let mut free: Vec<u32> = (0..blocks as u32).collect();
    let (mut sequences, mut plain) = (Vec::new(), Vec::new());
    for (&(context, queries), &count) in lengths.iter().zip(&tables) {
        let step = (free.len() / 2).max(1);
        let table: Vec<u32> = (0..count)
            .map(|i| free.remove(i * step % free.len()))
            .collect();
        let k: Vec<f32> = (0..context * width).map(|_| random(&mut seed)).collect();
        let v = (0..context * width).map(|_| random(&mut seed));
        let v: Vec<f32> = v.filter(|_| beside).collect();
        let slots = (0..context).map(|position| {
            table[position / layout.block_size] * layout.block_size as u32
                + (position % layout.block_size) as u32
        });
        kv_write(
            &layout,
            &mut keys,
            &mut values,
            &k,
            &v,
            &slots.collect::<Vec<_>>(),
        )
        .unwrap();
        sequences.push((table, (context, queries)));
        plain.push(if beside { (k, v) } else { (k.clone(), k) });
    }
    let rows: usize = lengths.iter().map(|(_, queries)| queries).sum();
    let queries = (0..rows * heads * layout.head_dim)
        .map(|_| random(&mut seed) * 3.0)
        .collect();
    Batch {
        layout,
        heads,
        keys,
        values,
        queries,
        sequences,
        plain,
    }
}

fn parameters(
    heads: usize,
    window: Option<usize>,
    softcap: Option<f32>,
) -> AttentionParameters<'static> {
    AttentionParameters {
        heads,
        scale: 0.3,
        window,
        softcap,
        sinks: None,
    }
}

fn attend(batch: &Batch, threads: usize, window: Option<usize>, softcap: Option<f32>) -> Vec<f32> {
    attend_with(batch, threads, &parameters(batch.heads, window, softcap))
}

fn attend_with(batch: &Batch, threads: usize, parameters: &AttentionParameters<'_>) -> Vec<f32> {
    attend_over(batch, (&batch.keys, &batch.values), threads, parameters)
}

fn attend_over<T: KvCell>(
    batch: &Batch,
    (keys, values): (&[T], &[T]),
    threads: usize,
    parameters: &AttentionParameters<'_>,
) -> Vec<f32> {
    let mut row = 0;
    let sequences = batch
        .sequences
        .iter()
        .map(|(blocks, (context_len, query_len))| {
            let query_start = row;
            row += query_len;
            AttentionSequence {
                query_start,
                query_len: *query_len,
                context_len: *context_len,
                blocks,
            }
        });
    let sequences: Vec<_> = sequences.collect();
    let heads = batch.queries.len() / batch.layout.head_dim;
    let mut out = vec![f32::NAN; heads * batch.layout.value_dim()];
    let pool = Pool::new(threads);
    paged_attention(
        &pool,
        &batch.queries,
        keys,
        values,
        &batch.layout,
        &sequences,
        parameters,
        &mut out,
    )
    .unwrap();
    out
}

fn reference(batch: &Batch, parameters: &AttentionParameters<'_>) -> Vec<f64> {
    let AttentionParameters {
        window,
        softcap,
        sinks,
        ..
    } = *parameters;
    let (dim, kv_heads) = (batch.layout.head_dim, batch.layout.kv_heads);
    let (mut out, mut row) = (Vec::new(), 0);
    for ((_, (context, queries)), (keys, values)) in batch.sequences.iter().zip(&batch.plain) {
        for query in 0..*queries {
            let end = context - queries + query + 1;
            let start = window.map_or(0, |window| end.saturating_sub(window));
            for head in 0..batch.heads {
                let q = &batch.queries[(row * batch.heads + head) * dim..][..dim];
                let at =
                    |position: usize| (position * kv_heads + head / (batch.heads / kv_heads)) * dim;
                let scores = (start..end).map(|position| {
                    let products = q.iter().zip(&keys[at(position)..]);
                    let score: f64 = products
                        .map(|(q, k)| f64::from(*q) * f64::from(*k))
                        .sum::<f64>()
                        * 0.3;
                    let cap = softcap.map(f64::from);
                    cap.map_or(score, |cap| cap * (score / cap).tanh()).exp()
                });
                let weights: Vec<f64> = scores.collect();
                let sink = sinks.map_or(0.0, |sinks| f64::from(sinks[head]).exp());
                let total: f64 = weights.iter().sum::<f64>() + sink;
                for place in 0..batch.layout.value_dim() {
                    let terms = (start..end)
                        .zip(&weights)
                        .map(|(position, weight)| weight * f64::from(values[at(position) + place]));
                    out.push(terms.sum::<f64>() / total);
                }
            }
            row += 1;
        }
    }
    out
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn it_is_the_softmax_of_scores_over_values(
        lengths in prop::collection::vec((1..90usize, 1..40usize), 1..4),
        block_size in prop_oneof![Just(32usize), Just(16), Just(40), Just(5)],
        head_dim in prop_oneof![Just(64usize), Just(32), Just(72), Just(6)],
        (kv_heads, group) in (1..3usize, prop_oneof![1..4usize, 60..70usize]),
        shared in prop::option::of(1..7usize),
        window in prop::option::of(1..50usize),
        softcap in prop::option::of(Just(2.0f32)),
        sinks in prop::option::of(prop::collection::vec(-3.0..3.0f32, 140)),
    ) {
        let lengths: Vec<Lengths> = lengths.into_iter().map(|(context, queries)| (context, queries.min(context))).collect();
        let shared = shared.map(|sixths| head_dim * sixths / 6).filter(|shared| (1..=head_dim).contains(shared));
        let layout = KvLayout { block_size, kv_heads, head_dim, shared };
        let batch = batch(layout, kv_heads * group, &lengths);
        let parameters = AttentionParameters {
            sinks: sinks.as_deref().map(|sinks| &sinks[..batch.heads]),
            ..parameters(batch.heads, window, softcap)
        };
        let found = attend_with(&batch, 2, &parameters);
        for (found, expected) in found.iter().zip(reference(&batch, &parameters)) {
            prop_assert!((f64::from(*found) - expected).abs() < 1e-5, "{} instead of {}", found, expected);
        }
    }
}

#[test]
fn a_query_sees_the_same_alone_in_a_batch_and_in_chunks() {
    let layout = KvLayout {
        block_size: 32,
        kv_heads: 2,
        head_dim: 64,
        shared: None,
    };
    let whole = batch(layout, 6, &[(100, 100), (77, 1), (33, 20)]);
    let together = attend(&whole, 3, None, None);
    let width = 6 * 64;
    let mut row = 0;
    for (table, (context, queries)) in &whole.sequences {
        for query in 0..*queries {
            let end = context - queries + query + 1;
            let lone = [AttentionSequence {
                query_start: 0,
                query_len: 1,
                context_len: end,
                blocks: table,
            }];
            let q = &whole.queries[row * width..][..width];
            let mut out = vec![0.0; width];
            paged_attention(
                &Pool::new(1),
                q,
                &whole.keys,
                &whole.values,
                &layout,
                &lone,
                &parameters(6, None, None),
                &mut out,
            )
            .unwrap();
            assert_eq!(out, together[row * width..][..width], "row {row}");
            row += 1;
        }
    }
}

#[test]
fn threads_change_no_bit_whatever_the_window_and_the_group() {
    let cases = [
        (1, None, None),
        (2, Some(7), None),
        (5, Some(40), Some(24)),
        (70, None, Some(40)),
    ];
    for (group, window, shared) in cases {
        let layout = KvLayout {
            block_size: 16,
            kv_heads: 2,
            head_dim: 40,
            shared,
        };
        let batch = batch(layout, 2 * group, &[(70, 50), (33, 1), (5, 5)]);
        let expected = attend(&batch, 1, window, Some(3.0));
        assert!(expected.iter().all(|value| value.is_finite()));
        for threads in [2, 5] {
            assert_eq!(attend(&batch, threads, window, Some(3.0)), expected);
        }
    }
}

#[test]
fn scores_far_apart_leave_the_largest() {
    let layout = KvLayout {
        block_size: 16,
        kv_heads: 1,
        head_dim: 32,
        shared: None,
    };
    let mut batch = batch(layout, 1, &[(40, 1)]);
    batch.queries.fill(1e4);
    let largest = |keys: &[f32]| {
        let sums = keys
            .chunks_exact(32)
            .map(|key| key.iter().map(|k| f64::from(*k)).sum::<f64>());
        let sums: Vec<f64> = sums.collect();
        (0..sums.len())
            .max_by(|a, b| sums[*a].total_cmp(&sums[*b]))
            .unwrap()
    };
    let (keys, values) = &batch.plain[0];
    let expected = &values[largest(keys) * 32..][..32];
    assert_eq!(attend(&batch, 1, None, None), expected);
}

#[test]
fn what_does_not_exist_or_is_claimed_twice_is_refused() {
    let layout = KvLayout {
        block_size: 4,
        kv_heads: 1,
        head_dim: 4,
        shared: None,
    };
    let cache = vec![0.0; 32];
    let sequence = AttentionSequence {
        query_start: 0,
        query_len: 1,
        context_len: 5,
        blocks: &[0, 1],
    };
    let attend_in = |window, sequences: &[AttentionSequence<'_>]| {
        let mut out = [0.0; 8];
        paged_attention(
            &Pool::new(1),
            &[0.0; 8],
            &cache,
            &cache,
            &layout,
            sequences,
            &parameters(1, window, None),
            &mut out,
        )
    };
    let attend = |sequences: &[AttentionSequence<'_>]| attend_in(None, sequences);
    assert!(attend(&[sequence]).is_ok());
    let wrong = [
        AttentionSequence {
            query_start: 2,
            ..sequence
        },
        AttentionSequence {
            query_len: 6,
            context_len: 5,
            ..sequence
        },
        AttentionSequence {
            context_len: 9,
            ..sequence
        },
        AttentionSequence {
            blocks: &[0, 2],
            ..sequence
        },
    ];
    for sequence in wrong {
        assert!(attend(&[sequence]).is_err(), "{sequence:?}");
    }
    assert!(attend(&[sequence, sequence]).is_err());
    assert!(attend_in(Some(1), &[sequence]).is_ok());
    assert!(attend_in(Some(0), &[sequence]).is_err());
    let one_head = parameters(1, None, None);
    let two_sinks = AttentionParameters {
        sinks: Some(&[0.0; 2]),
        ..one_head
    };
    let mut out = [0.0; 8];
    let pool = Pool::new(1);
    let refused = paged_attention(
        &pool,
        &[0.0; 8],
        &cache,
        &cache,
        &layout,
        &[sequence],
        &two_sinks,
        &mut out,
    );
    assert!(refused.is_err());
}

#[test]
fn half_precision_cells_count_as_their_values() {
    let layout = KvLayout {
        block_size: 16,
        kv_heads: 2,
        head_dim: 20,
        shared: None,
    };
    let mut batch = batch(layout, 6, &[(50, 50), (33, 1), (7, 3)]);
    let halves = |cells: &[f32]| -> Vec<half::f16> {
        cells
            .iter()
            .map(|cell| half::f16::from_f32(*cell))
            .collect()
    };
    let (keys, values) = (halves(&batch.keys), halves(&batch.values));
    batch.keys = keys.iter().map(|cell| cell.to_f32()).collect();
    batch.values = values.iter().map(|cell| cell.to_f32()).collect();
    let parameters = parameters(batch.heads, None, None);
    let expected = attend_with(&batch, 2, &parameters);
    let found = attend_over(&batch, (&keys, &values), 2, &parameters);
    assert_eq!(found, expected);
}
