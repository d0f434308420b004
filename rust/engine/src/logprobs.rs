//! Log probabilities of tokens from a row of raw logits.

use crate::TokenLogprob;
use crate::float::{exp_shifted, largest};

/// What is said of a token that has no probability at all, since JSON knows no infinity.
const NONE: f32 = -9999.0;

/// Working memory, reused from row to row.
#[derive(Debug, Default)]
pub(crate) struct Scorer {
    weights: Vec<f32>,
}

impl Scorer {
    /// The log probability of `token` under the softmax of `logits`, and of the `top` best; a row that is not finite
    /// says nothing about any token.
    pub fn score(&mut self, logits: &[f32], token: u32, top: usize) -> TokenLogprob {
        let max = largest(logits).filter(|max| max.is_finite());
        let Some(max) = max else {
            return TokenLogprob {
                token,
                logprob: Some(NONE),
                top: Vec::new(),
            };
        };
        exp_shifted(logits, max, 1.0, &mut self.weights);
        let parts = self.weights.chunks(64);
        let total: f64 = parts.map(|part| f64::from(part.iter().sum::<f32>())).sum();
        let log_total = total.ln();
        let logprob = |logit: f32| {
            let logprob = (f64::from(logit - max) - log_total) as f32;
            logprob.max(NONE)
        };
        let own = logits.get(token as usize).map_or(NONE, |&own| logprob(own));
        let mut best = best(logits, top);
        for (_, value) in &mut best {
            *value = logprob(*value);
        }
        TokenLogprob {
            token,
            logprob: Some(own),
            top: best,
        }
    }
}

/// The `count` largest, the best first; ties go to the lower id.
fn best(logits: &[f32], count: usize) -> Vec<(u32, f32)> {
    let mut best: Vec<(u32, f32)> = Vec::with_capacity(count + 1);
    if count == 0 {
        return best;
    }
    let mut floor = f32::NEG_INFINITY;
    for (id, &logit) in logits.iter().enumerate() {
        if best.len() == count && logit <= floor {
            continue;
        }
        let place = best.partition_point(|&(_, other)| other >= logit);
        best.insert(place, (id as u32, logit));
        best.truncate(count);
        floor = best.last().map_or(floor, |&(_, last)| last);
    }
    best
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn probabilities_are_those_of_the_softmax_and_the_best_come_first() {
        let logits: Vec<f32> = (0..300).map(|i| ((i * 37) % 101) as f32 / 7.0).collect();
        let total: f64 = logits.iter().map(|&l| f64::from(l).exp()).sum();
        let exact = |id: u32| (f64::from(logits[id as usize]).exp() / total).ln();
        let scored = Scorer::default().score(&logits, 5, 20);
        assert!((f64::from(scored.logprob.unwrap()) - exact(5)).abs() < 1e-5);
        let mut ids: Vec<u32> = (0..300).collect();
        ids.sort_by(|&a, &b| {
            logits[b as usize]
                .total_cmp(&logits[a as usize])
                .then(a.cmp(&b))
        });
        let top: Vec<u32> = scored.top.iter().map(|&(id, _)| id).collect();
        assert_eq!(top, ids[..20]);
        for &(id, logprob) in &scored.top {
            assert!((f64::from(logprob) - exact(id)).abs() < 1e-5);
        }
        let same = Scorer::default().score(&logits, top[0], 1);
        assert_eq!(
            same.logprob,
            Some(same.top[0].1),
            "chosen and listed agree exactly"
        );
    }

    #[test]
    fn the_impossible_and_the_unasked() {
        let logits = [0.0, f32::NEG_INFINITY];
        let scored = Scorer::default().score(&logits, 1, 0);
        assert_eq!((scored.logprob, scored.top.len()), (Some(NONE), 0));
        let both = Scorer::default().score(&logits, 0, 5);
        assert_eq!(both.top, [(0, 0.0), (1, NONE)]);
        assert_eq!(
            Scorer::default().score(&[f32::NAN], 0, 1).logprob,
            Some(NONE)
        );
    }
}
