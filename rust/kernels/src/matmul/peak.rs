//! Multiply-adds without loads: what the integer kernels would reach if nothing else were to be done.

use crate::SimdLevel;

/// Passes of a loop: some milliseconds.
const PASSES: u64 = 1 << 20;
/// Independent sums, enough to hide how long one takes.
const SUMS: usize = 12;

/// Do many; returns how many.
pub(crate) fn multiply_adds(level: SimdLevel) -> u64 {
    match level {
        // SAFETY: the level says what the processor has.
        #[cfg(target_arch = "x86_64")]
        SimdLevel::Avx512 => unsafe { with_avx512() },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        SimdLevel::Avx2 => unsafe { with_avx2() },
        _ => plain(),
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512vnni")]
fn with_avx512() -> u64 {
    use std::arch::x86_64::{_mm512_dpbusd_epi32, _mm512_set1_epi8, _mm512_setzero_si512};
    let mut sums = [_mm512_setzero_si512(); SUMS];
    let factor = _mm512_set1_epi8(1);
    for _ in 0..PASSES {
        // Not the same value to the compiler, so that it repeats the work.
        let other = std::hint::black_box(factor);
        for sum in &mut sums {
            *sum = _mm512_dpbusd_epi32(*sum, factor, other);
        }
    }
    std::hint::black_box(sums);
    PASSES * SUMS as u64 * 64
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn with_avx2() -> u64 {
    use std::arch::x86_64::{
        _mm256_add_epi16, _mm256_maddubs_epi16, _mm256_set1_epi8, _mm256_setzero_si256,
    };
    let mut sums = [_mm256_setzero_si256(); SUMS];
    let factor = _mm256_set1_epi8(1);
    for _ in 0..PASSES {
        let other = std::hint::black_box(factor);
        for sum in &mut sums {
            *sum = _mm256_add_epi16(*sum, _mm256_maddubs_epi16(factor, other));
        }
    }
    std::hint::black_box(sums);
    PASSES * SUMS as u64 * 32
}

fn plain() -> u64 {
    let mut sums = [0_i32; SUMS];
    for _ in 0..PASSES {
        let (factor, other) = std::hint::black_box((3_i8, 5_i8));
        for sum in &mut sums {
            *sum = sum.wrapping_add(i32::from(factor) * i32::from(other));
        }
    }
    std::hint::black_box(sums);
    PASSES * SUMS as u64
}
