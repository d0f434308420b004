//! Tools, and answers that call them in every format.
#![allow(dead_code, clippy::unwrap_used)]

use cortex_text::{OutputFormat, OutputParser, Piece, Seed, TextEnd, ToolSpec, Tools};
use serde_json::{Value, json};

pub fn specs() -> Vec<ToolSpec> {
    let tool = |name: &str, properties: Value| ToolSpec {
        name: name.to_owned(),
        parameters: json!({"type": "object", "properties": properties}),
    };
    vec![
        tool("now", json!({})),
        tool(
            "get",
            json!({"city": {"type": "string"}, "days": {"type": "integer"}, "at": {}}),
        ),
        tool(
            "put",
            json!({
                "text": {"type": "string"},
                "flag": {"type": ["boolean", "null"]},
                "size": {"anyOf": [{"type": "number"}, {"type": "string"}]},
                "kind": {"enum": ["a", "b", 3]},
                "list": {"type": "array"},
                "more": {"type": "object"},
            }),
        ),
    ]
}

pub fn tools() -> Tools {
    Tools {
        specs: specs(),
        ..Tools::default()
    }
}

/// Formats by what in a template tells them.
pub fn format(marks: &str) -> OutputFormat {
    OutputFormat::detect(marks, |_| false)
}

/// The pieces of an answer, those of one kind in a row put together.
pub fn parse_with(
    format: OutputFormat,
    tools: Tools,
    seed: Seed,
    parts: &[&str],
    end: TextEnd,
) -> Vec<Piece> {
    let mut parser = OutputParser::new(format, tools, seed);
    let mut all: Vec<Piece> = parts.iter().flat_map(|part| parser.push(part)).collect();
    all.extend(parser.finish(end));
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
            ) if *at == index => {
                one.push_str(&text);
            }
            (_, piece) => merged.push(piece),
        }
    }
    merged
}

pub fn parse(marks: &str, answer: &str) -> Vec<Piece> {
    parse_with(
        format(marks),
        tools(),
        Seed::Free,
        &[answer],
        TextEnd::Whole,
    )
}

pub fn text(text: &str) -> Piece {
    Piece::Text(text.to_owned())
}

pub fn thought(text: &str) -> Piece {
    Piece::Reasoning(text.to_owned())
}

pub fn call(index: usize, name: &str, arguments: &str) -> Vec<Piece> {
    let (name, arguments) = (name.to_owned(), arguments.to_owned());
    vec![
        Piece::Call { index, name },
        Piece::Arguments {
            index,
            text: arguments,
        },
    ]
}

/// What in a template tells a format, an answer in it, and its calls.
pub type Golden = (String, String, Vec<(String, String)>);

pub fn golden() -> Vec<Golden> {
    serde_json::from_str(include_str!("../data/calls.json")).unwrap()
}
