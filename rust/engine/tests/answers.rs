//! Answers to conversations: whatever the model says, here by a grammar, comes as thoughts, text and calls.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::client::{Answer, Client, load};
use common::own_model;
use cortex_engine::{FinishReason, Grammar, Piece, SamplingParams, ToolSpec, Tools};
use serde_json::json;

const CALL: &str = r#"<tool_call>{"name": "get", "arguments": {"city": "Rome"}}</tool_call>"#;

/// A model whose template has these marks.
fn model(marks: &str) -> Client {
    let path = own_model().join("model-q4_1.gguf");
    load(&path, |options| {
        options.chat_template = Some(marks.to_owned());
    })
}

fn tools() -> Tools {
    let get = ToolSpec {
        name: "get".to_owned(),
        parameters: json!({"properties": {"city": {"type": "string"}}}),
    };
    Tools {
        specs: vec![get],
        ..Tools::default()
    }
}

/// Have the model say a text, and tell what came of it.
fn say(
    client: &mut Client,
    text: &str,
    tools: Tools,
    change: impl FnOnce(&mut SamplingParams),
) -> Answer {
    let grammar = Grammar::Choice(vec![text.to_owned()]);
    let mut params = SamplingParams {
        max_tokens: 500,
        grammar: Some(client.engine.compile(&grammar).unwrap()),
        ..SamplingParams::default()
    };
    change(&mut params);
    let prompt = client.engine.encode_text("a", false, false, None).unwrap();
    let request = client.engine.submit_chat(prompt, params, tools).unwrap();
    client.wait(request)
}

/// Text, thoughts, and calls with their arguments.
fn parts(answer: &Answer) -> (String, String, Vec<(String, String)>) {
    assert_eq!(answer.text, "", "an answer in pieces has no other text");
    let (mut text, mut thought, mut calls) = (String::new(), String::new(), Vec::new());
    for piece in &answer.pieces {
        match piece {
            Piece::Text(more) => text.push_str(more),
            Piece::Reasoning(more) => thought.push_str(more),
            Piece::Call { name, .. } => calls.push((name.clone(), String::new())),
            Piece::Arguments { index, text } => calls[*index].1.push_str(text),
        }
    }
    (text, thought, calls)
}

fn reason(answer: &Answer) -> FinishReason {
    answer.ending.as_ref().unwrap().reason.clone()
}

#[test]
fn thoughts_text_and_calls_come_apart() {
    let mut client = model("<think> <tool_call>");
    let answer = say(
        &mut client,
        &format!("<think>so it is</think>\nI look.\n{CALL}"),
        tools(),
        |_| {},
    );
    let (text, thought, calls) = parts(&answer);
    assert_eq!((text.as_str(), thought.as_str()), ("I look.", "so it is"));
    assert_eq!(
        calls,
        [("get".to_owned(), r#"{"city": "Rome"}"#.to_owned())]
    );
    assert_eq!(reason(&answer), FinishReason::ToolCalls);
    let ending = answer.ending.unwrap();
    assert!(ending.reasoning_tokens > 5 && ending.reasoning_tokens < ending.completion_tokens);
}

#[test]
fn a_template_that_tells_no_format_gets_the_common_one() {
    let mut client = model("plain");
    let (_, _, calls) = parts(&say(&mut client, CALL, tools(), |_| {}));
    assert_eq!(calls.len(), 1);
    let answer = say(&mut client, CALL, Tools::default(), |_| {});
    assert_eq!((answer.text.as_str(), answer.pieces.len()), (CALL, 0));
    assert_eq!(reason(&answer), FinishReason::Stop);
}

#[test]
fn stop_strings_count_in_text_alone() {
    let mut client = model("<think> <tool_call>");
    let said = format!("<think>stop</think>Go.{CALL}");
    let answer = say(&mut client, &said, tools(), |params| {
        params.stop = vec!["stop".to_owned(), "Rome".to_owned(), "name".to_owned()];
    });
    assert_eq!(parts(&answer).2.len(), 1);
    assert_eq!(reason(&answer), FinishReason::ToolCalls);
    let answer = say(&mut client, &said, tools(), |params| {
        params.stop = vec!["o.".to_owned()];
    });
    let (text, thought, calls) = parts(&answer);
    assert_eq!(
        (text.as_str(), thought.as_str(), calls.len()),
        ("G", "stop", 0)
    );
    assert_eq!(reason(&answer), FinishReason::Stop);
    assert_eq!(answer.ending.unwrap().stop_string.as_deref(), Some("o."));
}

#[test]
fn a_limit_that_cuts_beats_the_calls() {
    let mut client = model("<think> <tool_call>");
    let whole = say(&mut client, CALL, tools(), |_| {})
        .ending
        .unwrap()
        .completion_tokens;
    let answer = say(&mut client, CALL, tools(), |params| {
        params.max_tokens = whole - 20;
    });
    assert_eq!(reason(&answer), FinishReason::Length);
    let answer = say(&mut client, "<think>and so on and on", tools(), |params| {
        params.max_tokens = 15;
    });
    let (text, thought, _) = parts(&answer);
    assert!(
        text.is_empty() && "and so on and on".starts_with(&thought),
        "{answer:?}"
    );
    assert_eq!(reason(&answer), FinishReason::Length);
}

#[test]
fn the_first_call_ends_an_answer_that_may_have_one() {
    let mut client = model("<tool_call>");
    let single = Tools {
        single: true,
        ..tools()
    };
    let answer = say(&mut client, &format!("{CALL}\n{CALL}"), single, |_| {});
    assert_eq!(parts(&answer).2.len(), 1);
    assert_eq!(reason(&answer), FinishReason::ToolCalls);
    let answer = say(&mut client, &format!("{CALL}\n{CALL}"), tools(), |_| {});
    assert_eq!(parts(&answer).2.len(), 2);
}

#[test]
fn what_looks_like_a_call_and_is_none_is_text() {
    let mut client = model("<tool_call>");
    let said = "<tool_call>{\"name\": \"get\", \"arguments\": {city}}</tool_call>";
    let answer = say(&mut client, said, tools(), |_| {});
    assert_eq!(parts(&answer).0, said);
    assert_eq!(reason(&answer), FinishReason::Stop);
}

#[test]
fn a_thought_that_the_prompt_opens_is_one() {
    let mut client = model("<think>");
    let grammar = Grammar::Choice(vec!["so</think>Yes.".to_owned()]);
    let params = SamplingParams {
        max_tokens: 100,
        grammar: Some(client.engine.compile(&grammar).unwrap()),
        ..SamplingParams::default()
    };
    let prompt = client
        .engine
        .encode_text("a<think>\n", false, false, None)
        .unwrap();
    let request = client
        .engine
        .submit_chat(prompt, params, Tools::default())
        .unwrap();
    let (text, thought, _) = parts(&client.wait(request));
    assert_eq!((text.as_str(), thought.as_str()), ("Yes.", "so"));
}
