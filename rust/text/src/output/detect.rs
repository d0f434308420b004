//! Which formats a model writes: seen from its chat template and its vocabulary.

use super::formats::{Reasoning, ToolFormat};

/// How a model writes thoughts and calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutputFormat {
    /// None: the template knows no tools, or writes calls in no known way.
    pub tools: Option<ToolFormat>,
    /// None: the model does not think aloud.
    pub reasoning: Option<&'static Reasoning>,
}

/// All parts must stand in the template; the first row that fits counts, so that the more telling ones come first.
const TOOLS: &[(&[&str], ToolFormat)] = &[
    (
        &["<|channel|>", "<|message|>", "functions."],
        ToolFormat::Harmony,
    ),
    (&["<|tool_call>", "call:"], ToolFormat::Gemma),
    (&["｜DSML｜"], ToolFormat::Dsml),
    (&["<minimax:tool_call>"], ToolFormat::Invoke),
    (&["<seed:tool_call>"], ToolFormat::Seed),
    (&["<function name=", "<param name="], ToolFormat::Param),
    (&["<tool_call>"], ToolFormat::ToolCall),
    (&["<function=", "<parameter="], ToolFormat::ToolCall),
    (&["<tool_calls>"], ToolFormat::ToolCalls),
    (&["<function="], ToolFormat::Functionary),
    (&["<｜tool▁call▁begin｜>"], ToolFormat::DeepSeek),
    (&["<｜tool▁calls▁begin｜>"], ToolFormat::DeepSeek),
    (&["<|tool_calls_section_begin|>"], ToolFormat::Kimi),
    (&["[TOOL_CALLS]"], ToolFormat::Mistral),
    (&["<|START_ACTION|>"], ToolFormat::Cohere),
    (&["Action:", "```json"], ToolFormat::Cohere),
    (&["<|tools_prefix|>"], ToolFormat::Apertus),
    (&["<TOOLCALL>"], ToolFormat::Nemotron),
    (&["<|tool_call_start|>"], ToolFormat::Pythonic),
    (&["<|tool_list_start|>"], ToolFormat::Pythonic),
    (&["<|tool_call|>"], ToolFormat::Granite),
    (&["functools"], ToolFormat::Granite),
    (&["function call", "<|role_sep|>"], ToolFormat::GigaChat),
    (&["<|python_start|>"], ToolFormat::Pythonic),
    (&["```tool_code"], ToolFormat::Pythonic),
    (&["ipython", "\"parameters\""], ToolFormat::Llama),
    (&["<|python_tag|>"], ToolFormat::Llama),
];

const fn marks(open: &'static str, close: &'static str) -> Reasoning {
    Reasoning { open, close }
}

static THINK: Reasoning = marks("<think>", "</think>");
static BRACKETS: Reasoning = marks("[THINK]", "[/THINK]");
static SEED: Reasoning = marks("<seed:think>", "</seed:think>");
static THOUGHT: Reasoning = marks("<thought>", "</thought>");
static REASONING: Reasoning = marks("<reasoning>", "</reasoning>");
static COHERE: Reasoning = marks("<|START_THINKING|>", "<|END_THINKING|>");
static GEMMA: Reasoning = marks("<|channel>thought", "<channel|>");
static APERTUS: Reasoning = marks("<|inner_prefix|>", "<|inner_suffix|>");
static APRIEL: Reasoning = marks("Here are my reasoning steps:", "[BEGIN FINAL RESPONSE]");
/// The channels are read by `harmony`; the opening is what tells the channel of thoughts.
static HARMONY: Reasoning = marks("<|channel|>analysis<|message|>", "<|end|>");

/// What in a template tells each kind of thoughts.
static THOUGHTS: &[(&str, &Reasoning)] = &[
    ("<|channel|>analysis", &HARMONY),
    ("<|channel>thought", &GEMMA),
    ("<seed:think>", &SEED),
    ("[THINK]", &BRACKETS),
    ("<|START_THINKING|>", &COHERE),
    ("<|inner_prefix|>", &APERTUS),
    ("[BEGIN FINAL RESPONSE]", &APRIEL),
    ("<think>", &THINK),
    ("</think>", &THINK),
    ("<thought>", &THOUGHT),
    ("<reasoning>", &REASONING),
];

impl OutputFormat {
    /// Read a template; `has_token` tells whether the vocabulary has a token of a name.
    #[must_use]
    pub fn detect(template: &str, has_token: impl Fn(&str) -> bool) -> Self {
        let tools = TOOLS
            .iter()
            .find(|(parts, _)| parts.iter().all(|part| template.contains(part)));
        let tools = tools.map(|(_, format)| *format);
        let told = THOUGHTS.iter().find(|(part, _)| template.contains(part));
        // A template that leaves thoughts to the model does not name their marks; the vocabulary does.
        let owned = || {
            let known = [&THINK, &BRACKETS, &SEED];
            let mut known = known.into_iter();
            known.find(|marks| has_token(marks.open) && has_token(marks.close))
        };
        // Channels are read as a whole.
        let channels = template
            .contains(HARMONY.open)
            .then_some(ToolFormat::Harmony);
        Self {
            tools: channels.or(tools),
            reasoning: told.map(|(_, marks)| *marks).or_else(owned),
        }
    }

    /// Whether the parser must see the name of a control token.
    #[must_use]
    pub fn holds(&self, token: &str) -> bool {
        self.tools.is_some_and(|tools| tools.holds(token))
            || self
                .reasoning
                .is_some_and(|marks| marks.open.contains(token) || marks.close.contains(token))
    }
}
