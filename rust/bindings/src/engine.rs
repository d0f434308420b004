//! A loaded model with its engine thread.

use std::os::fd::RawFd;

use cortex_engine::SamplingParams;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use serde_json::{Value, json};

use crate::events::Event;
use crate::grammar::{Grammar, source};
use crate::outside::outside;
use crate::parsing::tools;
use crate::prompt::Prompt;

/// Every method may be called from any thread; the long ones let go of the interpreter.
#[pyclass(frozen, module = "cortex._native")]
pub(crate) struct Engine {
    pub inner: cortex_engine::Engine,
}

#[pymethods]
impl Engine {
    fn info(&self) -> String {
        let info = self.inner.info();
        let defaults = info.defaults;
        json!({
            "architecture": info.architecture,
            "name": info.name,
            "quantisation": info.quantisation,
            "kind": info.kind.name(),
            "dimensions": info.dimensions,
            "context_length": info.context_length,
            "vocab": info.vocab,
            "weights_bytes": info.weights_bytes,
            "kv_bytes": info.kv_bytes,
            "kv_block_tokens": info.kv_block_tokens,
            "threads": info.threads,
            "simd": info.simd,
            "step": info.step.map(|step| json!({
                "bytes": step.bytes,
                "tokens": step.tokens,
                "layer_weights": step.layer_weights,
                "head_weights": step.head_weights,
            })),
            "has_chat_template": info.has_chat_template,
            "tool_format": info.tool_format.map(|format| format!("{format:?}")),
            "thinks": info.thinks,
            "defaults": {
                "temperature": number(defaults.temperature),
                "top_k": defaults.top_k,
                "top_p": number(defaults.top_p),
                "min_p": number(defaults.min_p),
                "repetition_penalty": number(defaults.repetition_penalty),
            },
        })
        .to_string()
    }

    #[pyo3(signature = (messages, *, tools=None, kwargs=None, add_generation_prompt=true, most_tokens=None))]
    fn encode_chat(
        &self,
        py: Python<'_>,
        messages: &[u8],
        tools: Option<&[u8]>,
        kwargs: Option<&[u8]>,
        add_generation_prompt: bool,
        most_tokens: Option<usize>,
    ) -> PyResult<Prompt> {
        let messages = utf8(messages)?;
        let tools = tools.map(utf8).transpose()?;
        let kwargs = kwargs.map(utf8).transpose()?;
        let tokens = outside(py, || {
            self.inner
                .encode_chat(messages, tools, kwargs, add_generation_prompt, most_tokens)
        })?;
        Ok(Prompt { tokens })
    }

    #[pyo3(signature = (text, *, add_special=true, parse_special=false, most_tokens=None))]
    fn encode_text(
        &self,
        py: Python<'_>,
        text: &str,
        add_special: bool,
        parse_special: bool,
        most_tokens: Option<usize>,
    ) -> PyResult<Prompt> {
        let tokens = outside(py, || {
            self.inner
                .encode_text(text, add_special, parse_special, most_tokens)
        })?;
        Ok(Prompt { tokens })
    }

    #[expect(
        clippy::needless_pass_by_value,
        reason = "what a Python sequence becomes"
    )]
    fn decode(&self, py: Python<'_>, tokens: Vec<u32>) -> PyResult<String> {
        outside(py, || Ok(self.inner.decode(&tokens)))
    }

    fn compile(&self, py: Python<'_>, kind: &str, text: String) -> PyResult<Grammar> {
        let source = source(kind, text)?;
        let inner = outside(py, || self.inner.compile(&source))?;
        Ok(Grammar { inner })
    }

    #[pyo3(signature = (prompt, *, max_tokens, temperature=1.0, top_k=None, top_p=1.0, min_p=0.0, seed=None,
        frequency_penalty=0.0, presence_penalty=0.0, repetition_penalty=1.0, stop=None, min_tokens=0,
        ignore_eos=false, stop_token_ids=None, logit_bias=None, logprobs=None, prompt_logprobs=None, grammar=None,
        parsing=None, cache_salt=0))]
    #[expect(
        clippy::too_many_arguments,
        reason = "keyword arguments of one Python method"
    )]
    fn submit(
        &self,
        py: Python<'_>,
        prompt: &Prompt,
        max_tokens: usize,
        temperature: f32,
        top_k: Option<usize>,
        top_p: f32,
        min_p: f32,
        seed: Option<u64>,
        frequency_penalty: f32,
        presence_penalty: f32,
        repetition_penalty: f32,
        stop: Option<Vec<String>>,
        min_tokens: usize,
        ignore_eos: bool,
        stop_token_ids: Option<Vec<u32>>,
        logit_bias: Option<Vec<(u32, f32)>>,
        logprobs: Option<usize>,
        prompt_logprobs: Option<usize>,
        grammar: Option<&Grammar>,
        parsing: Option<&[u8]>,
        cache_salt: u64,
    ) -> PyResult<u64> {
        let tools = parsing.map(tools).transpose()?;
        let params = SamplingParams {
            max_tokens,
            temperature,
            top_k,
            top_p,
            min_p,
            seed,
            frequency_penalty,
            presence_penalty,
            repetition_penalty,
            stop: stop.unwrap_or_default(),
            min_tokens,
            ignore_eos,
            stop_token_ids: stop_token_ids.unwrap_or_default(),
            logit_bias: logit_bias.unwrap_or_default(),
            logprobs,
            prompt_logprobs,
            grammar: grammar.map(|grammar| grammar.inner.clone()),
            cache_salt,
        };
        let prompt = prompt.tokens.clone();
        outside(py, || match tools {
            Some(tools) => self.inner.submit_chat(prompt, params, tools),
            None => self.inner.submit(prompt, params),
        })
    }

    #[expect(
        clippy::needless_pass_by_value,
        reason = "what a Python sequence becomes"
    )]
    #[pyo3(signature = (texts, *, dimensions=None))]
    fn embed(
        &self,
        py: Python<'_>,
        texts: Vec<PyRef<'_, Prompt>>,
        dimensions: Option<usize>,
    ) -> PyResult<u64> {
        let texts: Vec<Vec<u32>> = texts.iter().map(|text| text.tokens.clone()).collect();
        outside(py, || self.inner.embed(texts, dimensions))
    }

    fn cancel(&self, request: u64) {
        self.inner.cancel(request);
    }

    fn drain(&self, py: Python<'_>) -> PyResult<Vec<Event>> {
        let events = self.inner.drain().into_iter();
        events
            .map(|event| Event::new(py, event, &self.inner))
            .collect()
    }

    fn fileno(&self) -> RawFd {
        self.inner.fd()
    }

    fn stats(&self) -> String {
        let stats = self.inner.stats();
        json!({
            "running": stats.running,
            "waiting": stats.waiting,
            "blocks_used": stats.blocks_used,
            "blocks_cached": stats.blocks_cached,
            "blocks_total": stats.blocks_total,
            "steps": stats.steps,
            "prefill_tokens": stats.prefill_tokens,
            "decode_tokens": stats.decode_tokens,
            "finished": stats.finished,
            "cancelled": stats.cancelled,
            "preemptions": stats.preemptions,
            "prefix_queries": stats.prefix_queries,
            "prefix_hits": stats.prefix_hits,
            "last_step_age_seconds": stats.last_step_age_seconds,
            "failed": stats.failed,
        })
        .to_string()
    }

    fn timings(&self) -> String {
        let timings = self.inner.timings();
        let all = timings.named().into_iter().map(|(name, histogram)| {
            let told = json!({
                "bounds": histogram.bounds(),
                "counts": histogram.counts(),
                "sum": histogram.sum(),
            });
            (name.to_owned(), told)
        });
        Value::Object(all.collect()).to_string()
    }

    fn close(&self, py: Python<'_>) -> PyResult<()> {
        outside(py, || {
            self.inner.close();
            Ok(())
        })
    }
}

/// The shortest decimal that reads back as the same number: 0.9, not 0.8999999761581421.
fn number(value: Option<f32>) -> Value {
    let decimal = value.and_then(|value| value.to_string().parse::<f64>().ok());
    decimal.map_or(Value::Null, Value::from)
}

fn utf8(bytes: &[u8]) -> PyResult<&str> {
    std::str::from_utf8(bytes).map_err(|error| PyValueError::new_err(format!("not UTF-8: {error}")))
}
