//! Facts about a loaded model and counters of its engine.

use cortex_text::ToolFormat;

/// Sampling defaults that the model's publisher ships: in the GGUF file, else in `generation_config.json`.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Defaults {
    /// Absent means that the publisher says nothing.
    pub temperature: Option<f32>,
    /// As above.
    pub top_k: Option<usize>,
    /// As above.
    pub top_p: Option<f32>,
    /// As above.
    pub min_p: Option<f32>,
    /// As above.
    pub repetition_penalty: Option<f32>,
}

/// What a model can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ModelKind {
    /// Text, token by token.
    Generate,
    /// Vectors of texts.
    Embed,
}

impl ModelKind {
    /// Name as users see it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Generate => "generate",
            Self::Embed => "embed",
        }
    }
}

/// What a step of generation takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StepWork {
    /// Bytes of weights that it reads.
    pub bytes: u64,
    /// Most tokens of it.
    pub tokens: usize,
    /// Weights of the layers, which every token is multiplied with.
    pub layer_weights: u64,
    /// Weights of the head, for tokens whose successor is wanted.
    pub head_weights: u64,
}

/// What was loaded.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelInfo {
    /// Name of the family as the file has it.
    pub architecture: String,
    /// The publisher's name for the model, or the file's.
    pub name: String,
    /// Weight type that holds most bytes, e.g. `Q4_1`.
    pub quantisation: String,
    /// What it can be asked for.
    pub kind: ModelKind,
    /// Values of one embedding; `None` for a model that generates.
    pub dimensions: Option<usize>,
    /// Most tokens of one sequence or text, as limited by model, option and KV memory.
    pub context_length: usize,
    /// Rows of the head.
    pub vocab: usize,
    /// Bytes of the weights as packed.
    pub weights_bytes: u64,
    /// Bytes of the KV pool when it is full; pages are touched only when used.
    pub kv_bytes: u64,
    /// Tokens of one KV block.
    pub kv_block_tokens: usize,
    /// Threads that compute.
    pub threads: usize,
    /// Instruction set of the kernels, chosen at run time.
    pub simd: String,
    /// What a step takes; `None` for a model that does not generate.
    pub step: Option<StepWork>,
    /// Whether `encode_chat` can work.
    pub has_chat_template: bool,
    /// How the model writes tool calls, if its template tells.
    pub tool_format: Option<ToolFormat>,
    /// Whether the model thinks aloud.
    pub thinks: bool,
    /// Sampling defaults of the publisher.
    pub defaults: Defaults,
}

/// Counters since the load, and the state right now.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Stats {
    /// Sequences that hold KV blocks.
    pub running: usize,
    /// Requests that wait for their first step.
    pub waiting: usize,
    /// KV blocks of running sequences.
    pub blocks_used: usize,
    /// KV blocks kept for prefix hits only.
    pub blocks_cached: usize,
    /// KV blocks of the pool.
    pub blocks_total: usize,
    /// Forward passes.
    pub steps: u64,
    /// Prompt tokens computed (also when computed again after a preemption).
    pub prefill_tokens: u64,
    /// Tokens generated.
    pub decode_tokens: u64,
    /// Requests that ended by stop or length.
    pub finished: u64,
    /// Requests that their owner cancelled.
    pub cancelled: u64,
    /// Sequences that lost their blocks to others and were computed again.
    pub preemptions: u64,
    /// Prompt tokens looked up in the prefix cache.
    pub prefix_queries: u64,
    /// Prompt tokens found there.
    pub prefix_hits: u64,
    /// Seconds since the engine thread last made progress; 0 while it has nothing to do.
    pub last_step_age_seconds: f64,
    /// Why the engine failed, if it did.
    pub failed: Option<String>,
}
