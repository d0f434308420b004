//! Arithmetic of a line of attention, which is one head of one query, with one block of the cache.

use crate::math::{exp, largest, multiply_add, softcap, sum};

/// Positions `from..to` of a block, seen by a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seen {
    pub from: usize,
    pub to: usize,
}

impl Seen {
    pub fn nothing(self) -> bool {
        self.from >= self.to
    }
}

/// What makes scores of products.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scoring {
    pub scale: f32,
    /// The bound that scores approach.
    pub softcap: Option<f32>,
}

/// What a line has met so far.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Running {
    largest: f32,
    /// The sum of weights, which are relative to the largest score.
    total: f32,
}

impl Scoring {
    #[inline(always)]
    pub fn apply<const FUSED: bool>(self, products: &mut [f32]) {
        for product in products.iter_mut() {
            *product *= self.scale;
        }
        if let Some(cap) = self.softcap {
            softcap::<FUSED>(products, cap);
        }
    }
}

impl Running {
    /// Before the first block.
    pub const START: Self = Self {
        largest: f32::NEG_INFINITY,
        total: 0.0,
    };

    /// After a score that has no value.
    pub fn sink(score: f32) -> Self {
        Self {
            largest: score,
            total: 1.0,
        }
    }

    /// Turn a block's scores into weights, zero for what is not seen, and shrink the sums of what came before.
    #[inline(always)]
    pub fn weigh<const FUSED: bool>(&mut self, scores: &mut [f32], seen: Seen, sums: &mut [f32]) {
        scores[..seen.from].fill(f32::NEG_INFINITY);
        scores[seen.to..].fill(f32::NEG_INFINITY);
        let largest = largest(scores, self.largest);
        let shrink = exp::<FUSED>(self.largest - largest);
        for score in scores.iter_mut() {
            *score = exp::<FUSED>(*score - largest);
        }
        for sum in sums {
            *sum *= shrink;
        }
        self.largest = largest;
        self.total = multiply_add::<FUSED>(self.total, shrink, sum(scores));
    }

    /// The sum of all weights.
    pub fn total(self) -> f32 {
        self.total
    }
}
