//! How rotary frequencies were stretched for long contexts.

use std::f64::consts::PI;

use super::super::description::invalid;
use crate::EngineError;

/// How the frequencies were stretched for long contexts.
#[derive(Debug, Clone, PartialEq)]
pub enum RopeScaling {
    /// As trained.
    None,
    /// All positions divided by a factor.
    Linear(f32),
    /// Llama 3.1: long waves are divided by a factor, short ones kept, a ramp between.
    Llama3(Llama3Scaling),
    /// A divisor for each pair, from the tensor `rope_freqs.weight`.
    Factors(Vec<f32>),
    /// `YaRN`: as Llama 3.1's with a ramp over pairs, and larger queries and keys.
    Yarn(YarnScaling),
    /// `LongRoPE`: a divisor for each pair, other ones for sequences beyond the original context.
    Long(LongScaling),
}

/// Parameters of Llama 3.1's scaling, named as in `config.json`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Llama3Scaling {
    /// Divisor of the long waves.
    pub factor: f32,
    /// Waves longer than `original_context / low_freq_factor` are long.
    pub low_freq_factor: f32,
    /// Waves shorter than `original_context / high_freq_factor` are short.
    pub high_freq_factor: f32,
    /// Context length before the stretching.
    pub original_context: f32,
}

/// Parameters of `YaRN` (Peng et al. 2023), named as in `config.json`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct YarnScaling {
    /// Divisor of the long waves.
    pub factor: f32,
    /// Context length before the stretching.
    pub original_context: f32,
    /// Waves that turn more often than this within the original context are kept.
    pub beta_fast: f32,
    /// Waves that turn less often than this are divided.
    pub beta_slow: f32,
    /// The ramp begins and ends at whole pairs.
    pub truncate: bool,
    /// Factor of rotated queries and keys.
    pub magnitude: f32,
}

/// Parameters of `LongRoPE` (Ding et al. 2024).
#[derive(Debug, Clone, PartialEq)]
pub struct LongScaling {
    /// A divisor for each pair, for sequences of the original context at most.
    pub short: Vec<f32>,
    /// The same for longer sequences.
    pub long: Vec<f32>,
    /// Context length before the stretching.
    pub original_context: usize,
    /// Factor of rotated queries and keys.
    pub magnitude: f32,
}

/// `YaRN`'s factor of queries and keys, for a stretch and a weight of it.
pub(crate) fn yarn_magnitude(factor: f32, weight: f32) -> f32 {
    if factor <= 1.0 {
        return 1.0;
    }
    0.1 * weight * factor.ln() + 1.0
}

/// `LongRoPE`'s factor of queries and keys for a stretch from the original context.
pub(crate) fn long_magnitude(factor: f32, original_context: usize) -> f32 {
    if factor <= 1.0 {
        return 1.0;
    }
    (1.0 + factor.ln() / (original_context as f32).ln()).sqrt()
}

impl Llama3Scaling {
    pub(super) fn check(&self) -> Result<(), EngineError> {
        positive("rope scaling factor", self.factor)?;
        positive("low_freq_factor", self.low_freq_factor)?;
        positive("original_max_position_embeddings", self.original_context)?;
        if self.high_freq_factor > self.low_freq_factor {
            return Ok(());
        }
        Err(invalid(
            "high_freq_factor must be above low_freq_factor".to_owned(),
        ))
    }

    pub(super) fn stretch(&self, frequency: f32) -> f32 {
        let wave = 2.0 * std::f32::consts::PI / frequency;
        if wave < self.original_context / self.high_freq_factor {
            return frequency;
        }
        if wave > self.original_context / self.low_freq_factor {
            return frequency / self.factor;
        }
        let span = self.high_freq_factor - self.low_freq_factor;
        let smooth = (self.original_context / wave - self.low_freq_factor) / span;
        (1.0 - smooth) * frequency / self.factor + smooth * frequency
    }
}

impl YarnScaling {
    pub(super) fn check(&self) -> Result<(), EngineError> {
        positive("rope scaling factor", self.factor)?;
        positive("original_max_position_embeddings", self.original_context)?;
        positive("beta_slow", self.beta_slow)?;
        positive("rope scaling's attention factor", self.magnitude)?;
        if self.beta_fast.is_finite() && self.beta_fast >= self.beta_slow {
            return Ok(());
        }
        Err(invalid("beta_fast must not be below beta_slow".to_owned()))
    }

    /// First and last pair of the ramp.
    pub(super) fn ramp(&self, dims: usize, theta: f32) -> (f64, f64) {
        let pair_of = |turns: f32| {
            let wave = f64::from(self.original_context) / (f64::from(turns) * 2.0 * PI);
            dims as f64 * wave.ln() / (2.0 * f64::from(theta).ln())
        };
        let (mut low, mut high) = (pair_of(self.beta_fast), pair_of(self.beta_slow));
        if self.truncate {
            (low, high) = (low.floor(), high.ceil());
        }
        (low.max(0.0), high.min(dims as f64 - 1.0))
    }

    pub(super) fn stretch(&self, pair: usize, frequency: f32, (low, high): (f64, f64)) -> f32 {
        // The ramp of a single pair has a width all the same.
        let span = if low == high { 0.001 } else { high - low };
        let divided = ((pair as f64 - low) / span).clamp(0.0, 1.0) as f32;
        frequency / self.factor * divided + frequency * (1.0 - divided)
    }
}

impl LongScaling {
    pub(super) fn check(&self) -> Result<(), EngineError> {
        positive("rope scaling's attention factor", self.magnitude)?;
        if self.original_context > 0 {
            return Ok(());
        }
        let text = "original_max_position_embeddings must not be 0".to_owned();
        Err(invalid(text))
    }
}

pub(super) fn positive(what: &str, value: f32) -> Result<(), EngineError> {
    if value.is_finite() && value > 0.0 {
        return Ok(());
    }
    Err(invalid(format!("{what} is {value}")))
}
