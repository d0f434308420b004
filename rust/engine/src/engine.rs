//! The handle on a loaded model: encode, submit, cancel, drain, close.

use std::os::fd::RawFd;

use crate::loader::LoadState;
use crate::{EngineError, Event, LoadOptions, ModelInfo, SamplingParams, Stats};

/// A loaded model with its engine thread; all methods may be called from any thread.
pub struct Engine {
    info: ModelInfo,
}

impl Engine {
    pub(crate) fn load(_options: &LoadOptions, state: &LoadState) -> Result<Self, EngineError> {
        state.check()?;
        Err(EngineError::EngineFailed("not yet built".to_owned()))
    }
    pub fn info(&self) -> &ModelInfo {
        &self.info
    }
    /// Render the chat template and tokenise; user text never becomes a control token. Arguments are JSON.
    pub fn encode_chat(
        &self,
        _messages: &str,
        _tools: Option<&str>,
        _kwargs: Option<&str>,
        _add_generation_prompt: bool,
    ) -> Result<Vec<u32>, EngineError> {
        Ok(Vec::new())
    }
    /// Tokenise a text; `add_special` puts BOS in front by the tokenizer's rule.
    pub fn encode_text(
        &self,
        _text: &str,
        _add_special: bool,
        _parse_special: bool,
    ) -> Result<Vec<u32>, EngineError> {
        Ok(Vec::new())
    }
    pub fn decode(&self, _tokens: &[u32]) -> Result<String, EngineError> {
        Ok(String::new())
    }
    pub fn submit(&self, _prompt: Vec<u32>, _params: SamplingParams) -> Result<u64, EngineError> {
        Ok(0)
    }
    pub fn cancel(&self, _request: u64) {}
    pub fn drain(&self) -> Vec<Event> {
        Vec::new()
    }
    pub fn fd(&self) -> RawFd {
        0
    }
    pub fn stats(&self) -> Stats {
        Stats::default()
    }
    pub fn close(&self) {}
}
