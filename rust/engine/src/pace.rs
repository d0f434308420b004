//! Pace: how many prompt tokens a step may compute while sequences decode, so that their next tokens come in time.
//!
//! A step that computes `n` prompt tokens beside decodes takes about `d + n t`: `d` is what the last steps without
//! prompts took, `t` what a prompt token took. Both are moving means of what the steps of this engine really took, so
//! that a slow model, a long context and a busy machine all make chunks smaller.

/// Seconds that a step should not exceed while sequences decode.
const TARGET_SECONDS: f64 = 0.05;
/// Where decodes alone take long, prompts get as much time as they.
const DECODE_SHARE: f64 = 2.0;
/// Fewest prompt tokens of a step: with less, reading the weights would cost more than computing.
const LEAST_TOKENS: usize = 32;
/// And as many for each sequence that decodes, so that many of them do not hold up those that wait.
const TOKENS_BESIDE_ONE: usize = 2;
/// How much a new measurement counts.
const WEIGHT: f64 = 0.3;

/// What the steps took so far.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    /// Seconds of a step that only decodes.
    decode: Option<f64>,
    /// Seconds of a prompt token.
    token: Option<f64>,
    /// Sequences that the last step decoded.
    decoding: usize,
}

impl Pace {
    /// Most prompt tokens of the next step, if a sequence decodes in it.
    pub fn beside_decodes(&self) -> usize {
        let decode = self.decode.unwrap_or(0.0);
        let target = TARGET_SECONDS.max(decode * DECODE_SHARE);
        let fit = self.token.map_or(0.0, |token| (target - decode) / token);
        (fit as usize)
            .max(LEAST_TOKENS)
            .max(self.decoding * TOKENS_BESIDE_ONE)
    }

    /// A step with so many prompt tokens and decodes took this long.
    pub fn took(&mut self, seconds: f64, prompt_tokens: usize, decoding: usize) {
        self.decoding = decoding;
        if prompt_tokens == 0 {
            mean(&mut self.decode, seconds);
            return;
        }
        // A few tokens say little about one of many.
        if prompt_tokens >= LEAST_TOKENS / 2 {
            let decode = self.decode.filter(|_| decoding > 0).unwrap_or(0.0);
            let left = (seconds - decode).max(seconds / 8.0);
            mean(&mut self.token, left / prompt_tokens as f64);
        }
    }
}

fn mean(value: &mut Option<f64>, measured: f64) {
    let before = value.unwrap_or(measured);
    *value = Some(before + WEIGHT * (measured - before));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A machine whose decodes take `decode` seconds a step and whose prompt tokens take `token`; the tokens of the
    /// last of many steps beside `decoding` sequences, and what that took.
    fn settle(decode: f64, token: f64, decoding: usize) -> (usize, f64) {
        let mut pace = Pace::default();
        pace.took(decode, 0, decoding);
        let mut last = (0, 0.0);
        for _ in 0..50 {
            let tokens = pace.beside_decodes();
            let seconds = decode + token * tokens as f64;
            pace.took(seconds, tokens, decoding);
            last = (tokens, seconds);
        }
        last
    }

    #[test]
    fn a_step_beside_decodes_takes_about_the_target() {
        for (decode, token) in [(0.01, 0.0002), (0.02, 0.0005), (0.005, 0.001)] {
            let (_, seconds) = settle(decode, token, 8);
            assert!((0.045..=0.0501).contains(&seconds), "{seconds}");
        }
    }

    #[test]
    fn where_decodes_are_slow_prompts_get_as_much_time_as_they() {
        let (tokens, seconds) = settle(0.2, 0.002, 1);
        assert!((95..=100).contains(&tokens), "{tokens}");
        assert!((0.38..=0.4001).contains(&seconds), "{seconds}");
    }

    #[test]
    fn there_is_a_least_chunk_and_it_grows_with_the_sequences_that_decode() {
        assert_eq!(Pace::default().beside_decodes(), LEAST_TOKENS);
        assert_eq!(settle(0.01, 0.1, 1).0, LEAST_TOKENS);
        assert_eq!(settle(0.01, 0.1, 64).0, 128);
    }

    #[test]
    fn one_slow_step_does_not_stop_the_prompts_for_long() {
        let mut pace = Pace::default();
        pace.took(0.01, 0, 1);
        for _ in 0..20 {
            pace.took(0.05, 200, 1);
        }
        pace.took(1.0, 200, 1);
        assert!(pace.beside_decodes() < 100);
        for _ in 0..20 {
            pace.took(0.05, 200, 1);
        }
        assert!(pace.beside_decodes() > 150);
    }
}
