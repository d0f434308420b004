//! How often each token has occurred, for the penalties of one request.

use std::collections::HashMap;

use crate::SamplingParams;

/// How often each token has occurred, kept only for requests whose penalties need it.
#[derive(Debug, Clone, Default)]
pub struct TokenCounts {
    /// Generated occurrences; prompt tokens are there with what was generated of them, so perhaps 0.
    seen: HashMap<u32, u32>,
}

impl TokenCounts {
    /// Counts for a request, or `None` when no penalty needs them.
    pub fn for_request(params: &SamplingParams, prompt: &[u32]) -> Option<Self> {
        let repetition = params.repetition_penalty.to_bits() != 1.0_f32.to_bits();
        if !repetition && params.frequency_penalty == 0.0 && params.presence_penalty == 0.0 {
            return None;
        }
        let mut counts = Self::default();
        if repetition {
            counts.seen.extend(prompt.iter().map(|&token| (token, 0)));
        }
        Some(counts)
    }

    /// A token was generated.
    pub fn add(&mut self, token: u32) {
        *self.seen.entry(token).or_insert(0) += 1;
    }

    /// Apply repetition, frequency and presence penalties; costs what has occurred, not the vocabulary.
    pub fn penalise(&self, params: &SamplingParams, logits: &mut [f32]) {
        for (&token, &count) in &self.seen {
            let Some(logit) = logits.get_mut(token as usize) else {
                continue;
            };
            if *logit > 0.0 {
                *logit /= params.repetition_penalty;
            } else {
                *logit *= params.repetition_penalty;
            }
            if count > 0 {
                *logit -= params.frequency_penalty * count as f32 + params.presence_penalty;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::float_cmp)]
    use super::*;

    #[test]
    fn penalties_count_generated_tokens_and_repetition_also_the_prompt() {
        let params = SamplingParams {
            temperature: 0.0,
            frequency_penalty: 0.6,
            presence_penalty: 0.5,
            repetition_penalty: 2.0,
            ..SamplingParams::default()
        };
        let mut counts = TokenCounts::for_request(&params, &[0]).unwrap();
        counts.add(1);
        counts.add(1);
        let mut logits = [4.0, 4.0, 4.0, -4.0];
        counts.penalise(&params, &mut logits);
        assert_eq!(logits[0], 2.0);
        assert!((logits[1] - (2.0 - 1.2 - 0.5)).abs() < 1e-6);
        assert_eq!(logits[2..], [4.0, -4.0]);
        assert!(TokenCounts::for_request(&SamplingParams::default(), &[0]).is_none());
    }
}
