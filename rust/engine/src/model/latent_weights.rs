//! The weights of latent attention, as the projections of each head.

use cortex_kernels::PackedMatrix;

use super::description::{Description, LatentShape, invalid};
use super::roles::Role;
use super::tensors::TensorReader;
use super::transposed::{Pick, transposed};
use crate::EngineError;

/// How queries are made.
pub(crate) enum Queries {
    /// From the token itself.
    Direct,
    /// From a latent of it.
    Latent { norm: Vec<f32>, up: PackedMatrix },
}

/// Weights of one layer.
pub(crate) struct LatentWeights {
    /// The token's queries or their latent, its latent of keys and values, and its shared key.
    pub down: PackedMatrix,
    pub down_bias: Option<Vec<f32>>,
    pub queries: Queries,
    /// Of the latent of keys and values.
    pub norm: Vec<f32>,
    /// For each head `[rank, plain]`: from its queries to the latent.
    pub keys: Vec<PackedMatrix>,
    /// For each head `[value, rank]`: from the latent to its values.
    pub values: Vec<PackedMatrix>,
    pub output: PackedMatrix,
    pub output_bias: Option<Vec<f32>>,
    query_columns: usize,
}

impl LatentWeights {
    pub fn load(
        reader: &mut TensorReader,
        layer: usize,
        model: &Description,
        shape: LatentShape,
    ) -> Result<Self, EngineError> {
        let (hidden, heads) = (model.hidden, model.heads);
        let queries = heads * (shape.plain + shape.rotated);
        let (query_columns, role) = match shape.query_rank {
            Some(rank) => (rank, Role::QueryDown),
            None => (queries, Role::Query),
        };
        let kept = shape.rank + shape.rotated;
        let query_down = reader.matrix(role, layer, [query_columns, hidden])?;
        let kept_down = reader.matrix(Role::KeyValueDown, layer, [kept, hidden])?;
        let biases = [
            (Role::QueryDownBias, query_columns),
            (Role::KeyValueDownBias, kept),
        ];
        let (keys, values) = heads_of(reader, layer, heads, shape)?;
        Ok(Self {
            down: PackedMatrix::fuse(vec![query_down, kept_down])
                .map_err(|error| invalid(error.to_string()))?,
            down_bias: down_bias(reader, layer, biases)?,
            queries: match shape.query_rank {
                None => Queries::Direct,
                Some(rank) => Queries::Latent {
                    norm: reader.norm(Role::QueryDownNorm, layer, rank)?,
                    up: reader.matrix(Role::QueryUp, layer, [queries, rank])?,
                },
            },
            norm: reader.norm(Role::KeyValueDownNorm, layer, shape.rank)?,
            keys,
            values,
            output: reader.matrix(Role::AttentionOutput, layer, [hidden, heads * shape.value])?,
            output_bias: reader.optional_vector(Role::AttentionOutputBias, layer, hidden)?,
            query_columns,
        })
    }

    /// Columns of the first product that queries are made of.
    pub fn query_columns(&self) -> usize {
        self.query_columns
    }

    /// The matrices.
    pub fn matrices(&self) -> impl Iterator<Item = &PackedMatrix> {
        let up = match &self.queries {
            Queries::Direct => None,
            Queries::Latent { up, .. } => Some(up),
        };
        let own = [&self.down, &self.output].into_iter().chain(up);
        own.chain(&self.keys).chain(&self.values)
    }
}

/// The biases behind each other, zeros for one that is not there; `None` if none is.
fn down_bias(
    reader: &mut TensorReader,
    layer: usize,
    parts: [(Role, usize); 2],
) -> Result<Option<Vec<f32>>, EngineError> {
    if !parts.iter().any(|&(role, _)| reader.has(role, layer)) {
        return Ok(None);
    }
    let mut all = Vec::new();
    for (role, len) in parts {
        let part = reader.optional_vector(role, layer, len)?;
        all.extend(part.unwrap_or_else(|| vec![0.0; len]));
    }
    Ok(Some(all))
}

/// Each head's matrices of keys and of values. GGUF files have them apart, the keys' transposed; others have both in
/// one, `[heads, plain + value, rank]`.
fn heads_of(
    reader: &mut TensorReader,
    layer: usize,
    heads: usize,
    shape: LatentShape,
) -> Result<(Vec<PackedMatrix>, Vec<PackedMatrix>), EngineError> {
    let LatentShape {
        rank, plain, value, ..
    } = shape;
    if reader.has(Role::KeyUp, layer) {
        let keys = reader.experts(Role::KeyUp, layer, heads, [rank, plain])?;
        let values = reader.experts(Role::ValueUp, layer, heads, [value, rank])?;
        return Ok((keys, values));
    }
    let role = Role::KeyValueUp;
    let (ty, data) = reader.floats(role, layer, &[heads * (plain + value), rank])?;
    let size = ty.block_bytes();
    let all = Pick { first: 0, step: 1 };
    let (mut keys, mut values) = (Vec::new(), Vec::new());
    for head in data.chunks_exact((plain + value) * rank * size) {
        let (key, rest) = head.split_at(plain * rank * size);
        let key = transposed(key, rank, size, all);
        keys.push(reader.pack_bytes(role, layer, ty, &key, [rank, plain])?);
        values.push(reader.pack_bytes(role, layer, ty, rest, [value, rank])?);
    }
    Ok((keys, values))
}
