//! Rotary position embedding, in place.

use crate::KernelError;
use crate::shape;

/// Check the sizes; gives the rotated pairs of a head.
fn pairs(
    x: &[f32],
    heads: usize,
    head_dim: usize,
    cos: &[f32],
    sin: &[f32],
) -> Result<usize, KernelError> {
    let width = shape::product("heads * head_dim", heads, head_dim)?;
    let tokens = shape::rows("x", x.len(), width)?;
    shape::same("sin", cos.len(), sin.len())?;
    if tokens == 0 {
        return Ok(0);
    }
    let pairs = shape::rows("cos", cos.len(), tokens)?;
    if 2 * pairs > head_dim {
        return Err(KernelError::OutOfRange {
            what: "rotary pair",
            index: pairs,
            len: head_dim / 2,
        });
    }
    Ok(pairs)
}

/// Rotate `x [t, heads, head_dim]`: value `i` of a head pairs with value `i + pairs`.
///
/// `cos` and `sin` are `[t, pairs]`; values from `2 * pairs` on stay as they are.
pub fn rope_neox(
    x: &mut [f32],
    heads: usize,
    head_dim: usize,
    cos: &[f32],
    sin: &[f32],
) -> Result<(), KernelError> {
    let pairs = pairs(x, heads, head_dim, cos, sin)?;
    if pairs == 0 {
        return Ok(());
    }
    let tables = cos.chunks_exact(pairs).zip(sin.chunks_exact(pairs));
    for (token, (cos, sin)) in x.chunks_exact_mut(heads * head_dim).zip(tables) {
        for head in token.chunks_exact_mut(head_dim) {
            let (first, rest) = head.split_at_mut(pairs);
            let angles = cos.iter().zip(sin);
            for ((a, b), (cos, sin)) in first.iter_mut().zip(rest).zip(angles) {
                (*a, *b) = rotated(*a, *b, *cos, *sin);
            }
        }
    }
    Ok(())
}

/// Rotate `x [t, heads, head_dim]`: value `2i` of a head pairs with value `2i + 1`.
///
/// Tables and the rest of a head as for [`rope_neox`].
pub fn rope_interleaved(
    x: &mut [f32],
    heads: usize,
    head_dim: usize,
    cos: &[f32],
    sin: &[f32],
) -> Result<(), KernelError> {
    let pairs = pairs(x, heads, head_dim, cos, sin)?;
    if pairs == 0 {
        return Ok(());
    }
    let tables = cos.chunks_exact(pairs).zip(sin.chunks_exact(pairs));
    for (token, (cos, sin)) in x.chunks_exact_mut(heads * head_dim).zip(tables) {
        for head in token.chunks_exact_mut(head_dim) {
            let (turned, _) = head.as_chunks_mut::<2>();
            for (pair, (cos, sin)) in turned.iter_mut().zip(cos.iter().zip(sin)) {
                *pair = rotated(pair[0], pair[1], *cos, *sin).into();
            }
        }
    }
    Ok(())
}

#[inline]
fn rotated(a: f32, b: f32, cos: f32, sin: f32) -> (f32, f32) {
    (a * cos - b * sin, a * sin + b * cos)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn a_quarter_turn_moves_the_pair_and_leaves_the_rest() {
        let (cos, sin) = ([0.0, 1.0], [1.0, 0.0]);
        let mut x = [1.0, 2.0, 3.0, 4.0, 5.0];
        rope_neox(&mut x, 1, 5, &cos, &sin).unwrap();
        assert_eq!(x, [-3.0, 2.0, 1.0, 4.0, 5.0]);
        let mut x = [1.0, 2.0, 3.0, 4.0, 5.0];
        rope_interleaved(&mut x, 1, 5, &cos, &sin).unwrap();
        assert_eq!(x, [-2.0, 1.0, 3.0, 4.0, 5.0]);
    }

    #[test]
    fn each_token_has_its_own_angles_and_all_heads_share_them() {
        let (cos, sin) = ([1.0, 0.0], [0.0, 1.0]);
        let mut x = [1.0, 2.0, 3.0, 4.0, 1.0, 2.0, 3.0, 4.0];
        rope_neox(&mut x, 2, 2, &cos, &sin).unwrap();
        assert_eq!(x, [1.0, 2.0, 3.0, 4.0, -2.0, 1.0, -4.0, 3.0]);
    }

    #[test]
    fn tables_that_do_not_fit_are_refused() {
        let mut x = [0.0; 8];
        let table = [0.0; 6];
        assert!(rope_neox(&mut x, 1, 4, &table, &table).is_err());
        assert!(rope_neox(&mut x, 1, 4, &table[..4], &table[..2]).is_err());
        assert!(rope_interleaved(&mut x, 3, 4, &table[..4], &table[..4]).is_err());
        assert!(rope_interleaved(&mut x, 0, 4, &table[..4], &table[..4]).is_err());
        assert!(rope_neox(&mut [], 1, 4, &[], &[]).is_ok());
    }
}
