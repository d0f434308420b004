//! Rotary tables of an encoder's batch: where tokens stand in their own text.

use std::ops::Range;

/// Cosines and sines of every token, `[tokens, pairs]` each, for one base.
pub(super) struct Rotation {
    theta: f32,
    pub cos: Vec<f32>,
    pub sin: Vec<f32>,
}

/// Tables for every base that occurs.
pub(super) fn rotations(thetas: &[f32], head_dim: usize, texts: &[Range<usize>]) -> Vec<Rotation> {
    let mut all: Vec<Rotation> = Vec::new();
    for &theta in thetas {
        if !all.iter().any(|known| known.theta == theta) {
            all.push(Rotation::new(theta, head_dim, texts));
        }
    }
    all
}

/// The tables of a base.
pub(super) fn of_theta(all: &[Rotation], theta: f32) -> Option<&Rotation> {
    all.iter().find(|rotation| rotation.theta == theta)
}

impl Rotation {
    fn new(theta: f32, head_dim: usize, texts: &[Range<usize>]) -> Self {
        let pairs = head_dim / 2;
        let frequencies = (0..pairs).map(|pair| {
            let exponent = (2 * pair) as f32 / head_dim as f32;
            1.0 / theta.powf(exponent)
        });
        let frequencies: Vec<f32> = frequencies.collect();
        let (mut cos, mut sin) = (Vec::new(), Vec::new());
        for place in texts.iter().flat_map(|text| 0..text.len()) {
            for frequency in &frequencies {
                let (s, c) = (place as f32 * frequency).sin_cos();
                cos.push(c);
                sin.push(s);
            }
        }
        Self { theta, cos, sin }
    }
}
