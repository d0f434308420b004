//! Scales and offsets: in half precision where that loses nothing.

use super::memory::Piece;

/// f32 numbers in the smaller of two forms.
#[derive(Debug)]
pub(crate) enum Numbers {
    /// Bits of half-precision numbers.
    Half(Piece<u16>),
    /// Numbers that half precision would change.
    Single(Piece<f32>),
}

impl Numbers {
    /// `None` if there is no room for them.
    pub fn new(values: &[f32]) -> Option<Self> {
        let exact = |value: &f32| half::f16::from_f32(*value).to_f32().to_bits() == value.to_bits();
        if values.iter().all(exact) {
            let mut bits = Piece::zeros(values.len())?;
            for (bits, value) in bits.iter_mut().zip(values) {
                *bits = half::f16::from_f32(*value).to_bits();
            }
            return Some(Self::Half(bits));
        }
        let mut single = Piece::zeros(values.len())?;
        single.copy_from_slice(values);
        Some(Self::Single(single))
    }

    pub fn get(&self, index: usize) -> f32 {
        match self {
            Self::Half(bits) => half::f16::from_bits(bits[index]).to_f32(),
            Self::Single(values) => values[index],
        }
    }

    /// Where number `index` is, to ask for it ahead; it need not be there.
    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    pub fn place(&self, index: usize) -> *const i8 {
        match self {
            Self::Half(bits) => bits.as_ptr().wrapping_add(index).cast(),
            Self::Single(values) => values.as_ptr().wrapping_add(index).cast(),
        }
    }

    pub fn bytes(&self) -> usize {
        match self {
            Self::Half(bits) => bits.bytes(),
            Self::Single(values) => values.bytes(),
        }
    }
}
