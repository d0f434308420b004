//! Which instructions the kernels use, decided once at run time.

use std::sync::OnceLock;

/// Instruction sets, from the plainest on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum SimdLevel {
    /// Portable code.
    #[default]
    Scalar,
    /// AVX2 with FMA and F16C.
    Avx2,
    /// AVX-512 F, BW, VL and VNNI.
    Avx512,
}

impl SimdLevel {
    /// The name, as the environment variable takes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
        }
    }

    /// All levels that this processor has.
    pub fn available() -> impl Iterator<Item = Self> {
        let best = detect();
        [Self::Scalar, Self::Avx2, Self::Avx512]
            .into_iter()
            .filter(move |level| *level <= best)
    }
}

#[cfg(target_arch = "x86_64")]
fn detect() -> SimdLevel {
    let avx2 = is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("fma")
        && is_x86_feature_detected!("f16c");
    let avx512 = is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("avx512vnni");
    match (avx2, avx512) {
        (true, true) => SimdLevel::Avx512,
        (true, false) => SimdLevel::Avx2,
        _ => SimdLevel::Scalar,
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn detect() -> SimdLevel {
    SimdLevel::Scalar
}

/// The best level of this processor, or a lower one if `CORTEX_SIMD` names it.
pub fn simd_level() -> SimdLevel {
    static LEVEL: OnceLock<SimdLevel> = OnceLock::new();
    *LEVEL.get_or_init(|| limited(std::env::var("CORTEX_SIMD").ok().as_deref()))
}

fn limited(wish: Option<&str>) -> SimdLevel {
    let named = SimdLevel::available().find(|level| Some(level.name()) == wish);
    named.unwrap_or_else(detect)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wish_lowers_the_level_and_never_raises_it() {
        assert_eq!(limited(Some("scalar")), SimdLevel::Scalar);
        assert_eq!(limited(None), detect());
        assert_eq!(limited(Some("avx1024")), detect());
        assert!(limited(Some("avx512")) <= detect());
    }
}
