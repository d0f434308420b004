//! The parametric encoder: weights in the kernels' layout and the forward pass over whole texts.

use std::ops::Range;
use std::sync::Arc;

use cortex_kernels::{FullAttention, KernelError, PackedMatrix, Pool, gelu, gelu_mul, rope_neox};
use cortex_weights::ModelFile;

use super::description::{EncoderDescription, EncoderStyle, Looks};
use super::layer::Layer;
use super::parts::{Norm, Work, add};
use super::rotation::{Rotation, of_theta, rotations};
use super::weights::Weights;
use crate::EngineError;
use crate::loader::LoadState;

/// Why a forward pass gave nothing.
#[derive(Debug)]
pub enum Stopped {
    /// Nobody wants the result any more.
    Unwanted,
    /// Sizes that do not fit: a defect, or a token beyond the vocabulary.
    Failed(KernelError),
}

impl From<KernelError> for Stopped {
    fn from(error: KernelError) -> Self {
        Self::Failed(error)
    }
}

/// A model that reads texts; owned by one thread.
pub struct Encoder {
    description: EncoderDescription,
    words: PackedMatrix,
    /// Learned positions.
    positions: Option<PackedMatrix>,
    /// What every token gets for being of the first type.
    token_type: Option<Vec<f32>>,
    embedding_norm: Norm,
    layers: Vec<Layer>,
    final_norm: Option<Norm>,
    work: Work,
}

/// Hidden states of the last text's last token: before the first layer, after each, after the final norm.
pub type EncoderTrace = Vec<Vec<f32>>;

/// The texts of one forward pass, and what the pass needs to know of them.
struct Texts {
    rows: Vec<Range<usize>>,
    rotations: Vec<Rotation>,
}

impl Encoder {
    /// Convert all weights of a model file.
    ///
    /// # Errors
    /// `ModelFileInvalid`, `UnsupportedModel`.
    pub fn load(file: &ModelFile, pool: Arc<Pool>) -> Result<Self, EngineError> {
        Self::load_watched(file, pool, &LoadState::default())
    }

    pub(crate) fn load_watched(
        file: &ModelFile,
        pool: Arc<Pool>,
        state: &LoadState,
    ) -> Result<Self, EngineError> {
        let shape = super::describe(file)?;
        let reader_pool = Arc::clone(&pool);
        let modern = matches!(shape.style, EncoderStyle::Modern { .. });
        let words = if modern {
            "embeddings.tok_embeddings.weight"
        } else {
            "embeddings.word_embeddings.weight"
        };
        let mut weights = Weights::new(file, &reader_pool, state, words)?;
        let words = weights.matrix(words, shape.vocab, shape.hidden)?;
        let encoder = match &shape.style {
            EncoderStyle::Bert {
                positions,
                token_types,
                ..
            } => {
                let (positions, token_types) = (*positions, *token_types);
                Self::bert(&mut weights, shape, words, positions, token_types, pool)?
            }
            EncoderStyle::Modern { .. } => Self::modern(&mut weights, shape, words, pool)?,
        };
        weights.refuse_unread()?;
        Ok(encoder)
    }

    fn bert(
        weights: &mut Weights,
        shape: EncoderDescription,
        words: PackedMatrix,
        positions: usize,
        token_types: usize,
        pool: Arc<Pool>,
    ) -> Result<Self, EngineError> {
        let hidden = shape.hidden;
        let table = weights.matrix("embeddings.position_embeddings.weight", positions, hidden)?;
        let token_type = if token_types == 0 {
            None
        } else {
            let name = "embeddings.token_type_embeddings.weight";
            let types = weights.matrix(name, token_types, hidden)?;
            let mut first = vec![0.0; hidden];
            types
                .row(0, &mut first)
                .map_err(|error| crate::model::invalid(error.to_string()))?;
            Some(first)
        };
        let layers = (0..shape.layers).map(|layer| Layer::bert(weights, layer, &shape));
        Ok(Self {
            layers: layers.collect::<Result<_, _>>()?,
            embedding_norm: weights.norm("embeddings.LayerNorm", hidden, true)?,
            description: shape,
            words,
            positions: Some(table),
            token_type,
            final_norm: None,
            work: Work::new(pool),
        })
    }

    fn modern(
        weights: &mut Weights,
        shape: EncoderDescription,
        words: PackedMatrix,
        pool: Arc<Pool>,
    ) -> Result<Self, EngineError> {
        let bias = matches!(
            shape.style,
            EncoderStyle::Modern {
                norm_bias: true,
                ..
            }
        );
        let layers = (0..shape.layers).map(|layer| Layer::modern(weights, layer, &shape));
        Ok(Self {
            layers: layers.collect::<Result<_, _>>()?,
            embedding_norm: weights.norm("embeddings.norm", shape.hidden, bias)?,
            final_norm: Some(weights.norm("final_norm", shape.hidden, bias)?),
            description: shape,
            words,
            positions: None,
            token_type: None,
            work: Work::new(pool),
        })
    }

    /// What the model is.
    pub fn description(&self) -> &EncoderDescription {
        &self.description
    }

    /// Bytes of the converted matrices.
    pub fn weights_bytes(&self) -> u64 {
        let layers = self.layers.iter().flat_map(|layer| {
            [
                &layer.query_key_value,
                &layer.attention_output,
                &layer.up,
                &layer.down,
            ]
        });
        let layers = layers.map(|linear| &linear.matrix);
        let all = layers.chain([&self.words]).chain(&self.positions);
        all.map(|matrix| matrix.bytes() as u64).sum()
    }

    /// Hidden states `[tokens, hidden]` of the texts, one after the other.
    ///
    /// `wanted` is asked before every layer; the pass ends where it says no.
    ///
    /// # Errors
    /// `Unwanted`, or what does not fit.
    pub fn forward(
        &self,
        texts: &[&[u32]],
        wanted: &dyn Fn() -> bool,
    ) -> Result<Vec<f32>, Stopped> {
        self.run(texts, wanted, None)
    }

    /// The same, and the hidden states on the way.
    ///
    /// # Errors
    /// As `forward`.
    pub fn forward_traced(&self, texts: &[&[u32]]) -> Result<(Vec<f32>, EncoderTrace), Stopped> {
        let mut trace = EncoderTrace::new();
        let states = self.run(texts, &|| true, Some(&mut trace))?;
        Ok((states, trace))
    }

    fn run(
        &self,
        texts: &[&[u32]],
        wanted: &dyn Fn() -> bool,
        mut trace: Option<&mut EncoderTrace>,
    ) -> Result<Vec<f32>, Stopped> {
        let mut record = |stream: &[f32]| {
            if let Some(trace) = trace.as_deref_mut() {
                trace.push(stream[stream.len().saturating_sub(self.description.hidden)..].to_vec());
            }
        };
        let mut stream = self.embed(texts)?;
        let texts = self.texts(texts);
        for number in 0..self.layers.len() {
            if !wanted() {
                return Err(Stopped::Unwanted);
            }
            record(&stream);
            stream = match &self.description.style {
                EncoderStyle::Bert { .. } => self.bert_layer(number, stream, &texts)?,
                EncoderStyle::Modern { attention, .. } => {
                    self.modern_layer(number, stream, &texts, attention[number])?
                }
            };
        }
        record(&stream);
        if let Some(norm) = &self.final_norm {
            stream = norm.apply(&self.work, &stream, self.description.norm_eps)?;
            record(&stream);
        }
        Ok(stream)
    }

    fn texts(&self, texts: &[&[u32]]) -> Texts {
        let mut start = 0;
        let rows = texts.iter().map(|text| {
            start += text.len();
            start - text.len()..start
        });
        let rows: Vec<Range<usize>> = rows.collect();
        let rotations = match &self.description.style {
            EncoderStyle::Bert { .. } => Vec::new(),
            EncoderStyle::Modern { attention, .. } => {
                let thetas: Vec<f32> = attention.iter().map(|looks| looks.theta).collect();
                rotations(&thetas, self.description.head_dim(), &rows)
            }
        };
        Texts { rows, rotations }
    }

    /// The normed sum of word, position and token type.
    fn embed(&self, texts: &[&[u32]]) -> Result<Vec<f32>, KernelError> {
        let width = self.description.hidden;
        let tokens: usize = texts.iter().map(|text| text.len()).sum();
        let mut rows = vec![0.0; tokens * width];
        let mut position = vec![0.0; width];
        let places = texts.iter().flat_map(|text| {
            let positions = positions(&self.description.style, text);
            text.iter().zip(positions)
        });
        for (row, (&token, place)) in rows.chunks_exact_mut(width).zip(places) {
            self.words.row(token as usize, row)?;
            if let Some(table) = &self.positions {
                table.row(place, &mut position)?;
                add(row, &position);
            }
            if let Some(token_type) = &self.token_type {
                add(row, token_type);
            }
        }
        self.embedding_norm
            .apply(&self.work, &rows, self.description.norm_eps)
    }

    fn bert_layer(
        &self,
        number: usize,
        mut stream: Vec<f32>,
        texts: &Texts,
    ) -> Result<Vec<f32>, KernelError> {
        let (layer, work, eps) = (&self.layers[number], &self.work, self.description.norm_eps);
        let mixed = self.attention(layer, &stream, texts, None)?;
        layer.attention_output.add_to(work, &mixed, &mut stream)?;
        if let Some(norm) = &layer.attention_norm {
            stream = norm.apply(work, &stream, eps)?;
        }
        let product = layer.up.product(work, &stream)?;
        let mut active = vec![0.0; product.len()];
        let bias = layer.up.bias.as_deref();
        gelu(
            &work.pool,
            &product,
            self.description.feed_forward,
            bias,
            &mut active,
        )?;
        layer.down.add_to(work, &active, &mut stream)?;
        layer.feed_forward_norm.apply(work, &stream, eps)
    }

    fn modern_layer(
        &self,
        number: usize,
        mut stream: Vec<f32>,
        texts: &Texts,
        looks: Looks,
    ) -> Result<Vec<f32>, KernelError> {
        let (layer, work, eps) = (&self.layers[number], &self.work, self.description.norm_eps);
        let mixed = match &layer.attention_norm {
            Some(norm) => {
                self.attention(layer, &norm.apply(work, &stream, eps)?, texts, Some(looks))?
            }
            None => self.attention(layer, &stream, texts, Some(looks))?,
        };
        layer.attention_output.add_to(work, &mixed, &mut stream)?;
        let normed = layer.feed_forward_norm.apply(work, &stream, eps)?;
        let mut product = layer.up.product(work, &normed)?;
        if let Some(bias) = &layer.up.bias {
            product
                .chunks_exact_mut(bias.len())
                .for_each(|row| add(row, bias));
        }
        let mut active = vec![0.0; product.len() / 2];
        gelu_mul(
            &work.pool,
            &product,
            self.description.feed_forward,
            &mut active,
        )?;
        layer.down.add_to(work, &active, &mut stream)?;
        Ok(stream)
    }

    /// What every token takes from its text, before the output projection.
    fn attention(
        &self,
        layer: &Layer,
        x: &[f32],
        texts: &Texts,
        looks: Option<Looks>,
    ) -> Result<Vec<f32>, KernelError> {
        let (heads, head_dim) = (self.description.heads, self.description.head_dim());
        let fused = layer.query_key_value.product(&self.work, x)?;
        let mut parts = [0, 1, 2].map(|part| self.part(layer, &fused, part));
        let rotation = looks.and_then(|looks| of_theta(&texts.rotations, looks.theta));
        if let Some(Rotation { cos, sin, .. }) = rotation {
            for part in &mut parts[..2] {
                rope_neox(part, heads, head_dim, cos, sin)?;
            }
        }
        let [q, k, v] = parts;
        let mut out = vec![0.0; x.len()];
        let attention = FullAttention {
            heads,
            head_dim,
            scale: 1.0 / (head_dim as f32).sqrt(),
            reach: looks.and_then(|looks| looks.reach),
        };
        attention.run(&self.work.pool, &q, &k, &v, &texts.rows, &mut out)?;
        Ok(out)
    }

    /// Queries, keys or values out of the fused rows, with their bias.
    fn part(&self, layer: &Layer, fused: &[f32], part: usize) -> Vec<f32> {
        let width = self.description.hidden;
        let first = part * width;
        let mut out = Vec::with_capacity(fused.len() / 3);
        for row in fused.chunks_exact(3 * width) {
            out.extend_from_slice(&row[first..first + width]);
        }
        if let Some(bias) = layer.query_key_value.bias_from(first) {
            out.chunks_exact_mut(width).for_each(|row| add(row, bias));
        }
        out
    }
}

/// The row of the position table for each token of a text.
fn positions(style: &EncoderStyle, text: &[u32]) -> Vec<usize> {
    let EncoderStyle::Bert {
        padding: Some(padding),
        ..
    } = style
    else {
        return (0..text.len()).collect();
    };
    let mut last = *padding as usize;
    let places = text.iter().map(|token| {
        if token == padding {
            return *padding as usize;
        }
        last += 1;
        last
    });
    places.collect()
}
