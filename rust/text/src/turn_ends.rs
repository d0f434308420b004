//! The tokens that end an answer.

use crate::vocab::Vocab;

/// Control tokens with which models end a turn or a file, whatever else their files declare.
pub(crate) const TURN_ENDS: [&str; 28] = [
    "</s>",
    "<eos>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<|im_end|>",
    "<|end|>",
    "<|return|>",
    "<|call|>",
    "<|endoftext|>",
    "<|end_of_text|>",
    "<end_of_turn>",
    "<turn|>",
    "<|END_OF_TURN_TOKEN|>",
    "<EOT>",
    "[EOT]",
    "[EOS]",
    "[e~[",
    "<|flush|>",
    "<|calls|>",
    "<end_of_utterance>",
    // Gemma 4 waits here for what a tool answers.
    "<|tool_response>",
    "<｜end▁of▁sentence｜>",
    // Between the files of a repository: a completion ends there.
    "<|fim_pad|>",
    "<fim_pad>",
    "<fim-pad>",
    "<|repo_name|>",
    "<reponame>",
    "<|file_sep|>",
];

/// The declared ids, then those of the control tokens that are known to end a turn; each once.
pub(crate) fn turn_ends(vocab: &Vocab, declared: impl Iterator<Item = u32>) -> Vec<u32> {
    let known = TURN_ENDS.iter().filter_map(|text| vocab.control_id(text));
    let mut ids = Vec::new();
    for id in declared.chain(known) {
        if !ids.contains(&id) {
            ids.push(id);
        }
    }
    ids
}
