//! The tokens that may come next, a bit each.

use llguidance::toktrie::SimpleVob;

/// One bit for each id of the vocabulary.
#[derive(Debug, Clone)]
pub(crate) struct TokenMask(SimpleVob);

impl TokenMask {
    pub fn new(bits: SimpleVob) -> Self {
        Self(bits)
    }

    /// Take away the chance of every token that is not allowed; ids beyond the mask are not allowed.
    pub fn apply(&self, logits: &mut [f32]) {
        let words = self.0.as_slice();
        for (number, chunk) in logits.chunks_mut(32).enumerate() {
            match words.get(number).copied().unwrap_or(0) {
                u32::MAX => {}
                0 => chunk.fill(f32::NEG_INFINITY),
                word => {
                    for (bit, logit) in chunk.iter_mut().enumerate() {
                        if word >> bit & 1 == 0 {
                            *logit = f32::NEG_INFINITY;
                        }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_allowed_keeps_its_logit() {
        let mut bits = SimpleVob::alloc(70);
        for token in (32..64).chain([3, 65]) {
            bits.allow_token(token);
        }
        let mut logits = [1.0; 100];
        TokenMask::new(bits).apply(&mut logits);
        let kept: Vec<usize> = (0..100).filter(|&id| logits[id] == 1.0).collect();
        assert!(
            kept.into_iter()
                .eq([3].into_iter().chain(32..64).chain([65]))
        );
    }
}
