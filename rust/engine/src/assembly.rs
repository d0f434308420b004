//! Building an engine from options: open, size the KV pool, convert the weights, prove with one token.

use std::sync::Arc;

use cortex_kernels::{Machine, Pool};
use cortex_scheduler::{Limits, Scheduler};
use cortex_text::ChatTemplate;
use cortex_weights::ModelFile;

use crate::gauge::Gauge;
use crate::info::{ModelKind, StepWork};
use crate::loader::{LoadState, Stage};
use crate::mailbox::Mailbox;
use crate::model::{Batch, Decoder, Description, InSitu, KvCache, KvType, Outputs, describe};
use crate::runner::{Runner, Shared};
use crate::sampler::{Row, Sampler};
use crate::vocabulary::Vocabulary;
use crate::{EngineError, LoadOptions, ModelInfo, SamplingParams};

/// How keys and values of a model that generates are stored.
pub(crate) const KV_TYPE: KvType = KvType::F16;
/// Tokens of one KV block.
pub(crate) const BLOCK_TOKENS: usize = 32;
/// Most tokens of a step when the options do not say.
const STEP_TOKENS: usize = 128;
/// The KV pool holds this many full contexts when the options do not say, within `DEFAULT_KV_BYTES`.
const DEFAULT_CONTEXTS: usize = 4;
const DEFAULT_KV_BYTES: u64 = 2 << 30;

/// An engine that is ready to start.
pub(crate) struct Parts {
    pub runner: Runner,
    pub info: ModelInfo,
    pub template: Option<ChatTemplate>,
}

/// Load everything; `state` shows the progress and may cancel it.
pub(crate) fn assemble(
    file: ModelFile,
    options: &LoadOptions,
    state: &LoadState,
) -> Result<Parts, EngineError> {
    let shape = describe(&file)?;
    let in_situ = InSitu::parse(options.quant.as_deref(), &file)?;
    let plan = KvPlan::new(options, &shape, KV_TYPE)?;
    let vocabulary = Vocabulary::read(&file, options.chat_template.as_deref())?;
    state.check()?;
    state.enter(Stage::Weights);
    let pool = Arc::new(Pool::new(threads(options.threads)?));
    let quantisation = in_situ.map_or_else(|| quantisation(&file), |ty| ty.name().to_owned());
    let decoder = Decoder::load_watched(&file, Arc::clone(&pool), in_situ, state)?;
    drop(file);
    state.enter(Stage::Warmup);
    let cache = KvCache::new(
        &shape,
        plan.blocks,
        BLOCK_TOKENS,
        (KV_TYPE, decoder.device()),
    )?;
    warm_up(&decoder, &cache)?;
    state.check()?;
    let (layer_weights, head_weights) = decoder.weights();
    let info = ModelInfo {
        architecture: shape.architecture.clone(),
        name: model_name(shape.name.as_ref(), options),
        quantisation,
        kind: ModelKind::Generate,
        dimensions: None,
        context_length: plan.context_length,
        vocab: shape.vocab,
        weights_bytes: decoder.weights_bytes(),
        kv_bytes: plan.bytes,
        kv_block_tokens: BLOCK_TOKENS,
        threads: pool.threads(),
        simd: cortex_kernels::simd_level().name().to_owned(),
        step: Some(StepWork {
            bytes: decoder.step_bytes(),
            tokens: step_tokens(options),
            layer_weights,
            head_weights,
        }),
        has_chat_template: vocabulary.template.is_some(),
        tool_format: vocabulary.format.tools,
        thinks: vocabulary.format.reasoning.is_some(),
        defaults: vocabulary.defaults,
    };
    let template = vocabulary.template;
    let shared = Arc::new(Shared {
        mailbox: mailbox(options)?,
        gauge: Gauge::default(),
        tokenizer: vocabulary.tokenizer,
        eos: vocabulary.eos,
        format: vocabulary.format,
    });
    let runner = Runner::new(decoder, cache, scheduler(options, &plan, &shape)?, shared);
    state.enter(Stage::Done);
    Ok(Parts {
        runner,
        info,
        template,
    })
}

/// How large the KV pool is and how long a sequence may get.
pub(crate) struct KvPlan {
    pub blocks: usize,
    pub bytes: u64,
    pub context_length: usize,
}

impl KvPlan {
    pub fn new(
        options: &LoadOptions,
        shape: &Description,
        ty: KvType,
    ) -> Result<Self, EngineError> {
        let wanted = options.context_length.unwrap_or(shape.context_length);
        if wanted == 0 || wanted > shape.context_length {
            let reason = format!(
                "{wanted} is not between 1 and the model's {}",
                shape.context_length
            );
            return Err(EngineError::field("context_length", reason));
        }
        let block_bytes = KvCache::bytes_per_token(shape, ty) * BLOCK_TOKENS as u64;
        let context_blocks = wanted.div_ceil(BLOCK_TOKENS);
        let contexts = options.max_sequences.clamp(1, DEFAULT_CONTEXTS);
        let blocks = match options.kv_bytes {
            Some(bytes) => bytes / block_bytes,
            None if options.context_length.is_some() => {
                let usual = DEFAULT_KV_BYTES / block_bytes;
                usual.clamp(context_blocks as u64, (context_blocks * contexts) as u64)
            }
            None => (DEFAULT_KV_BYTES / block_bytes).clamp(1, (context_blocks * contexts) as u64),
        };
        let blocks = usize::try_from(blocks)
            .ok()
            .filter(|&blocks| blocks > 0 && u32::try_from(blocks).is_ok());
        let blocks = blocks.ok_or_else(|| {
            EngineError::field(
                "kv_bytes",
                format!("one block of {BLOCK_TOKENS} tokens takes {block_bytes} bytes"),
            )
        })?;
        let held = blocks * BLOCK_TOKENS;
        if options.context_length.is_some() && held < wanted {
            let needed = context_blocks as u64 * block_bytes;
            let reason =
                format!("a context of {wanted} tokens takes {needed} bytes; {held} tokens fit");
            return Err(EngineError::field("kv_bytes", reason));
        }
        Ok(Self {
            blocks,
            bytes: blocks as u64 * block_bytes,
            context_length: wanted.min(held),
        })
    }
}

/// Measure the machine with so many threads; `None` as for a load.
///
/// # Errors
/// `InvalidField` for no threads.
pub fn measure_machine(wanted: Option<usize>) -> Result<Machine, EngineError> {
    Ok(Machine::measure(&Pool::new(threads(wanted)?)))
}

pub(crate) fn threads(wanted: Option<usize>) -> Result<usize, EngineError> {
    match wanted {
        Some(0) => Err(EngineError::field("threads", "must be at least 1")),
        Some(threads) => Ok(threads.min(1024)),
        // Counts what affinity and cgroup leave to this process.
        None => Ok(std::thread::available_parallelism().map_or(1, std::num::NonZero::get)),
    }
}

fn step_tokens(options: &LoadOptions) -> usize {
    let chosen = options.step_tokens.unwrap_or(STEP_TOKENS);
    chosen.max(options.max_sequences)
}

fn scheduler(
    options: &LoadOptions,
    plan: &KvPlan,
    shape: &Description,
) -> Result<Scheduler, EngineError> {
    let limits = Limits {
        block_size: BLOCK_TOKENS,
        blocks: plan.blocks,
        step_tokens: step_tokens(options),
        max_running: options.max_sequences,
        // The mailbox bounds the requests in the engine; all of them may wait here.
        max_waiting: options.max_sequences.saturating_add(options.max_waiting),
        max_context: plan.context_length,
        short_context: shape.short_context(),
        // A state is of all tokens before, so nobody can begin with a part of them.
        shares_prefixes: shape.recurrent.is_none(),
    };
    Scheduler::new(limits).map_err(|error| EngineError::field("max_sequences", error.to_string()))
}

pub(crate) fn mailbox<R>(options: &LoadOptions) -> Result<Mailbox<R>, EngineError> {
    if options.max_sequences == 0 {
        return Err(EngineError::field("max_sequences", "must be at least 1"));
    }
    let limit = options.max_sequences.saturating_add(options.max_waiting);
    Mailbox::new(limit).map_err(|error| EngineError::EngineFailed(format!("no eventfd: {error}")))
}

/// One token through the whole model; a file whose weights are not numbers fails here, not at the first request.
fn warm_up(decoder: &Decoder, cache: &KvCache) -> Result<(), EngineError> {
    let failed =
        |text: String| EngineError::ModelFileInvalid(format!("the model does not run: {text}"));
    let mut batch = Batch::new(cache.block_size());
    batch.push(0, &[0], &[0], Outputs::Last);
    let logits = decoder
        .forward(&batch, cache)
        .map_err(|error| failed(error.to_string()))?;
    cache.keep(std::iter::empty());
    let logits = logits.ok_or_else(|| failed("no logits".to_owned()))?;
    let logits = logits
        .flatten_all()
        .and_then(|logits| logits.to_vec1::<f32>());
    let logits = logits.map_err(|error| failed(error.to_string()))?;
    let row = Row {
        logits: &logits,
        params: &SamplingParams::greedy(1),
        seed: 0,
        position: 1,
        counts: None,
        mask: None,
        forbidden: [&[]; 2],
    };
    Sampler::default()
        .sample(&row)
        .map(|_| ())
        .map_err(|error| failed(error.to_string()))
}

pub(crate) fn model_name(name: Option<&String>, options: &LoadOptions) -> String {
    let file = || {
        options
            .path
            .file_stem()
            .map(|stem| stem.to_string_lossy().into_owned())
    };
    name.cloned().or_else(file).unwrap_or_default()
}

/// The type that holds most bytes.
pub(crate) fn quantisation(file: &ModelFile) -> String {
    let mut sizes: Vec<(&str, usize)> = Vec::new();
    for tensor in file.tensors() {
        let name = tensor.ty.name();
        match sizes.iter_mut().find(|(other, _)| *other == name) {
            Some((_, bytes)) => *bytes += tensor.bytes,
            None => sizes.push((name, tensor.bytes)),
        }
    }
    let largest = sizes.iter().max_by_key(|(_, bytes)| *bytes);
    largest
        .map(|(name, _)| (*name).to_owned())
        .unwrap_or_default()
}
