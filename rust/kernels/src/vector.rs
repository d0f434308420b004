//! Registers of f32 for code that is written once and compiled for each instruction set.

use half::f16;

use crate::math::multiply_add;
use crate::quant::half_to_f32;

/// A register.
///
/// # Safety of its functions
/// The caller is compiled for the instructions of the type: plain arrays need none, `__m256` AVX2, FMA and F16C,
/// `__m512` AVX-512 F. Pointers are to `WIDTH` values.
pub(crate) trait Vector: Copy {
    /// Values.
    const WIDTH: usize;
    /// Whether products are added with one rounding.
    const FUSED: bool;

    unsafe fn load(from: *const f32) -> Self;
    unsafe fn store(self, to: *mut f32);
    unsafe fn widen(from: *const f16) -> Self;
    unsafe fn all(value: f32) -> Self;
    /// `self * by + to`.
    unsafe fn multiply_add(self, by: Self, to: Self) -> Self;
}

impl Vector for [f32; 4] {
    const WIDTH: usize = 4;
    const FUSED: bool = false;

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: as the caller promised.
        unsafe { from.cast::<Self>().read() }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: as the caller promised.
        unsafe { to.cast::<Self>().write(self) }
    }

    #[inline(always)]
    unsafe fn widen(from: *const f16) -> Self {
        // SAFETY: as the caller promised.
        let halves = unsafe { from.cast::<[f16; 4]>().read() };
        halves.map(|half| half_to_f32(half.to_bits()))
    }

    #[inline(always)]
    unsafe fn all(value: f32) -> Self {
        [value; 4]
    }

    #[inline(always)]
    unsafe fn multiply_add(self, by: Self, to: Self) -> Self {
        [
            self[0] * by[0] + to[0],
            self[1] * by[1] + to[1],
            self[2] * by[2] + to[2],
            self[3] * by[3] + to[3],
        ]
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::{
        __m256, __m512, _mm_loadu_si128, _mm256_cvtph_ps, _mm256_fmadd_ps, _mm256_loadu_ps,
        _mm256_loadu_si256, _mm256_set1_ps, _mm256_storeu_ps, _mm512_cvtph_ps, _mm512_fmadd_ps,
        _mm512_loadu_ps, _mm512_set1_ps, _mm512_storeu_ps,
    };

    use super::{Vector, f16};

    macro_rules! register {
        ($ty:ty, $width:literal, $load:ident, $store:ident, $all:ident, $multiply_add:ident,
            $widen:ident, $halves:ident) => {
            impl Vector for $ty {
                const WIDTH: usize = $width;
                const FUSED: bool = true;

                #[inline(always)]
                unsafe fn load(from: *const f32) -> Self {
                    // SAFETY: as the caller promised.
                    unsafe { $load(from) }
                }

                #[inline(always)]
                unsafe fn store(self, to: *mut f32) {
                    // SAFETY: as the caller promised.
                    unsafe { $store(to, self) }
                }

                #[inline(always)]
                unsafe fn widen(from: *const f16) -> Self {
                    // SAFETY: as the caller promised.
                    unsafe { $widen($halves(from.cast())) }
                }

                #[inline(always)]
                unsafe fn all(value: f32) -> Self {
                    // SAFETY: as the caller promised.
                    unsafe { $all(value) }
                }

                #[inline(always)]
                unsafe fn multiply_add(self, by: Self, to: Self) -> Self {
                    // SAFETY: as the caller promised.
                    unsafe { $multiply_add(self, by, to) }
                }
            }
        };
    }

    register!(
        __m256,
        8,
        _mm256_loadu_ps,
        _mm256_storeu_ps,
        _mm256_set1_ps,
        _mm256_fmadd_ps,
        _mm256_cvtph_ps,
        _mm_loadu_si128
    );
    register!(
        __m512,
        16,
        _mm512_loadu_ps,
        _mm512_storeu_ps,
        _mm512_set1_ps,
        _mm512_fmadd_ps,
        _mm512_cvtph_ps,
        _mm256_loadu_si256
    );
}

/// Numbers in memory that a register takes as f32.
pub(crate) trait Cell: Copy {
    /// # Safety
    /// As for the functions of [`Vector`].
    unsafe fn load<V: Vector>(from: *const Self) -> V;
    fn single(self) -> f32;
}

impl Cell for f32 {
    #[inline(always)]
    unsafe fn load<V: Vector>(from: *const Self) -> V {
        // SAFETY: as the caller promised.
        unsafe { V::load(from) }
    }

    #[inline(always)]
    fn single(self) -> f32 {
        self
    }
}

impl Cell for f16 {
    #[inline(always)]
    unsafe fn load<V: Vector>(from: *const Self) -> V {
        // SAFETY: as the caller promised.
        unsafe { V::widen(from) }
    }

    #[inline(always)]
    fn single(self) -> f32 {
        half_to_f32(self.to_bits())
    }
}

/// `out [N, width] += factors [N, rows] * rows [rows, width]`, each sum in the order of the rows.
///
/// The lines share what is loaded of the rows, and give the processor independent sums to add to; what a line
/// becomes does not depend on the others.
///
/// # Safety
/// The caller is compiled for the instructions of `V`.
#[inline(always)]
pub(crate) unsafe fn add_products<V: Vector, C: Cell, const N: usize>(
    mut out: [&mut [f32]; N],
    factors: [&[f32]; N],
    rows: &[C],
) {
    let width = out[0].len();
    let count = rows.len() / width;
    let fits = out.iter().all(|out| out.len() == width);
    assert!(fits && factors.iter().all(|factors| factors.len() == count));
    let mut first = 0;
    // SAFETY: as the caller promised; the lengths are as needed.
    unsafe {
        // As many sums at a time as there are registers for: of these there are 32.
        if V::WIDTH == 16 && N <= 2 {
            first = add_spans::<V, C, N, 8>(&mut out, &factors, rows, first);
        }
        if V::WIDTH == 16 {
            first = add_spans::<V, C, N, 4>(&mut out, &factors, rows, first);
        }
        first = add_spans::<V, C, N, 2>(&mut out, &factors, rows, first);
    }
    for (out, factors) in out.into_iter().zip(factors) {
        for (place, sum) in out.iter_mut().enumerate().skip(first) {
            for (value, factor) in rows.iter().skip(place).step_by(width).zip(factors) {
                *sum = if V::FUSED {
                    multiply_add::<true>(value.single(), *factor, *sum)
                } else {
                    multiply_add::<false>(value.single(), *factor, *sum)
                };
            }
        }
    }
}

/// The parts of [`add_products`] from value `first` of the lines on that fill `PARTS` registers of each; gives where
/// the rest begins.
///
/// # Safety
/// The caller is compiled for the instructions of `V`. All lines and rows have the same width, and there are as many
/// factors for a line as rows.
#[inline(always)]
unsafe fn add_spans<V: Vector, C: Cell, const N: usize, const PARTS: usize>(
    out: &mut [&mut [f32]; N],
    factors: &[&[f32]; N],
    rows: &[C],
    first: usize,
) -> usize {
    let (width, span) = (out[0].len(), PARTS * V::WIDTH);
    let mut first = first;
    while first + span <= width {
        // SAFETY: as the caller promised.
        unsafe { add_span::<V, C, N, PARTS>(out, factors, rows, first) };
        first += span;
    }
    first
}

/// The part of [`add_products`] that starts at value `first` of the lines and fills `PARTS` registers of each.
///
/// # Safety
/// As above, and the lines are as wide as the part and what is before it at least.
#[inline(always)]
unsafe fn add_span<V: Vector, C: Cell, const N: usize, const PARTS: usize>(
    out: &mut [&mut [f32]; N],
    factors: &[&[f32]; N],
    rows: &[C],
    first: usize,
) {
    let width = out[0].len();
    // SAFETY: as the caller promised.
    unsafe {
        let mut sums = [[V::all(0.0); PARTS]; N];
        for (sums, out) in sums.iter_mut().zip(out.iter()) {
            for (part, sum) in sums.iter_mut().enumerate() {
                *sum = V::load(out.as_ptr().add(first + part * V::WIDTH));
            }
        }
        for row in 0..factors[0].len() {
            let mut values = [V::all(0.0); PARTS];
            for (part, values) in values.iter_mut().enumerate() {
                *values = C::load(rows.as_ptr().add(row * width + first + part * V::WIDTH));
            }
            for (sums, factors) in sums.iter_mut().zip(factors) {
                let factor = V::all(*factors.get_unchecked(row));
                for (sum, values) in sums.iter_mut().zip(values) {
                    *sum = values.multiply_add(factor, *sum);
                }
            }
        }
        for (sums, out) in sums.iter().zip(out) {
            for (part, sum) in sums.iter().enumerate() {
                sum.store(out.as_mut_ptr().add(first + part * V::WIDTH));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SimdLevel;

    fn line(seed: usize, len: usize) -> Vec<f32> {
        (0..len)
            .map(|i| ((i * 7 + seed * 13) as f32).sin())
            .collect()
    }

    /// All lines together are each line alone, and near the sums in f64.
    unsafe fn check<V: Vector, C: Cell>(width: usize, count: usize, of: impl Fn(f32) -> C) {
        let cells: Vec<C> = line(9, width * count).into_iter().map(of).collect();
        let rows: Vec<f32> = cells.iter().map(|cell| cell.single()).collect();
        let factors: Vec<Vec<f32>> = (0..3).map(|n| line(n, count)).collect();
        let start: Vec<Vec<f32>> = (0..3).map(|n| line(n + 20, width)).collect();
        let mut together = start.clone();
        let [a, b, c] = &mut together[..] else { return };
        // SAFETY: as the caller promised.
        unsafe {
            add_products::<V, C, 3>([a, b, c], [&factors[0], &factors[1], &factors[2]], &cells);
        }
        for n in 0..3 {
            let mut alone = start[n].clone();
            // SAFETY: as the caller promised.
            unsafe { add_products::<V, C, 1>([&mut alone], [&factors[n]], &cells) };
            assert_eq!(alone, together[n]);
            for (place, found) in alone.iter().enumerate() {
                let values = rows.iter().skip(place).step_by(width);
                let products = values.zip(&factors[n]);
                let sum: f64 = products.map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
                let expected = f64::from(start[n][place]) + sum;
                assert!(
                    (f64::from(*found) - expected).abs() < 1e-5,
                    "{found} {expected}"
                );
            }
        }
    }

    unsafe fn both<V: Vector>(width: usize, count: usize) {
        // SAFETY: as the caller promised.
        unsafe {
            check::<V, f32>(width, count, |value| value);
            check::<V, f16>(width, count, f16::from_f32);
        }
    }

    #[test]
    fn lines_add_up_alone_as_together_at_every_width_and_level() {
        for (width, count) in (1..300).zip((0..9).cycle()) {
            for level in SimdLevel::available() {
                // SAFETY: the level says what the processor has.
                unsafe {
                    match level {
                        #[cfg(target_arch = "x86_64")]
                        SimdLevel::Avx512 => both::<std::arch::x86_64::__m512>(width, count),
                        #[cfg(target_arch = "x86_64")]
                        SimdLevel::Avx2 => both::<std::arch::x86_64::__m256>(width, count),
                        _ => both::<[f32; 4]>(width, count),
                    }
                }
            }
        }
    }
}
