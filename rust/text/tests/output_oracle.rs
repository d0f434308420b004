//! Calls and thoughts that a real template writes into the history are what the parser reads back.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

use std::path::{Path, PathBuf};

use cortex_text::{
    ChatTemplate, OutputFormat, OutputParser, Piece, RenderInput, Seed, TextEnd, ToolSpec, Tools,
};
use serde_json::{Map, Value, json};

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/fixtures/chat_templates")
}

fn read(name: &str) -> Option<Value> {
    let bytes = std::fs::read(fixtures().join(name)).ok()?;
    Some(serde_json::from_slice(&bytes).unwrap())
}

/// Templates that write no calls of earlier turns, or refuse to, though some say how the model writes them.
const SILENT: &[&str] = &[
    "DeepSeek-R1-Distill-Llama-8B",
    "Hermes-2-Pro-Llama-3-8B-tool_use",
    "Kimi-K2-Instruct",
    "Kimi-K2-Thinking",
    "LFM2-8B-A1B",
    "Phi-3.5-mini-instruct",
    "SmolLM2-135M-Instruct",
    "SmolLM3-3B",
    "c4ai-command-r-plus-tool_use",
    "command-r",
    "gemma-2-2b-it",
    "granite-3.3-2B-Instruct",
    "rwkv-world",
];
/// It has a message for each call, each with a header.
const UNSUPPORTED: &[&str] = &["muse-glimmer"];

/// Templates that write a thought or a text beside a call otherwise than the model does, or leave the call out.
const OTHERWISE: &[&str] = &[
    "Apriel-1.6-15b-Thinker-fixed",
    "Nemotron-Nano-v2",
    "gpt-oss-120b",
    "llama-cpp-deepseek-r1",
];

/// What each template tells: its name, how it writes calls, and what begins its thoughts.
const FORMATS: &[&str] = &[
    "Apertus-8B-Instruct Apertus <|inner_prefix|>",
    "Apriel-1.6-15b-Thinker-fixed ToolCalls Here are my reasoning steps:",
    "Bielik-11B-v3.0-Instruct ToolCall <think>",
    "c4ai-command-r-plus-tool_use Cohere -",
    "Cohere2MoE Cohere <|START_THINKING|>",
    "command-r - -",
    "DeepSeek-R1-Distill-Llama-8B DeepSeek <think>",
    "DeepSeek-V3.1 DeepSeek <think>",
    "DeepSeek-V4 Dsml <think>",
    "functionary-medium-v3.1 Functionary -",
    "gemma-2-2b-it - -",
    "gemma-4-31B-it Gemma <|channel>thought",
    "GigaChat3-10B-A1.8B GigaChat -",
    "GLM-4.6 ToolCall <think>",
    "gpt-oss-120b Harmony <|channel|>analysis<|message|>",
    "granite-3.3-2B-Instruct Granite <think>",
    "granite-4.0 ToolCall -",
    "Hermes-2-Pro-Llama-3-8B-tool_use ToolCall -",
    "Kimi-K2-Instruct Kimi -",
    "Kimi-K2-Thinking Kimi <think>",
    "Laguna-S-2.1 ToolCall <think>",
    "Laguna-XS.2 ToolCall <think>",
    "LFM2-8B-A1B Pythonic -",
    "LFM2.5-8B-A1B Pythonic <think>",
    "ling-3.0-flash ToolCall <think>",
    "Llama-3.1-8B-Instruct Llama -",
    "Llama-3.2-3B-Instruct Llama -",
    "llama-cpp-deepseek-r1 DeepSeek <think>",
    "MiniCPM5-1B Param <think>",
    "MiniMax-M1 ToolCalls -",
    "MiniMax-M2 Invoke <think>",
    "Mistral-Nemo-Instruct-2407 Mistral -",
    "Mistral-Small-3.2-24B-Instruct-2506 Mistral -",
    "muse-glimmer - -",
    "Nemotron-Nano-v2 Nemotron <think>",
    "Phi-3.5-mini-instruct - -",
    "Qwen2.5-7B-Instruct ToolCall -",
    "Qwen3-0.6B ToolCall <think>",
    "Qwen3-Coder ToolCall -",
    "Reka-Edge ToolCall <think>",
    "rwkv-world - <think>",
    "Seed-OSS Seed <seed:think>",
    "SmolLM2-135M-Instruct - -",
    "SmolLM3-3B - <think>",
    "StepFun3.5-Flash ToolCall <think>",
];

struct Case {
    template: ChatTemplate,
    format: OutputFormat,
    variables: Map<String, Value>,
    tools: Value,
}

impl Case {
    fn render(&self, messages: &Value, prompt: bool) -> Option<String> {
        let input = RenderInput {
            messages,
            tools: Some(&self.tools),
            add_generation_prompt: prompt,
            kwargs: Some(&self.variables),
            now: 1_773_039_903,
        };
        self.template.render(&input).ok()
    }

    /// What the model would have had to write for the template to write it so, and how the prompt ends.
    fn answer(&self, messages: &Value, user: usize) -> Option<(String, Seed)> {
        let turns = messages.as_array().unwrap();
        let asked = Value::from(turns[..=user].to_vec());
        let answered = Value::from(turns[..user + 2].to_vec());
        let (prompt, whole) = (self.render(&asked, true)?, self.render(&answered, false)?);
        let same = prompt.char_indices().zip(whole.chars());
        let same = same.take_while(|((_, one), other)| one == other).last();
        let at = same.map_or(0, |((at, char), _)| at + char.len_utf8());
        // Not from inside of a tag.
        let tag = whole[..at]
            .rfind('<')
            .filter(|&tag| !whole[tag..at].contains('>'));
        let (prompt, answer) = whole.split_at(tag.unwrap_or(at));
        Some((answer.to_owned(), Seed::of_prompt(prompt, &self.format)))
    }

    fn parse(&self, pieces: &[&str], seed: Seed) -> Answer {
        let functions = self.tools.as_array().unwrap().iter();
        let specs = functions.map(|tool| ToolSpec {
            name: tool["function"]["name"].as_str().unwrap().to_owned(),
            parameters: tool["function"]["parameters"].clone(),
        });
        let tools = Tools {
            specs: specs.collect(),
            ..Tools::default()
        };
        let mut parser = OutputParser::new(self.format, tools, seed);
        let mut read: Vec<Piece> = pieces.iter().flat_map(|text| parser.push(text)).collect();
        read.extend(parser.finish(TextEnd::Whole));
        let mut answer = Answer::default();
        for piece in read {
            match piece {
                Piece::Text(text) => answer.text.push_str(&text),
                Piece::Reasoning(text) => answer.thought.push_str(&text),
                Piece::Call { name, .. } => answer.calls.push((name, String::new())),
                Piece::Arguments { index, text } => answer.calls[index].1.push_str(&text),
            }
        }
        answer
    }
}

#[derive(Debug, Default, PartialEq)]
struct Answer {
    text: String,
    thought: String,
    calls: Vec<(String, String)>,
}

impl Answer {
    fn called(&self) -> Vec<(String, Value)> {
        let calls = self.calls.iter().map(|(name, text)| {
            let arguments = serde_json::from_str(text);
            (
                name.clone(),
                arguments.unwrap_or_else(|_| json!({"malformed": text})),
            )
        });
        calls.collect()
    }
}

/// Cut after every few characters.
fn cut(text: &str, size: usize) -> Vec<&str> {
    let ends: Vec<usize> = text
        .char_indices()
        .map(|(at, _)| at)
        .step_by(size)
        .skip(1)
        .collect();
    let starts = std::iter::once(0).chain(ends.iter().copied());
    let ends = ends.iter().copied().chain([text.len()]);
    starts
        .zip(ends)
        .map(|(start, end)| &text[start..end])
        .collect()
}

fn calls_of(message: &Value) -> Vec<(String, Value)> {
    let calls = message["tool_calls"].as_array().unwrap().iter();
    let calls = calls.map(|call| {
        let function = &call["function"];
        (
            function["name"].as_str().unwrap().to_owned(),
            function["arguments"].clone(),
        )
    });
    calls.collect()
}

fn cases() -> Vec<(String, Case)> {
    let (Some(templates), Some(conversations)) =
        (read("templates.json"), read("conversations.json"))
    else {
        eprintln!("skipped: no fixtures of chat templates");
        return Vec::new();
    };
    let all = conversations["conversations"].as_array().unwrap();
    let tools = all.iter().find(|one| one["name"] == "tools").unwrap();
    let entries = templates["templates"]
        .as_array()
        .or(templates.as_array())
        .unwrap();
    let cases = entries.iter().map(|entry| {
        let name = entry["name"].as_str().unwrap();
        let file = fixtures().join(entry["file"].as_str().unwrap());
        let source = std::fs::read_to_string(file).unwrap();
        let text = |key: &str| entry[key].as_str().unwrap_or_default().to_owned();
        let case = Case {
            template: ChatTemplate::new(&source, &text("bos_token"), &text("eos_token")).unwrap(),
            format: OutputFormat::detect(&source, |_| false),
            variables: entry["variables"].as_object().cloned().unwrap_or_default(),
            tools: tools["tools"].clone(),
        };
        (name.to_owned(), case)
    });
    cases.collect()
}

fn conversation(name: &str) -> Value {
    let conversations = read("conversations.json").unwrap();
    let all = conversations["conversations"].as_array().unwrap();
    all.iter().find(|one| one["name"] == name).unwrap()["messages"].clone()
}

#[test]
fn calls_of_every_template_are_read_back() {
    let mut wrong = Vec::new();
    for (name, case) in cases() {
        if SILENT.contains(&name.as_str()) || UNSUPPORTED.contains(&name.as_str()) {
            continue;
        }
        let mut read = 0;
        for which in [
            "tool_round",
            "parallel_tool_calls",
            "tool_argument_types",
            "reasoning_tool_round",
        ] {
            // Its template puts quotes into quotes as they are.
            if name == "LFM2.5-8B-A1B" && which == "tool_argument_types" {
                continue;
            }
            let messages = conversation(which);
            let Some((text, seed)) = case.answer(&messages, 0) else {
                continue;
            };
            let answer = case.parse(&[&text], seed);
            let mut expected = calls_of(&messages[1]);
            if ["GigaChat3-10B-A1.8B", "gpt-oss-120b"].contains(&name.as_str()) {
                // These templates write the first call only.
                expected.truncate(1);
            }
            if answer.called() != expected {
                wrong.push(format!("{name} {which}: {answer:?}\n    {text:?}"));
            }
            for size in [1, 2, 7] {
                assert_eq!(
                    case.parse(&cut(&text, size), seed),
                    answer,
                    "{name} {which}"
                );
            }
            read += 1;
        }
        if read == 0 {
            wrong.push(format!("{name}: nothing was read"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn thoughts_and_text_beside_calls_are_read_back() {
    let mut wrong = Vec::new();
    for (name, case) in cases() {
        let exempt = [UNSUPPORTED, OTHERWISE].concat();
        if exempt.contains(&name.as_str()) {
            continue;
        }
        let messages = conversation("reasoning_tool_round");
        if let Some((text, seed)) = case.answer(&messages, 0)
            && text.contains("I need the tool.")
        {
            let answer = case.parse(&[&text], seed);
            if answer.thought != "I need the tool." || answer.text.contains("I need") {
                wrong.push(format!("{name}: {answer:?}\n    {text:?}"));
            }
        }
        let messages = conversation("tool_round_answered");
        if let Some((text, seed)) = case.answer(&messages, 1)
            && text.contains("Let me look.")
        {
            let answer = case.parse(&[&text], seed);
            let silent = SILENT.contains(&name.as_str());
            let called = silent || answer.called() == calls_of(&messages[2]);
            if !called || !answer.text.trim_start().starts_with("Let me look.") {
                wrong.push(format!("{name}: {answer:?}\n    {text:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_template_tells_its_formats() {
    let found: Vec<String> = cases()
        .into_iter()
        .map(|(name, case)| {
            let tools = case
                .format
                .tools
                .map_or("-".to_owned(), |tools| format!("{tools:?}"));
            let reasoning = case.format.reasoning.map_or("-", |marks| marks.opening());
            format!("{name} {tools} {reasoning}")
        })
        .collect();
    if !found.is_empty() {
        assert_eq!(found, FORMATS);
    }
}
