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

const KIMI: &str = r"[\p{Han}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const BAILING: &str = r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+";
const SEED_CODER: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1}| ?[^\s\p{L}\p{N}\r\n]+|\s*[\r\n]+|\s+(?!\S)|\s+";
const EXAONE_MOE: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?(?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]?|\s*[\r\n]|\s+(?!\S)|\s+";
const BLOOM: &str = r" ?[^(\s|.,!?…。，、।۔،)]+";

/// One family: its cuts in order.
struct Family {
    names: &'static [&'static str],
    cuts: &'static [&'static str],
    /// Whether a piece that is a token as a whole is taken without merging.
    whole_pieces: bool,
    /// Whether a prompt starts with BOS unless the file says otherwise.
    bos: bool,
}

const fn family(names: &'static [&'static str], cuts: &'static [&'static str]) -> Family {
    Family {
        names,
        cuts,
        whole_pieces: false,
        bos: false,
    }
}

impl Family {
    const fn whole_pieces(self) -> Self {
        Self {
            whole_pieces: true,
            ..self
        }
    }

    const fn bos(self) -> Self {
        Self { bos: true, ..self }
    }
}

const FAMILIES: &[Family] = &[
    family(
        &[
            "gpt-2",
            "mpt",
            "olmo",
            "jais",
            "phi-2",
            "gigachat",
            "roberta-bpe",
            "jina-es",
            "jina-de",
            "jina-v1-en",
            "jina-v2-es",
            "jina-v2-de",
            "jina-v2-code",
            "a.x-4.0",
            "mellum",
            "modern-bert",
            "exaone4",
            "trillion",
            "granite-docling",
        ],
        &[GPT2],
    ),
    family(
        &[
            "smollm",
            "starcoder",
            "refact",
            "command-r",
            "codeshell",
            "exaone",
            "minerva-7b",
            "mellum2",
        ],
        &[r"\p{N}", GPT2],
    ),
    family(
        &["falcon"],
        &[r"[\p{P}\$\+<=>\^~\|`]+", GPT2, r"[0-9][0-9][0-9]"],
    ),
    family(
        &[
            "llama-bpe",
            "llama3",
            "llama-v3",
            "falcon3",
            "falcon-h1",
            "lfm2",
            "midm-2.0",
        ],
        &[LLAMA3],
    )
    .whole_pieces()
    .bos(),
    family(&["smaug-bpe", "dbrx", "chatglm-bpe"], &[LLAMA3]),
    family(&["glm4", "glm5"], &[LLAMA3]).whole_pieces(),
    family(
        &[
            "qwen2",
            "deepseek-r1-qwen",
            "stablelm2",
            "megrez",
            "hunyuan",
            "kormo",
            "f2llmv2",
            "solar-open",
            "grok-2",
        ],
        &[QWEN2],
    ),
    family(&["qwen35"], &[QWEN35]),
    family(&["gpt-4o", "llama4", "kanana2", "minimax-m2"], &[GPT4O]),
    family(
        &["tiny_aya", "cohere2moe"],
        &[r"\d{1,3}(?=(?:\d{3})*\b)", GPT4O],
    ),
    family(&["tekken"], &[TEKKEN]).whole_pieces().bos(),
    family(&["kimi-k2"], &[KIMI]).whole_pieces(),
    family(&["bailingmoe", "bailingmoe2", "llada-moe"], &[BAILING]),
    family(&["seed-coder"], &[SEED_CODER]),
    family(&["exaone-moe"], &[EXAONE_MOE]),
    family(&["bloom", "poro-chat", "gpt3-finnish"], &[BLOOM]),
    family(&["viking"], &[BLOOM, r"\p{N}"]),
    family(
        &["deepseek-coder"],
        &[
            r"[\r\n]",
            r"\s?\p{L}+",
            r"\s?\p{P}+",
            "[\u{4e00}-\u{9fa5}\u{800}-\u{4e00}\u{ac00}-\u{d7ff}]+",
            r"\p{N}",
        ],
    ),
    family(
        &["deepseek-llm"],
        &[
            r"[\r\n]",
            // Letters that have a case, as Unicode 10 knew them: Georgian ones had none then.
            "\\s?[\\p{Lu}\\p{Ll}\\p{Lt}&&[^\u{10d0}-\u{10ff}]]+",
            "\\s?[!-/:-~！-／：-～‘-‟　-。]+",
            r"\s+$",
            "[\u{4e00}-\u{9fa5}\u{800}-\u{4e00}\u{ac00}-\u{d7ff}]+",
            r"\p{N}+",
        ],
    ),
    family(
        &["deepseek-v3", "hunyuan-dense", "joyai-llm"],
        &[
            r"\p{N}{1,3}",
            "[\u{4e00}-\u{9fa5}\u{3040}-\u{309f}\u{30a0}-\u{30ff}]+",
            DEEPSEEK3,
        ],
    ),
];

/// Whether a prompt starts with BOS where the file does not say.
pub(crate) fn adds_bos(name: Option<&str>) -> bool {
    let family = FAMILIES
        .iter()
        .find(|family| name.is_some_and(|name| family.names.contains(&name)));
    family.is_some_and(|family| family.bos)
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
    use tokenizers::{OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer};

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

    /// The pieces of a text, in the byte alphabet, with bars between.
    fn pieces(name: &str, text: &str) -> String {
        let (cuts, _) = pre_tokenizer(Some(name)).unwrap();
        let mut text = PreTokenizedString::from(text);
        cuts.pre_tokenize(&mut text).unwrap();
        let pieces = text.get_splits(OffsetReferential::Original, OffsetType::Byte);
        let pieces: Vec<&str> = pieces.into_iter().map(|(piece, ..)| piece).collect();
        pieces.join("|")
    }

    #[test]
    fn families_cut_as_their_tokenizers_do() {
        let cases = [
            (
                "kimi-k2",
                "fooBar's 中文a 12345",
                "foo|Bar's|Ġ|ä¸Ńæĸĩ|a|Ġ|123|45",
            ),
            ("gpt-4o", "fooBar's 12345", "foo|Bar's|Ġ|123|45"),
            ("tekken", "fooBar's 12345", "foo|Bar|'s|Ġ|1|2|3|4|5"),
            (
                "llama-bpe",
                "fooBar's 12345\n\n x",
                "fooBar|'s|Ġ|123|45|ĊĊ|Ġx",
            ),
            ("qwen2", "fooBar's 123", "fooBar|'s|Ġ|1|2|3"),
            ("seed-coder", "a!\n\nb", "a|!|ĊĊ|b"),
            ("bailingmoe", "a!\n\nb\n\n c", "a|!ĊĊ|b|ĊĊ|Ġc"),
            ("tiny_aya", "1234567", "1|234|567"),
            ("smollm", "a 12", "a|Ġ|1|2"),
            ("bloom", "a b, c", "a|Ġb|,|Ġc"),
        ];
        for (name, text, expected) in cases {
            assert_eq!(pieces(name, text), expected, "{name}: {text:?}");
        }
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
