//! However an answer is cut it reads the same, and nothing of it is lost.
#![allow(clippy::unwrap_used)]

mod outputs;

use cortex_text::{OutputParser, Piece, Seed, TextEnd};
use outputs::{format, golden, parse_with, tools};
use proptest::prelude::*;
use serde_json::Value;

/// Words of all formats, in any order.
fn soup() -> impl Strategy<Value = String> {
    let answers = golden();
    let words = answers.iter().flat_map(|(_, answer, _)| {
        let cut = "<>{}[]\"\n:,(=|";
        let mut words = vec![answer.clone()];
        let mut word = String::new();
        for char in answer.chars() {
            word.push(char);
            if cut.contains(char) {
                words.push(std::mem::take(&mut word));
            }
        }
        words
    });
    let mut words: Vec<String> = words.collect();
    words.extend(["<think>", "</think>", " ", "é", "\\", "null", "-1.5e3"].map(str::to_owned));
    proptest::collection::vec(proptest::sample::select(words), 0..24)
        .prop_map(|words| words.concat())
}

fn any_marks() -> impl Strategy<Value = String> {
    let marks: Vec<String> = golden().into_iter().map(|(marks, _, _)| marks).collect();
    let reasoning = proptest::sample::select(vec!["", "<think>", "[THINK]"]);
    (proptest::sample::select(marks), reasoning).prop_map(|(one, other)| format!("{one}{other}"))
}

fn any_seed() -> impl Strategy<Value = Seed> {
    proptest::sample::select(vec![Seed::Free, Seed::Thinking, Seed::Thought])
}

/// Letters and digits, which no mark may swallow.
fn letters(text: &str) -> String {
    text.chars().filter(|char| char.is_alphanumeric()).collect()
}

proptest! {
    #[test]
    fn cuts_make_no_difference(marks in any_marks(), seed in any_seed(), answer in soup(), size in 1_usize..9) {
        let chars: Vec<char> = answer.chars().collect();
        let parts: Vec<String> = chars.chunks(size).map(|part| part.iter().collect()).collect();
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        let run = |parts: &[&str]| parse_with(format(&marks), tools(), seed, parts, TextEnd::Whole);
        prop_assert_eq!(run(&parts), run(&[&answer]));
    }

    #[test]
    fn whole_calls_have_arguments_that_are_objects(marks in any_marks(), answer in soup()) {
        let mut parser = OutputParser::new(format(&marks), tools(), Seed::Free);
        let mut pieces = parser.push(&answer);
        pieces.extend(parser.finish(TextEnd::Whole));
        let mut arguments: Vec<String> = Vec::new();
        for piece in pieces {
            match piece {
                Piece::Call { index, .. } => {
                    prop_assert_eq!(index, arguments.len());
                    arguments.push(String::new());
                }
                Piece::Arguments { index, text } => arguments[index].push_str(&text),
                _ => {}
            }
        }
        let whole = arguments.iter().filter(|text| {
            serde_json::from_str::<Value>(text).is_ok_and(|value| value.is_object())
        });
        prop_assert!(whole.count() >= parser.calls());
    }

    #[test]
    fn nothing_is_lost_where_nothing_is_called(marks in any_marks(), answer in soup()) {
        let pieces = parse_with(format(&marks), tools(), Seed::Free, &[&answer], TextEnd::Whole);
        let called = pieces.iter().any(|piece| matches!(piece, Piece::Call { .. }));
        let thinks = ["think", "THINK", "thought", "channel", "message"].iter().any(|mark| answer.contains(mark));
        if called || thinks {
            return Ok(());
        }
        let shown: String = pieces.iter().map(|piece| match piece {
            Piece::Text(text) | Piece::Reasoning(text) => text.as_str(),
            _ => "",
        }).collect();
        prop_assert_eq!(letters(&shown), letters(&answer));
    }

    #[test]
    fn any_text_is_read(marks in any_marks(), answer in ".{0,200}") {
        let pieces = parse_with(format(&marks), tools(), Seed::Free, &[&answer], TextEnd::Whole);
        let shown: String = pieces.iter().map(|piece| match piece {
            Piece::Text(text) | Piece::Reasoning(text) => text.as_str(),
            _ => "",
        }).collect();
        prop_assert_eq!(shown, answer);
    }
}
