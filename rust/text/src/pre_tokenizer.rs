//! How byte-level BPE of each family cuts a text before it merges: facts of the models, by their GGUF names.

use tokenizers::PreTokenizerWrapper;
use tokenizers::SplitDelimiterBehavior::Isolated;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};

use crate::TextError;

const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN2: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN35: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const GPT4O: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const TEKKEN: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const DEEPSEEK3: &str = r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"##;

/// One family: its cuts in order, and whether a piece that is a token as a whole is taken without merging.
struct Family {
    names: &'static [&'static str],
    cuts: &'static [&'static str],
    ///
    /// The same families start a prompt with BOS unless the file says otherwise.
    whole_pieces: bool,
}

const FAMILIES: &[Family] = &[
    Family {
        names: &[
            "gpt-2",
            "mpt",
            "olmo",
            "jais",
            "phi-2",
            "gigachat",
            "roberta-bpe",
        ],
        cuts: &[GPT2],
        whole_pieces: false,
    },
    Family {
        names: &[
            "smollm",
            "starcoder",
            "refact",
            "command-r",
            "codeshell",
            "exaone",
        ],
        cuts: &[r"\p{N}", GPT2],
        whole_pieces: false,
    },
    Family {
        names: &["falcon"],
        cuts: &[r"[\p{P}\$\+<=>\^~\|`]+", GPT2, r"[0-9][0-9][0-9]"],
        whole_pieces: false,
    },
    Family {
        names: &["llama-bpe", "llama3", "llama-v3", "falcon3", "lfm2"],
        cuts: &[LLAMA3],
        whole_pieces: true,
    },
    Family {
        names: &["smaug-bpe", "dbrx", "glm4", "chatglm-bpe"],
        cuts: &[LLAMA3],
        whole_pieces: false,
    },
    Family {
        names: &["qwen2", "deepseek-r1-qwen", "stablelm2", "megrez"],
        cuts: &[QWEN2],
        whole_pieces: false,
    },
    Family {
        names: &["qwen35"],
        cuts: &[QWEN35],
        whole_pieces: false,
    },
    Family {
        names: &["gpt-4o", "llama4"],
        cuts: &[GPT4O],
        whole_pieces: false,
    },
    Family {
        names: &["tekken"],
        cuts: &[TEKKEN],
        whole_pieces: true,
    },
    Family {
        names: &["deepseek-coder"],
        cuts: &[
            r"[\r\n]",
            r"\s?\p{L}+",
            r"\s?\p{P}+",
            "[\u{4e00}-\u{9fa5}\u{800}-\u{4e00}\u{ac00}-\u{d7ff}]+",
            r"\p{N}",
        ],
        whole_pieces: false,
    },
    Family {
        names: &["deepseek-llm"],
        cuts: &[
            r"[\r\n]",
            // Letters that have a case, as Unicode 10 knew them: Georgian ones had none then.
            "\\s?[\\p{Lu}\\p{Ll}\\p{Lt}&&[^\u{10d0}-\u{10ff}]]+",
            "\\s?[!-/:-~！-／：-～‘-‟　-。]+",
            r"\s+$",
            "[\u{4e00}-\u{9fa5}\u{800}-\u{4e00}\u{ac00}-\u{d7ff}]+",
            r"\p{N}+",
        ],
        whole_pieces: false,
    },
    Family {
        names: &["deepseek-v3"],
        cuts: &[
            r"\p{N}{1,3}",
            "[\u{4e00}-\u{9fa5}\u{3040}-\u{309f}\u{30a0}-\u{30ff}]+",
            DEEPSEEK3,
        ],
        whole_pieces: false,
    },
];

/// Whether a prompt starts with BOS where the file does not say.
pub(crate) fn adds_bos(name: Option<&str>) -> bool {
    let family = FAMILIES
        .iter()
        .find(|family| name.is_some_and(|name| family.names.contains(&name)));
    family.is_some_and(|family| family.whole_pieces)
}

/// The pre-tokeniser of a name, and whether whole pieces go before merges.
pub(crate) fn pre_tokenizer(name: Option<&str>) -> Result<(Sequence, bool), TextError> {
    let name = name.ok_or_else(|| {
        unsupported("the file does not name its pre-tokeniser (tokenizer.ggml.pre)".to_owned())
    })?;
    let family = FAMILIES.iter().find(|family| family.names.contains(&name));
    let family = family.ok_or_else(|| {
        let known: Vec<&str> = FAMILIES
            .iter()
            .flat_map(|family| family.names)
            .copied()
            .collect();
        unsupported(format!(
            "pre-tokeniser {name:?}; known are {}",
            known.join(", ")
        ))
    })?;
    let cuts = family.cuts.iter().map(|cut| {
        let pattern = SplitPattern::Regex((*cut).to_owned());
        let split = Split::new(pattern, Isolated, false);
        split
            .map(PreTokenizerWrapper::from)
            .map_err(|error| unsupported(error.to_string()))
    });
    let mut steps = cuts.collect::<Result<Vec<_>, _>>()?;
    steps.push(ByteLevel::new(false, false, false).into());
    Ok((Sequence::new(steps), family.whole_pieces))
}

fn unsupported(text: String) -> TextError {
    TextError::UnsupportedTokenizer(text)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::{FAMILIES, pre_tokenizer};

    #[test]
    fn every_family_compiles_and_no_name_is_in_two() {
        let mut names: Vec<&str> = FAMILIES
            .iter()
            .flat_map(|family| family.names)
            .copied()
            .collect();
        for name in &names {
            pre_tokenizer(Some(name)).unwrap();
        }
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
    }

    #[test]
    fn an_unknown_name_is_refused_by_name() {
        let error = pre_tokenizer(Some("no-such")).err().unwrap().to_string();
        assert!(
            error.contains("no-such") && error.contains("smollm"),
            "{error}"
        );
        assert!(pre_tokenizer(None).is_err());
    }
}
