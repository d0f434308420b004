//! Any answer in any format: no panic, the same parts however it is cut, and whole calls have objects as arguments.
#![no_main]

use cortex_text::{OutputFormat, OutputParser, Piece, Seed, TextEnd, ToolSpec, Tools};
use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};

/// What in a template tells each format.
const MARKS: [&str; 21] = [
    "<tool_call>",
    "<tool_calls>",
    "<seed:tool_call>",
    "<minimax:tool_call>",
    "｜DSML｜",
    "<function name= <param name=",
    "<function=",
    "<｜tool▁call▁begin｜>",
    "<|tool_calls_section_begin|>",
    "[TOOL_CALLS]",
    "<|START_ACTION|>",
    "<|tools_prefix|>",
    "<TOOLCALL>",
    "<|tool_call|>",
    "function call <|role_sep|>",
    "<|python_tag|>",
    "<|python_start|>",
    "<|tool_call>call:",
    "<|channel|>analysis<|message|>functions.",
    "<think>",
    "",
];
const THOUGHTS: [&str; 4] = ["", "<think>", "[THINK]", "<|START_THINKING|>"];

fuzz_target!(|bytes: &[u8]| {
    let [marks, thoughts, cut, rest @ ..] = bytes else {
        return;
    };
    let Ok(answer) = std::str::from_utf8(rest) else {
        return;
    };
    let marks = MARKS[usize::from(*marks) % MARKS.len()];
    let template = format!(
        "{marks}{}",
        THOUGHTS[usize::from(*thoughts) % THOUGHTS.len()]
    );
    let seed = [Seed::Free, Seed::Thinking, Seed::Thought][usize::from(*thoughts / 64) % 3];
    let format = OutputFormat::detect(&template, |_| false);
    let tools = tools(*cut & 64 != 0, *cut & 128 != 0);
    let whole = parts(OutputParser::new(format, tools.clone(), seed), &[answer]);
    let chars: Vec<char> = answer.chars().collect();
    let size = usize::from(*cut & 15) + 1;
    let cuts: Vec<String> = chars
        .chunks(size)
        .map(|part| part.iter().collect())
        .collect();
    let cuts: Vec<&str> = cuts.iter().map(String::as_str).collect();
    assert_eq!(parts(OutputParser::new(format, tools, seed), &cuts), whole);
});

fn tools(single: bool, forced: bool) -> Tools {
    let properties = json!({"city": {"type": "string"}, "days": {"type": "integer"}, "at": {}});
    let get = json!({"type": "object", "properties": properties});
    let tool = |name: &str, parameters: Value| ToolSpec {
        name: name.to_owned(),
        parameters,
    };
    let specs = vec![tool("now", json!({"type": "object"})), tool("get", get)];
    Tools {
        specs,
        single,
        forced,
    }
}

fn parts(mut parser: OutputParser, cuts: &[&str]) -> Vec<Piece> {
    let mut all: Vec<Piece> = cuts.iter().flat_map(|cut| parser.push(cut)).collect();
    all.extend(parser.finish(TextEnd::Whole));
    let mut merged: Vec<Piece> = Vec::new();
    for piece in all {
        match (merged.last_mut(), piece) {
            (Some(Piece::Text(one)), Piece::Text(more))
            | (Some(Piece::Reasoning(one)), Piece::Reasoning(more)) => one.push_str(&more),
            (
                Some(Piece::Arguments {
                    index: at,
                    text: one,
                }),
                Piece::Arguments { index, text },
            ) if *at == index => one.push_str(&text),
            (_, piece) => merged.push(piece),
        }
    }
    let objects = merged.iter().filter(|piece| match piece {
        Piece::Arguments { text, .. } => {
            serde_json::from_str::<Value>(text).is_ok_and(|value| value.is_object())
        }
        _ => false,
    });
    assert!(objects.count() >= parser.calls());
    merged
}
