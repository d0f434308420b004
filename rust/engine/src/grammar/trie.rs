//! The vocabulary as the grammar library reads it: the bytes of every token, in a prefix tree.

use std::sync::Arc;

use cortex_text::Tokenizer;
use llguidance::toktrie::{ApproximateTokEnv, INVALID_TOKEN, TokEnv, TokRxInfo, TokTrie};

/// The library's mark before the name of a control token; no byte of a valid text.
const MARK: u8 = 0xff;
/// Longer tokens are never allowed: walks of the tree recurse by byte.
const LONGEST_TOKEN: usize = 1024;

/// The tree of a model whose head has `vocab` rows; `eos` are the ids that end an answer.
pub(super) fn token_environment(tokenizer: &Tokenizer, vocab: usize, eos: &[u32]) -> TokEnv {
    let eos: Vec<u32> = eos
        .iter()
        .copied()
        .filter(|&id| (id as usize) < vocab)
        .collect();
    let words: Vec<Vec<u8>> = (0..vocab as u32).map(|id| word(tokenizer, id)).collect();
    let first = eos.first().copied().unwrap_or(INVALID_TOKEN);
    let mut trie = TokTrie::from(&TokRxInfo::new(vocab as u32, first), &words);
    if !eos.is_empty() {
        trie = trie.with_eos_tokens(&eos);
    }
    // Not canonical: the model chooses how it splits what the grammar leaves it.
    Arc::new(ApproximateTokEnv::new(trie))
}

/// The bytes of a token; a control token has its name behind the mark, and what says nothing has none.
fn word(tokenizer: &Tokenizer, id: u32) -> Vec<u8> {
    let mut bytes = tokenizer.token_bytes(id).unwrap_or_default().to_vec();
    if tokenizer.is_control(id) {
        bytes = vec![MARK];
        bytes.extend(tokenizer.token_text(id).unwrap_or_default().into_bytes());
    } else if bytes.first() == Some(&MARK) {
        bytes.clear();
    }
    if bytes.len() > LONGEST_TOKEN {
        bytes.clear();
    }
    bytes
}
