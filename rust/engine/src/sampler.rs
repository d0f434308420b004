//! Choosing the next token from a row of logits; the outcome depends on the row, the request and the position only.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use crate::SamplingParams;
use crate::float::{exp_shifted, largest};
use crate::grammar::TokenMask;
use crate::token_counts::TokenCounts;

/// Top-k up to this size is found with a heap, above it by selection.
const HEAP_LIMIT: usize = 1024;

/// Why a row gives no token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SampleError {
    /// The logits are not numbers.
    #[error("the model produced logits that are not finite")]
    NotFinite,
    /// Grammar and forbidden tokens together leave nothing.
    #[error("the grammar and the request's other rules allow no token here")]
    NothingAllowed,
}

/// A token with its logit, later its weight (the probability before normalising).
#[derive(Debug, Clone, Copy, PartialEq)]
struct Candidate {
    weight: f32,
    id: u32,
}

impl Eq for Candidate {}

impl Ord for Candidate {
    /// The better candidate is the *smaller* one, so that a max-heap drops the worst; ties go to the lower id.
    fn cmp(&self, other: &Self) -> Ordering {
        other
            .weight
            .total_cmp(&self.weight)
            .then(self.id.cmp(&other.id))
    }
}

impl PartialOrd for Candidate {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Working memory of sampling, reused from row to row.
#[derive(Debug, Default)]
pub struct Sampler {
    logits: Vec<f32>,
    weights: Vec<f32>,
    candidates: Vec<Candidate>,
}

/// One row to sample from.
#[derive(Debug, Clone, Copy)]
pub struct Row<'a> {
    /// Raw logits over the vocabulary.
    pub logits: &'a [f32],
    /// What the request asked for.
    pub params: &'a SamplingParams,
    /// Seed of the request, drawn by the engine if it named none.
    pub seed: u64,
    /// Position that the token will have in the sequence.
    pub position: usize,
    /// Occurrences, where a penalty needs them.
    pub counts: Option<&'a TokenCounts>,
    /// What the grammar allows.
    pub mask: Option<&'a TokenMask>,
    /// Tokens that must not come out now.
    pub forbidden: [&'a [u32]; 2],
}

impl Row<'_> {
    /// Whether the logits are taken as they are.
    fn is_plain(&self) -> bool {
        self.counts.is_none()
            && self.mask.is_none()
            && self.params.logit_bias.is_empty()
            && self.forbidden.iter().all(|tokens| tokens.is_empty())
    }
}

impl Sampler {
    /// The next token: 1 biases, 2 penalties, 3 mask, 4 greedy or temperature, 5 top-k, 6 top-p, 7 min-p, 8 draw.
    ///
    /// # Errors
    /// `NotFinite` when the row holds NaN or infinity, `NothingAllowed` when the mask leaves nothing.
    pub fn sample(&mut self, row: &Row) -> Result<u32, SampleError> {
        if row.is_plain() {
            return self.choose(row.logits, row);
        }
        let mut logits = std::mem::take(&mut self.logits);
        logits.clear();
        logits.extend_from_slice(row.logits);
        let token = adjust(row, &mut logits).and_then(|()| self.choose(&logits, row));
        self.logits = logits;
        token
    }

    fn choose(&mut self, logits: &[f32], row: &Row) -> Result<u32, SampleError> {
        let max = largest(logits)
            .filter(|max| max.is_finite())
            .ok_or(SampleError::NotFinite)?;
        let params = row.params;
        if params.temperature <= 0.0 {
            let best = logits.iter().position(|&logit| logit >= max);
            return best.map(|id| id as u32).ok_or(SampleError::NotFinite);
        }
        let point = uniform(row.seed, row.position as u64);
        let inverse = 1.0 / params.temperature;
        let total = if let Some(k) = params.top_k.filter(|&k| k < logits.len()) {
            self.take_best(logits, k);
            for candidate in &mut self.candidates {
                candidate.weight = ((candidate.weight - max) * inverse).exp();
            }
            self.candidates.iter().map(|c| f64::from(c.weight)).sum()
        } else {
            exp_shifted(logits, max, inverse, &mut self.weights);
            let total = sum(&self.weights);
            if params.top_p >= 1.0 {
                return draw_from_all(&self.weights, params.min_p, point)
                    .ok_or(SampleError::NotFinite);
            }
            self.take_nucleus(total * f64::from(params.top_p));
            total
        };
        self.draw(params, total, point)
            .ok_or(SampleError::NotFinite)
    }

    /// The k best logits, best first.
    fn take_best(&mut self, logits: &[f32], k: usize) {
        let all = logits.iter().enumerate().map(|(id, &weight)| Candidate {
            weight,
            id: id as u32,
        });
        if k > HEAP_LIMIT {
            self.candidates.clear();
            self.candidates.extend(all);
            self.candidates.select_nth_unstable(k - 1);
            self.candidates.truncate(k);
            self.candidates.sort_unstable();
            return;
        }
        let mut heap = BinaryHeap::with_capacity(k + 1);
        let mut worst = f32::NEG_INFINITY;
        for candidate in all {
            if heap.len() == k && candidate.weight <= worst {
                continue;
            }
            heap.push(candidate);
            if heap.len() > k {
                heap.pop();
            }
            if heap.len() == k {
                worst = heap.peek().map_or(worst, |last| last.weight);
            }
        }
        self.candidates = heap.into_sorted_vec();
    }

    /// The candidates that together weigh `needed`, best first; sorts only what a falling threshold lets in.
    fn take_nucleus(&mut self, needed: f64) {
        let mut threshold = 1.0 / 256.0;
        loop {
            self.candidates.clear();
            let weights = self.weights.iter().enumerate();
            let above = weights.filter(|(_, weight)| **weight >= threshold);
            self.candidates.extend(above.map(|(id, &weight)| Candidate {
                weight,
                id: id as u32,
            }));
            let mass: f64 = self.candidates.iter().map(|c| f64::from(c.weight)).sum();
            if mass >= needed || threshold <= 0.0 {
                break;
            }
            threshold = if threshold > 1e-12 {
                threshold / 256.0
            } else {
                0.0
            };
        }
        self.candidates.sort_unstable();
    }

    /// Top-p and min-p over the sorted candidates, then the draw; the best weight is 1.
    fn draw(&self, params: &SamplingParams, total: f64, point: f64) -> Option<u32> {
        let needed = total * f64::from(params.top_p);
        let mut mass = 0.0;
        let mut kept = 0;
        for candidate in &self.candidates {
            if kept > 0 && (mass >= needed || candidate.weight < params.min_p) {
                break;
            }
            mass += f64::from(candidate.weight);
            kept += 1;
        }
        let mut left = point * mass;
        let kept = self.candidates.get(..kept)?;
        for candidate in kept {
            left -= f64::from(candidate.weight);
            if left < 0.0 {
                return Some(candidate.id);
            }
        }
        kept.last().map(|candidate| candidate.id)
    }
}

/// Biases, penalties and mask.
fn adjust(row: &Row, logits: &mut [f32]) -> Result<(), SampleError> {
    let broken = |logits: &[f32]| largest(logits).is_none_or(|max| !max.is_finite());
    if broken(logits) {
        return Err(SampleError::NotFinite);
    }
    for &(token, bias) in &row.params.logit_bias {
        if let Some(logit) = logits.get_mut(token as usize) {
            *logit += bias;
        }
    }
    if let Some(counts) = row.counts {
        counts.penalise(row.params, logits);
    }
    if let Some(mask) = row.mask {
        mask.apply(logits);
    }
    for &token in row.forbidden.into_iter().flatten() {
        if let Some(logit) = logits.get_mut(token as usize) {
            *logit = f32::NEG_INFINITY;
        }
    }
    if largest(logits) == Some(f32::NEG_INFINITY) {
        return Err(SampleError::NothingAllowed);
    }
    Ok(())
}

fn sum(weights: &[f32]) -> f64 {
    let parts = weights.chunks(64);
    parts.map(|part| f64::from(part.iter().sum::<f32>())).sum()
}

/// A draw over the whole vocabulary in the order of ids, without sorting.
fn draw_from_all(weights: &[f32], min_p: f32, point: f64) -> Option<u32> {
    let floor = min_p.max(f32::MIN_POSITIVE);
    let kept = || {
        weights
            .iter()
            .enumerate()
            .filter(|(_, weight)| **weight >= floor)
    };
    let total: f64 = kept().map(|(_, &weight)| f64::from(weight)).sum();
    let mut left = point * total;
    let mut last = None;
    for (id, &weight) in kept() {
        last = Some(id as u32);
        left -= f64::from(weight);
        if left < 0.0 {
            break;
        }
    }
    last
}

/// A number in [0, 1) from seed and position alone (two rounds of splitmix64).
fn uniform(seed: u64, position: u64) -> f64 {
    let mixed = splitmix(splitmix(seed) ^ position.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    (mixed >> 11) as f64 / (1_u64 << 53) as f64
}

/// One step of the splitmix64 generator (Steele, Lea and Flood, 2014).
pub(crate) fn splitmix(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn pick(logits: &[f32], params: &SamplingParams, seed: u64) -> u32 {
        let row = Row {
            logits,
            params,
            seed,
            position: 7,
            counts: None,
            mask: None,
            forbidden: [&[]; 2],
        };
        Sampler::default().sample(&row).unwrap()
    }

    fn spread(logits: &[f32], params: &SamplingParams) -> Vec<usize> {
        let mut hits = vec![0; logits.len()];
        for seed in 0..4000 {
            hits[pick(logits, params, seed) as usize] += 1;
        }
        hits
    }

    fn sampled() -> SamplingParams {
        SamplingParams::default()
    }

    const LOGITS: [f32; 5] = [1.0, 3.0, 2.0, 0.0, -50.0];

    #[test]
    fn greedy_takes_the_first_of_the_best() {
        assert_eq!(pick(&[0.0, 5.0, 5.0], &SamplingParams::greedy(1), 0), 1);
    }

    #[test]
    fn shares_follow_the_softmax_at_the_temperature() {
        for temperature in [0.5_f32, 1.0, 2.0] {
            let params = SamplingParams {
                temperature,
                ..sampled()
            };
            let hits = spread(&LOGITS, &params);
            let weights: Vec<f64> = LOGITS
                .iter()
                .map(|l| f64::from(l / temperature).exp())
                .collect();
            let total: f64 = weights.iter().sum();
            for (hit, weight) in hits.iter().zip(&weights) {
                let expected = weight / total * 4000.0;
                assert!((*hit as f64 - expected).abs() < 130.0, "{hits:?}");
            }
        }
    }

    #[test]
    fn top_k_top_p_and_min_p_cut_where_they_say() {
        let reached = |params: SamplingParams| -> Vec<usize> {
            let hits = spread(&LOGITS, &params);
            (0..5).filter(|&id| hits[id] > 0).collect()
        };
        assert_eq!(
            reached(SamplingParams {
                top_k: Some(2),
                ..sampled()
            }),
            [1, 2]
        );
        assert_eq!(
            reached(SamplingParams {
                top_p: 0.6,
                ..sampled()
            }),
            [1]
        );
        assert_eq!(
            reached(SamplingParams {
                top_p: 0.7,
                ..sampled()
            }),
            [1, 2]
        );
        assert_eq!(
            reached(SamplingParams {
                min_p: 0.1,
                ..sampled()
            }),
            [0, 1, 2]
        );
        assert_eq!(
            reached(SamplingParams {
                top_k: Some(3),
                top_p: 0.7,
                ..sampled()
            }),
            [1, 2]
        );
        assert_eq!(
            reached(SamplingParams {
                top_p: 0.999,
                min_p: 0.3,
                ..sampled()
            }),
            [1, 2]
        );
    }

    #[test]
    fn heap_and_selection_agree() {
        let logits: Vec<f32> = (0..5000)
            .map(|i| ((i * 7919) % 5003) as f32 / 100.0)
            .collect();
        let mut sampler = Sampler::default();
        sampler.take_best(&logits, HEAP_LIMIT);
        let heap = sampler.candidates.clone();
        sampler.take_best(&logits, HEAP_LIMIT + 1);
        assert_eq!(heap[..], sampler.candidates[..HEAP_LIMIT]);
    }

    #[test]
    fn nucleus_of_a_flat_row_is_complete() {
        let logits = vec![0.0; 3000];
        let params = SamplingParams {
            top_p: 0.5,
            ..sampled()
        };
        let most = (0..500)
            .map(|seed| pick(&logits, &params, seed))
            .max()
            .unwrap();
        assert!((1400..1500).contains(&most), "{most}");
    }

    #[test]
    fn forbidden_tokens_never_come_out_and_bad_rows_are_refused() {
        let params = SamplingParams::greedy(1);
        let row = |logits, forbidden: &'static [u32]| Row {
            logits,
            params: &params,
            seed: 0,
            position: 0,
            counts: None,
            mask: None,
            forbidden: [forbidden, &[]],
        };
        let mut sampler = Sampler::default();
        assert_eq!(sampler.sample(&row(&LOGITS, &[1])), Ok(2));
        assert_eq!(
            sampler.sample(&row(&[1.0, f32::NAN], &[])),
            Err(SampleError::NotFinite)
        );
        assert_eq!(
            sampler.sample(&row(&[1.0, f32::INFINITY], &[])),
            Err(SampleError::NotFinite)
        );
        assert_eq!(
            sampler.sample(&row(&[1.0], &[0])),
            Err(SampleError::NothingAllowed)
        );
    }

    #[test]
    fn a_bias_comes_before_the_penalties() {
        let mut params = SamplingParams::greedy(1);
        params.repetition_penalty = 2.0;
        let counts = TokenCounts::for_request(&params, &[3]).unwrap();
        let mut with_bias = |bias| {
            params.logit_bias = vec![(3, bias), (1, -100.0)];
            let row = Row {
                logits: &LOGITS,
                params: &params,
                seed: 0,
                position: 0,
                counts: Some(&counts),
                mask: None,
                forbidden: [&[]; 2],
            };
            Sampler::default().sample(&row).unwrap()
        };
        assert_eq!(with_bias(5.0), 3, "(0 + 5) / 2 is above 2");
        assert_eq!(with_bias(3.0), 2, "(0 + 3) / 2 is not");
    }
}
