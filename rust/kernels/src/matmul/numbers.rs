//! Scales and offsets: in half precision where that loses nothing.

/// f32 numbers in the smaller of two forms.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Numbers {
    /// Bits of half-precision numbers.
    Half(Vec<u16>),
    /// Numbers that half precision would change.
    Single(Vec<f32>),
}

impl Numbers {
    pub fn new(values: Vec<f32>) -> Self {
        let exact = |value: &f32| half::f16::from_f32(*value).to_f32().to_bits() == value.to_bits();
        if values.iter().all(exact) {
            let bits = values
                .iter()
                .map(|value| half::f16::from_f32(*value).to_bits());
            return Self::Half(bits.collect());
        }
        Self::Single(values)
    }

    pub fn get(&self, index: usize) -> f32 {
        match self {
            Self::Half(bits) => half::f16::from_bits(bits[index]).to_f32(),
            Self::Single(values) => values[index],
        }
    }

    pub fn bytes(&self) -> usize {
        match self {
            Self::Half(bits) => bits.len() * 2,
            Self::Single(values) => values.len() * 4,
        }
    }
}
