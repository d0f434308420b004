//! Scales and offsets, in the smallest form that loses nothing.

use super::TILE;
use super::memory::Piece;

/// The variants of `Numbers`, as constants.
#[cfg(target_arch = "x86_64")]
pub(super) const HALF: u8 = 0;
#[cfg(target_arch = "x86_64")]
pub(super) const SINGLE: u8 = 1;
#[cfg(target_arch = "x86_64")]
pub(super) const FACTORED: u8 = 2;

/// f32 numbers, 16 for each group of columns of a tile.
#[derive(Debug)]
pub(crate) enum Numbers {
    /// Bits of half-precision numbers.
    Half(Piece<u16>),
    /// Numbers that half precision would change.
    Single(Piece<f32>),
    /// Small integers, each times a unit of its lane.
    Factored(Factored),
}

/// Number `i` is `steps[i]` times the unit that `groups` groups share.
#[derive(Debug)]
pub(crate) struct Factored {
    pub steps: Piece<i8>,
    /// Bits of half-precision numbers.
    pub units: Piece<u16>,
    /// Groups that share units.
    pub groups: usize,
}

impl Factored {
    /// Zeros; `None` if there is no room for them.
    pub fn zeros(len: usize, groups: usize) -> Option<Self> {
        Some(Self {
            steps: Piece::zeros(len)?,
            units: Piece::zeros(len / groups)?,
            groups,
        })
    }

    /// The first of the 16 units for the 16 numbers from `first` on.
    #[inline(always)]
    pub fn unit(&self, first: usize) -> usize {
        first / TILE / self.groups * TILE
    }
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
            Self::Factored(factored) => {
                let unit = factored.units[factored.unit(index) + index % TILE];
                half::f16::from_bits(unit).to_f32() * f32::from(factored.steps[index])
            }
        }
    }

    /// Where number `index` is, to ask for it ahead; it need not be there.
    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    pub fn place(&self, index: usize) -> *const i8 {
        match self {
            Self::Half(bits) => bits.as_ptr().wrapping_add(index).cast(),
            Self::Single(values) => values.as_ptr().wrapping_add(index).cast(),
            Self::Factored(factored) => factored.steps.as_ptr().wrapping_add(index),
        }
    }

    /// Which variant it is.
    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    pub fn kind(&self) -> u8 {
        match self {
            Self::Half(_) => HALF,
            Self::Single(_) => SINGLE,
            Self::Factored(_) => FACTORED,
        }
    }

    /// Where number `first` is, as it is stored, and where the units of the numbers from there on are if it has one.
    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    pub fn places(&self, first: usize) -> (*const (), *const u16) {
        let units = match self {
            Self::Factored(factored) => {
                let unit = factored.unit(first);
                factored.units.as_ptr().wrapping_add(unit)
            }
            _ => std::ptr::null(),
        };
        (self.place(first).cast(), units)
    }

    pub fn bytes(&self) -> usize {
        match self {
            Self::Half(bits) => bits.bytes(),
            Self::Single(values) => values.bytes(),
            Self::Factored(factored) => factored.steps.bytes() + factored.units.bytes(),
        }
    }
}
