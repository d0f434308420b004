//! How families of models write thoughts and calls, as data.

use super::objects::Objects;
use super::pythonic::Pythonic;
use super::tagged::Tagged;
use super::{harmony, named::Named};

/// How a model marks its thoughts.
#[derive(Debug, PartialEq, Eq)]
pub struct Reasoning {
    /// What begins a thought, without white space at its end.
    pub(super) open: &'static str,
    /// What ends it.
    pub(super) close: &'static str,
}

impl Reasoning {
    /// What begins a thought.
    #[must_use]
    pub fn opening(&self) -> &'static str {
        self.open
    }
}

/// How calls are written behind an opening.
#[derive(Clone, Copy, Debug)]
pub(super) enum How {
    /// `<tool_call>`, behind which three families write three things.
    Call,
    Objects(Objects),
    Named(Named),
    /// The opening stays: it is that of the first call.
    Tagged(Tagged),
    /// The opening goes before that of the first call.
    Section(Tagged),
    Pythonic(Pythonic),
    Gemma,
}

/// A way to write calls: its openings, and whether an answer may also begin without one.
#[derive(Debug)]
pub(super) struct Style {
    pub openings: &'static [(&'static str, How)],
    pub bare: Option<(char, How)>,
}

/// A family's way to call tools.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ToolFormat {
    /// `<tool_call>` with JSON (Hermes, Qwen), tags (Qwen Coder) or keys and values (GLM) in it.
    ToolCall,
    /// `<tool_calls>` with a list or lines of JSON (`MiniMax` M1, Apriel).
    ToolCalls,
    /// `<seed:tool_call>` with tags.
    Seed,
    /// `<minimax:tool_call>` with `<invoke name="…">`.
    Invoke,
    /// The same with tags of `DeepSeek`'s own.
    Dsml,
    /// `<function name="…"><param name="…">`.
    Param,
    /// `<function=f>{…}</function>`.
    Functionary,
    /// `<｜tool▁call▁begin｜>f<｜tool▁sep｜>{…}`.
    DeepSeek,
    /// `<|tool_call_begin|>functions.f:0<|tool_call_argument_begin|>{…}`.
    Kimi,
    /// `[TOOL_CALLS]` with a list, or a name and `[ARGS]`.
    Mistral,
    /// `<|START_ACTION|>[…]`, or a block after `Action:`.
    Cohere,
    /// `<|tools_prefix|>[{"f": {…}}]`.
    Apertus,
    /// `<TOOLCALL>[…]`.
    Nemotron,
    /// `<|tool_call|>[…]`, or `functools[…]` (Granite, Phi).
    Granite,
    /// A turn of its own for the call.
    GigaChat,
    /// A bare object, or one after `<|python_tag|>` (Llama 3).
    Llama,
    /// `[f(a=1)]`, in the tags of LFM2 or Llama 4 or bare, and blocks of `tool_code` (Gemma 3).
    Pythonic,
    /// `<|tool_call>call:f{…}`.
    Gemma,
    /// The channels of gpt-oss.
    Harmony,
}

const fn objects(close: &'static [&'static str]) -> How {
    How::Objects(Objects {
        close,
        known: false,
        keyed: false,
    })
}

/// A call with nothing around it.
pub(super) const BARE: Objects = Objects {
    close: &[";"],
    known: true,
    keyed: false,
};
const FUNCTION: Tagged = Tagged {
    call: "<function=",
    argument: "<parameter=",
    argument_end: "</parameter>",
    call_end: "</function>",
    end: "</tool_call>",
};
const SEED: Tagged = Tagged {
    end: "</seed:tool_call>",
    ..FUNCTION
};
const INVOKE: Tagged = Tagged {
    call: "<invoke name=\"",
    argument: "<parameter name=\"",
    argument_end: "</parameter>",
    call_end: "</invoke>",
    end: "</minimax:tool_call>",
};
const DSML: Tagged = Tagged {
    call: "<｜DSML｜invoke name=\"",
    argument: "<｜DSML｜parameter name=\"",
    argument_end: "</｜DSML｜parameter>",
    call_end: "</｜DSML｜invoke>",
    end: "</｜DSML｜tool_calls>",
};
const PARAM: Tagged = Tagged {
    call: "<function name=\"",
    argument: "<param name=\"",
    argument_end: "</param>",
    call_end: "</function>",
    end: "</tool_call>",
};
const DEEPSEEK: Named = Named {
    open: "<｜tool▁call▁begin｜>",
    separators: &["<｜tool▁sep｜>"],
    close: &["<｜tool▁call▁end｜>"],
    end: &["<｜tool▁calls▁end｜>"],
};
const KIMI: Named = Named {
    open: "<|tool_call_begin|>",
    separators: &["<|tool_call_argument_begin|>"],
    close: &["<|tool_call_end|>"],
    end: &["<|tool_calls_section_end|>"],
};
const MISTRAL: Named = Named {
    open: "",
    separators: &["[CALL_ID]", "[ARGS]"],
    close: &[],
    end: &[],
};
const LIST: Pythonic = Pythonic {
    close: &["<|tool_call_end|>", "<|python_end|>", "```"],
    known: false,
};

/// What stands inside of `<tool_call>`, besides tags.
pub(super) const CALL: Objects = Objects {
    close: &["</tool_call>"],
    known: false,
    keyed: false,
};
pub(super) const CALL_TAGS: Tagged = FUNCTION;

impl ToolFormat {
    /// How its calls are found and read.
    pub(super) fn style(self) -> &'static Style {
        match self {
            Self::ToolCall => &TOOL_CALL,
            Self::ToolCalls => &TOOL_CALLS,
            Self::Seed => &SEED_STYLE,
            Self::Invoke => &INVOKE_STYLE,
            Self::Dsml => &DSML_STYLE,
            Self::Param => &PARAM_STYLE,
            Self::Functionary => &FUNCTIONARY,
            Self::DeepSeek => &DEEPSEEK_STYLE,
            Self::Kimi => &KIMI_STYLE,
            Self::Mistral => &MISTRAL_STYLE,
            Self::Cohere => &COHERE,
            Self::Apertus => &APERTUS,
            Self::Nemotron => &NEMOTRON,
            Self::Granite => &GRANITE,
            Self::GigaChat => &GIGACHAT,
            Self::Llama => &LLAMA,
            Self::Pythonic => &PYTHONIC,
            Self::Gemma => &GEMMA,
            Self::Harmony => &HARMONY,
        }
    }

    /// Control tokens that calls of this format may hold: their names must reach the parser.
    pub(super) fn holds(self, token: &str) -> bool {
        let held = |text: &&str| text.contains(token);
        let style = self.style();
        match self {
            Self::Harmony => return harmony::TOKENS.contains(&token),
            Self::Gemma if token.contains("\"|>") => return true,
            _ => {}
        }
        style.openings.iter().any(|(opening, how)| {
            opening.contains(token)
                || match how {
                    How::Call => CALL.close.iter().any(held) || holds_tag(CALL_TAGS, token),
                    How::Objects(objects) => objects.close.iter().any(held),
                    How::Named(named) => {
                        let lists = [named.separators, named.close, named.end];
                        named.open.contains(token) || lists.concat().iter().any(held)
                    }
                    How::Tagged(tagged) | How::Section(tagged) => holds_tag(*tagged, token),
                    How::Pythonic(pythonic) => pythonic.close.iter().any(held),
                    How::Gemma => token == "<tool_call|>",
                }
        })
    }
}

fn holds_tag(tagged: Tagged, token: &str) -> bool {
    let texts = [
        tagged.call,
        tagged.argument,
        tagged.argument_end,
        tagged.call_end,
        tagged.end,
        "</arg_key><arg_value></arg_value><arg_key>",
    ];
    texts.iter().any(|text| text.contains(token))
}

static TOOL_CALL: Style = Style {
    openings: &[
        ("<tool_call>", How::Call),
        ("<function=", How::Tagged(FUNCTION)),
    ],
    bare: None,
};
static TOOL_CALLS: Style = Style {
    openings: &[
        ("<tool_calls>", objects(&["</tool_calls>"])),
        ("<tool_call>", How::Call),
    ],
    bare: None,
};
static SEED_STYLE: Style = Style {
    openings: &[("<seed:tool_call>", How::Section(SEED))],
    bare: None,
};
static INVOKE_STYLE: Style = Style {
    openings: &[("<minimax:tool_call>", How::Section(INVOKE))],
    bare: None,
};
static DSML_STYLE: Style = Style {
    openings: &[("<｜DSML｜tool_calls>", How::Section(DSML))],
    bare: None,
};
static PARAM_STYLE: Style = Style {
    openings: &[("<function name=\"", How::Tagged(PARAM))],
    bare: None,
};
static FUNCTIONARY: Style = Style {
    openings: &[
        ("<function=", How::Tagged(FUNCTION)),
        ("<|python_tag|>", objects(&[])),
    ],
    bare: None,
};
static DEEPSEEK_STYLE: Style = Style {
    openings: &[("<｜tool▁calls▁begin｜>", How::Named(DEEPSEEK))],
    bare: None,
};
static KIMI_STYLE: Style = Style {
    openings: &[("<|tool_calls_section_begin|>", How::Named(KIMI))],
    bare: None,
};
static MISTRAL_STYLE: Style = Style {
    openings: &[("[TOOL_CALLS]", How::Named(MISTRAL))],
    bare: None,
};
static COHERE: Style = Style {
    openings: &[
        ("<|START_ACTION|>", objects(&["<|END_ACTION|>"])),
        ("Action: ```json", objects(&["```"])),
        ("Action:\n```json", objects(&["```"])),
    ],
    bare: None,
};
static APERTUS: Style = Style {
    openings: &[(
        "<|tools_prefix|>",
        How::Objects(Objects {
            close: &["<|tools_suffix|>"],
            known: false,
            keyed: true,
        }),
    )],
    bare: None,
};
static NEMOTRON: Style = Style {
    openings: &[("<TOOLCALL>", objects(&["</TOOLCALL>"]))],
    bare: None,
};
static GRANITE: Style = Style {
    openings: &[
        ("<|tool_call|>", objects(&["<|/tool_call|>"])),
        ("<tool_call>", How::Call),
        ("functools", objects(&[])),
    ],
    bare: None,
};
static GIGACHAT: Style = Style {
    openings: &[
        (
            "<|message_sep|>\n\nfunction call<|role_sep|>\n",
            objects(&[]),
        ),
        ("function call<|role_sep|>\n", objects(&[])),
    ],
    bare: None,
};
static LLAMA: Style = Style {
    openings: &[("<|python_tag|>", objects(&[";"]))],
    bare: Some(('{', How::Objects(BARE))),
};
static PYTHONIC: Style = Style {
    openings: &[
        ("<|tool_call_start|>", How::Pythonic(LIST)),
        ("<|python_start|>", How::Pythonic(LIST)),
        ("```tool_code", How::Pythonic(LIST)),
        ("```tool_call", How::Pythonic(LIST)),
    ],
    bare: Some((
        '[',
        How::Pythonic(Pythonic {
            known: true,
            ..LIST
        }),
    )),
};
static GEMMA: Style = Style {
    openings: &[("<|tool_call>", How::Gemma)],
    bare: None,
};
/// Read by `harmony`.
static HARMONY: Style = Style {
    openings: &[],
    bare: None,
};
