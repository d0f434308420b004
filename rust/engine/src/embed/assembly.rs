//! Building an embedding engine from options: convert the weights, prove with the vector of one token.

use std::sync::Arc;

use cortex_kernels::Pool;
use cortex_weights::ModelFile;

use super::decoder::DecoderEmbedder;
use super::embedder::{Embedder, normalised};
use super::kind::Outline;
use super::pooling::Pooling;
use super::runner::{EmbedRunner, EmbedShared, PassLimits};
use crate::assembly::{BLOCK_TOKENS, KvPlan, mailbox, model_name, quantisation, threads};
use crate::encoder::{self, Encoder};
use crate::gauge::Gauge;
use crate::info::ModelKind;
use crate::loader::{LoadState, Stage};
use crate::model::{Decoder, InSitu, KvCache, KvType, describe};
use crate::vocabulary::Vocabulary;
use crate::{Defaults, EngineError, LoadOptions, ModelInfo};

/// Most tokens of a pass when the options do not say.
const STEP_TOKENS: usize = 256;

/// An embedding engine that is ready to start.
pub(crate) struct EmbedParts {
    pub runner: EmbedRunner,
    pub info: ModelInfo,
    pub tokenizer: Arc<cortex_text::Tokenizer>,
}

/// A loaded model, its KV bytes and how long a text may be.
struct Loaded {
    embedder: Embedder,
    kv_bytes: u64,
    context_length: usize,
}

/// How keys and values are stored, for the time of one text: exactly.
pub(crate) const KV_TYPE: KvType = KvType::F32;

/// Load everything; `state` shows the progress and may cancel it.
pub(crate) fn assemble(
    file: ModelFile,
    outline: &Outline,
    pooling: Pooling,
    options: &LoadOptions,
    state: &LoadState,
) -> Result<EmbedParts, EngineError> {
    if options.chat_template.is_some() {
        let reason = "this model makes embeddings and has no chat";
        return Err(EngineError::field("chat_template", reason));
    }
    let context_length = context_length(options, outline)?;
    let vocabulary = Vocabulary::read(&file, None)?;
    state.check()?;
    state.enter(Stage::Weights);
    let pool = Arc::new(Pool::new(threads(options.threads)?));
    let in_situ = InSitu::parse(options.quant.as_deref(), &file)?;
    let quantisation = in_situ.map_or_else(|| quantisation(&file), |ty| ty.name().to_owned());
    let limits = PassLimits {
        tokens: options.step_tokens.unwrap_or(STEP_TOKENS),
        texts: options.max_sequences,
    };
    let mut loaded = if encoder::is_encoder(&file)? {
        let encoder = Encoder::load_watched(&file, Arc::clone(&pool), state)?;
        Loaded {
            embedder: Embedder::Encoder(Box::new(encoder), pooling),
            kv_bytes: 0,
            context_length,
        }
    } else {
        decoder(&file, context_length, pooling, &pool, options, state)?
    };
    drop(file);
    state.enter(Stage::Warmup);
    warm_up(&mut loaded.embedder)?;
    state.check()?;
    let info = ModelInfo {
        architecture: outline.architecture.clone(),
        name: model_name(outline.name.as_ref(), options),
        quantisation,
        kind: ModelKind::Embed,
        dimensions: Some(loaded.embedder.dimensions()),
        context_length: loaded.context_length,
        vocab: outline.vocab,
        weights_bytes: loaded.embedder.weights_bytes(),
        kv_bytes: loaded.kv_bytes,
        kv_block_tokens: BLOCK_TOKENS,
        threads: pool.threads(),
        simd: cortex_kernels::simd_level().name().to_owned(),
        step: None,
        has_chat_template: false,
        tool_format: None,
        thinks: false,
        defaults: Defaults::default(),
    };
    let shared = Arc::new(EmbedShared {
        mailbox: mailbox(options)?,
        gauge: Gauge::default(),
    });
    state.enter(Stage::Done);
    Ok(EmbedParts {
        runner: EmbedRunner::new(loaded.embedder, shared, limits),
        info,
        tokenizer: vocabulary.tokenizer,
    })
}

fn context_length(options: &LoadOptions, outline: &Outline) -> Result<usize, EngineError> {
    let (wanted, own) = (options.context_length, outline.context_length);
    match wanted {
        Some(wanted) if wanted == 0 || wanted > own => {
            let reason = format!("{wanted} is not between 1 and the model's {own}");
            Err(EngineError::field("context_length", reason))
        }
        _ => Ok(wanted.unwrap_or(own)),
    }
}

/// The cache holds one text of full length, or several that are as long together.
fn decoder(
    file: &ModelFile,
    context_length: usize,
    pooling: Pooling,
    pool: &Arc<Pool>,
    options: &LoadOptions,
    state: &LoadState,
) -> Result<Loaded, EngineError> {
    let shape = describe(file)?;
    let one = LoadOptions {
        max_sequences: 1,
        context_length: options.context_length.map(|_| context_length),
        ..options.clone()
    };
    let in_situ = InSitu::parse(options.quant.as_deref(), file)?;
    let plan = KvPlan::new(&one, &shape, KV_TYPE)?;
    let decoder = Decoder::load_watched(file, Arc::clone(pool), in_situ, state)?;
    let cache = KvCache::new(
        &shape,
        plan.blocks,
        BLOCK_TOKENS,
        (KV_TYPE, decoder.device()),
    )?;
    let step_tokens = options.step_tokens.unwrap_or(STEP_TOKENS);
    let decoder = DecoderEmbedder::new(decoder, cache, plan.blocks, pooling, step_tokens);
    Ok(Loaded {
        embedder: Embedder::Decoder(Box::new(decoder)),
        kv_bytes: plan.bytes,
        context_length: context_length.min(plan.context_length),
    })
}

/// A file whose weights are not numbers fails here, not at the first request.
fn warm_up(embedder: &mut Embedder) -> Result<(), EngineError> {
    let failed =
        |text: String| EngineError::ModelFileInvalid(format!("the model does not run: {text}"));
    let vectors = embedder.embed(&[&[0]], &|| true);
    let vectors = vectors.map_err(|halt| failed(format!("{halt:?}")))?;
    let sound = vectors
        .first()
        .is_some_and(|vector| normalised(vector).is_some());
    if sound {
        return Ok(());
    }
    Err(failed("its states are no numbers".to_owned()))
}
