//! The residual stream: norms before and after the parts of a layer, and what they add.

use candle_core::{CpuStorage, CustomOp2, Error, InplaceOp1, InplaceOp2, Layout, Result, Shape};

use super::operations::{Workspace, matrix, values, values_mut};

/// `stream [2, t, hidden]`: row 0 is the residual stream, to which `delta` is added; row 1 becomes its norm, or a
/// copy without a weight.
pub(crate) struct AddNorm<'a> {
    pub work: &'a Workspace,
    pub weight: Option<&'a [f32]>,
    pub eps: f32,
}

impl InplaceOp2 for AddNorm<'_> {
    fn name(&self) -> &'static str {
        "add-norm"
    }

    fn cpu_fwd(
        &self,
        dst: &mut CpuStorage,
        dst_l: &Layout,
        src: &CpuStorage,
        src_l: &Layout,
    ) -> Result<()> {
        let delta = values(src, src_l, self.name())?;
        let stream = values_mut(dst, dst_l, self.name())?;
        let (residual, normed) = stream.split_at_mut(delta.len());
        if let Some(weight) = self.weight {
            let pool = &self.work.pool;
            return cortex_kernels::add_rms_norm(pool, residual, delta, weight, self.eps, normed)
                .map_err(Error::wrap);
        }
        for ((residual, delta), normed) in residual.iter_mut().zip(delta).zip(normed) {
            *residual += delta;
            *normed = *residual;
        }
        Ok(())
    }
}

/// What a part of a layer does to its result before that is added to the stream.
#[derive(Clone, Copy)]
pub(crate) struct Finish<'a> {
    pub work: &'a Workspace,
    pub bias: Option<&'a [f32]>,
    pub norm: Option<&'a [f32]>,
    pub eps: f32,
    pub factor: f32,
}

impl Finish<'_> {
    /// Whether there is anything to do.
    #[allow(clippy::float_cmp)] // 1 is exact, and exactly what means nothing to do.
    pub fn changes(&self) -> bool {
        self.bias.is_some() || self.norm.is_some() || self.factor != 1.0
    }
}

impl InplaceOp1 for Finish<'_> {
    fn name(&self) -> &'static str {
        "finish"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> Result<()> {
        let delta = values_mut(storage, layout, self.name())?;
        if let Some(bias) = self.bias {
            for row in delta.chunks_exact_mut(bias.len()) {
                for (value, bias) in row.iter_mut().zip(bias) {
                    *value += bias;
                }
            }
        }
        if let Some(weight) = self.norm {
            let plain = delta.to_vec();
            cortex_kernels::rms_norm(&self.work.pool, &plain, weight, self.eps, delta)
                .map_err(Error::wrap)?;
        }
        for value in delta {
            *value *= self.factor;
        }
        Ok(())
    }
}

/// The rows that are needed, `delta` added, normed: `[rows, hidden]`.
pub(crate) struct FinalNorm<'a> {
    pub work: &'a Workspace,
    pub weight: &'a [f32],
    pub eps: f32,
    pub rows: &'a [usize],
}

impl CustomOp2 for FinalNorm<'_> {
    fn name(&self) -> &'static str {
        "final-norm"
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let delta = values(s2, l2, self.name())?;
        let residual = &values(s1, l1, self.name())?[..delta.len()];
        let width = self.weight.len();
        let mut sum = Vec::with_capacity(self.rows.len() * width);
        for &row in self.rows {
            let span = row * width..(row + 1) * width;
            let pairs = residual[span.clone()].iter().zip(&delta[span]);
            sum.extend(pairs.map(|(a, b)| a + b));
        }
        let mut out = vec![0.0; sum.len()];
        cortex_kernels::rms_norm(&self.work.pool, &sum, self.weight, self.eps, &mut out)
            .map_err(Error::wrap)?;
        Ok(matrix(out, width))
    }
}

/// Factor and softcap of the logits, in place.
pub(crate) struct ScaleLogits {
    pub factor: f32,
    pub softcap: Option<f32>,
}

impl ScaleLogits {
    /// Whether there is anything to do.
    #[allow(clippy::float_cmp)] // As for `Finish`.
    pub fn changes(&self) -> bool {
        self.softcap.is_some() || self.factor != 1.0
    }
}

impl InplaceOp1 for ScaleLogits {
    fn name(&self) -> &'static str {
        "scale-logits"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> Result<()> {
        let logits = values_mut(storage, layout, self.name())?;
        for logit in logits.iter_mut() {
            *logit *= self.factor;
        }
        if let Some(cap) = self.softcap {
            cortex_kernels::softcap(logits, cap);
        }
        Ok(())
    }
}
