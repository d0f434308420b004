//! The gated delta rule and its convolution against plain arithmetic in f64.
#![allow(clippy::unwrap_used)]

use cortex_kernels::{DeltaSequence, GatedDelta, KernelError, Pool, causal_convolution};

const SHAPE: GatedDelta = GatedDelta {
    key_heads: 2,
    value_heads: 6,
    key_dim: 8,
    value_dim: 20,
};

fn randoms(seed: u64, len: usize) -> Vec<f32> {
    let mut seed = seed;
    let next = |_| {
        seed = seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (seed >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..len).map(next).collect()
}

struct Input {
    rows: Vec<f32>,
    correction: Vec<f32>,
    decay: Vec<f32>,
}

fn input(tokens: usize) -> Input {
    let half = |x: &f32| 0.5 + x / 2.5;
    let heads = tokens * SHAPE.value_heads;
    Input {
        rows: randoms(1, tokens * SHAPE.width()),
        correction: randoms(2, heads).iter().map(half).collect(),
        decay: randoms(3, heads).iter().map(half).collect(),
    }
}

/// One sequence in f64: outputs and the state at the end.
fn plain(input: &Input, state: &[f32]) -> (Vec<f64>, Vec<f64>) {
    let GatedDelta {
        key_heads,
        value_heads,
        key_dim,
        value_dim,
    } = SHAPE;
    let mut state: Vec<f64> = state.iter().map(|x| f64::from(*x)).collect();
    let mut out = Vec::new();
    for (token, row) in input.rows.chunks_exact(SHAPE.width()).enumerate() {
        let row: Vec<f64> = row.iter().map(|x| f64::from(*x)).collect();
        for head in 0..value_heads {
            let key_head = head / (value_heads / key_heads);
            let unit = |x: &[f64]| -> Vec<f64> {
                let length = (x.iter().map(|x| x * x).sum::<f64>() + 1e-6).sqrt();
                x.iter().map(|x| x / length).collect()
            };
            let query = unit(&row[key_head * key_dim..][..key_dim]);
            let key = unit(&row[(key_heads + key_head) * key_dim..][..key_dim]);
            let value = &row[2 * key_heads * key_dim + head * value_dim..][..value_dim];
            let place = token * value_heads + head;
            let (decay, correction) = (input.decay[place], input.correction[place]);
            let own = &mut state[head * key_dim * value_dim..][..key_dim * value_dim];
            for cell in own.iter_mut() {
                *cell *= f64::from(decay);
            }
            for j in 0..value_dim {
                let known: f64 = (0..key_dim).map(|i| own[i * value_dim + j] * key[i]).sum();
                let change = (value[j] - known) * f64::from(correction);
                for i in 0..key_dim {
                    own[i * value_dim + j] += key[i] * change;
                }
                let answer: f64 = (0..key_dim)
                    .map(|i| own[i * value_dim + j] * query[i])
                    .sum();
                out.push(answer / (key_dim as f64).sqrt());
            }
        }
    }
    (out, state)
}

fn off(found: &[f32], expected: &[f64]) -> f64 {
    assert_eq!(found.len(), expected.len());
    let pairs = found.iter().zip(expected);
    pairs.fold(0.0, |worst, (a, b)| worst.max((f64::from(*a) - b).abs()))
}

/// The tokens cut into sequences of these lengths, all in one call with `states`.
fn run(threads: usize, input: &Input, lengths: &[usize], states: &mut [Vec<f32>]) -> Vec<f32> {
    let mut rows = input.rows.clone();
    let mut out = vec![f32::NAN; input.correction.len() * SHAPE.value_dim];
    let mut start = 0;
    let sequences = lengths.iter().zip(states).map(|(&len, state)| {
        start += len;
        DeltaSequence {
            start: start - len,
            len,
            state,
        }
    });
    let mut sequences: Vec<_> = sequences.collect();
    let gates = (input.correction.as_slice(), input.decay.as_slice());
    SHAPE
        .run(
            &Pool::new(threads),
            &mut rows,
            gates,
            &mut sequences,
            &mut out,
        )
        .unwrap();
    out
}

#[test]
fn a_state_forgets_is_corrected_and_answers() {
    let input = input(70);
    let start = randoms(4, SHAPE.state_len());
    let (expected, end) = plain(&input, &start);
    let mut states = [start];
    let out = run(2, &input, &[70], &mut states);
    assert!(off(&out, &expected) < 3e-6);
    assert!(off(&states[0], &end) < 3e-6);
}

#[test]
fn it_does_not_matter_how_tokens_are_cut_into_steps_nor_who_else_is_there() {
    let whole = input(40);
    let mut states = [vec![0.0; SHAPE.state_len()]];
    let expected = run(1, &whole, &[40], &mut states);
    let part = |from: usize, to: usize| {
        let heads = SHAPE.value_heads;
        Input {
            rows: whole.rows[from * SHAPE.width()..to * SHAPE.width()].to_vec(),
            correction: whole.correction[from * heads..to * heads].to_vec(),
            decay: whole.decay[from * heads..to * heads].to_vec(),
        }
    };
    let mut state = [vec![0.0; SHAPE.state_len()]];
    let mut out = Vec::new();
    for (from, to) in [(0, 7), (7, 8), (8, 39), (39, 40)] {
        out.extend(run(2, &part(from, to), &[to - from], &mut state));
    }
    assert_eq!(out, expected);
    assert_eq!(state, states);
    let mut two = [vec![0.0; SHAPE.state_len()], randoms(5, SHAPE.state_len())];
    let together = run(2, &whole, &[25, 15], &mut two);
    assert_eq!(together[..25 * 120], expected[..25 * 120]);
}

#[test]
fn a_convolution_sees_the_tokens_before_also_those_of_the_last_step() {
    let (channels, kernel, tokens) = (5, 4, 9);
    let (x, weights) = (randoms(6, tokens * channels), randoms(7, kernel * channels));
    let mut expected = Vec::new();
    for token in 0..tokens {
        for channel in 0..channels {
            let sum: f64 = (0..kernel)
                .filter_map(|i| {
                    let at = (token + i + 1).checked_sub(kernel)?;
                    let pair = (x[at * channels + channel], weights[i * channels + channel]);
                    Some(f64::from(pair.0) * f64::from(pair.1))
                })
                .sum();
            expected.push(sum / (1.0 + (-sum).exp()));
        }
    }
    let mut history = vec![0.0; (kernel - 1) * channels];
    let mut found = Vec::new();
    for (from, to) in [(0, 1), (1, 6), (6, 8), (8, 9)] {
        let mut part = x[from * channels..to * channels].to_vec();
        causal_convolution(&mut part, &weights, channels, &mut history).unwrap();
        found.extend(part);
    }
    assert!(off(&found, &expected) < 1e-6);
    assert_eq!(history, x[6 * channels..]);
}

#[test]
fn what_does_not_fit_is_refused() {
    let input = input(4);
    let run = |start, len, state: &mut [f32], decay: &[f32]| {
        let (mut rows, mut out) = (input.rows.clone(), vec![0.0; 4 * 120]);
        let mut sequences = [DeltaSequence { start, len, state }];
        let gates = (input.correction.as_slice(), decay);
        SHAPE.run(&Pool::new(1), &mut rows, gates, &mut sequences, &mut out)
    };
    let mut state = vec![0.0; SHAPE.state_len()];
    assert!(run(0, 4, &mut state, &input.decay).is_ok());
    assert!(matches!(
        run(1, 4, &mut state, &input.decay),
        Err(KernelError::OutOfRange { .. })
    ));
    assert!(run(0, 4, &mut state[1..], &input.decay).is_err());
    assert!(run(0, 4, &mut state, &input.decay[1..]).is_err());
    assert!(causal_convolution(&mut [0.0; 4], &[0.0; 4], 2, &mut [0.0; 4]).is_err());
    assert!(causal_convolution(&mut [0.0; 4], &[], 2, &mut []).is_err());
}
