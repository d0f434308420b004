//! Structured output: whatever the model would say, its answer is in the grammar.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::float_cmp)]

mod common;

use common::client::{Answer, Client, load};
use common::own_model;
use cortex_engine::{EngineError, FinishReason, Grammar, SamplingParams};
use serde_json::{Value, json};

fn tiny() -> std::path::PathBuf {
    own_model().join("model-q4_1.gguf")
}

fn under(client: &Client, grammar: &Grammar, seed: u64, max_tokens: usize) -> SamplingParams {
    SamplingParams {
        max_tokens,
        seed: Some(seed),
        grammar: Some(client.engine.compile(grammar).unwrap()),
        ..SamplingParams::default()
    }
}

fn ask(client: &mut Client, grammar: &Grammar, seed: u64) -> Answer {
    let params = under(client, grammar, seed, 400);
    client.ask(&[5, 6, 7], &params)
}

fn stopped(answer: &Answer) -> bool {
    answer.ending.as_ref().unwrap().reason == FinishReason::Stop
}

#[test]
fn a_choice_gives_one_of_its_texts() {
    let mut client = load(&tiny(), |_| {});
    let choices = ["yes", "no", "\"per\\haps\"\n", "né 🙂"].map(str::to_owned);
    let grammar = Grammar::Choice(choices.to_vec());
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..40 {
        let answer = ask(&mut client, &grammar, seed);
        assert!(choices.contains(&answer.text), "{answer:?}");
        assert!(stopped(&answer));
        seen.insert(answer.text);
    }
    assert!(seen.len() >= 3, "{seen:?}");
}

#[test]
fn a_regular_expression_matches_the_whole_answer() {
    let mut client = load(&tiny(), |_| {});
    let grammar = Grammar::Regex(r"[a-c]{2,5}-[0-9]+\.".to_owned());
    for seed in 0..20 {
        let answer = ask(&mut client, &grammar, seed);
        assert!(stopped(&answer), "{answer:?}");
        let (letters, digits) = answer.text.split_once('-').unwrap();
        assert!(
            (2..=5).contains(&letters.len()) && letters.bytes().all(|b| (b'a'..=b'c').contains(&b))
        );
        let digits = digits.strip_suffix('.').unwrap();
        assert!(!digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()));
    }
}

#[test]
fn a_lark_grammar_is_followed_and_may_name_control_tokens() {
    let mut client = load(&tiny(), |_| {});
    let end = client
        .engine
        .encode_text("<|end|>", false, true, None)
        .unwrap()[0];
    let lark = format!("start: \"a\" pair* <[{end}]> \"!\"\npair: \"(\" pair? \")\"\n");
    for seed in 0..10 {
        let mut params = under(&client, &Grammar::Lark(lark.clone()), seed, 400);
        params.ignore_eos = true;
        let answer = client.ask(&[5, 6, 7], &params);
        if stopped(&answer) {
            assert!(
                answer.text.starts_with('a') && answer.text.ends_with('!'),
                "{answer:?}"
            );
        }
    }
}

#[test]
fn many_answers_under_grammars_are_those_that_each_has_alone() {
    let mut client = load(&tiny(), |options| options.step_tokens = Some(48));
    let schema =
        json!({"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]});
    let grammar = Grammar::JsonSchema(schema.to_string());
    let params: Vec<SamplingParams> = (0..16)
        .map(|seed| under(&client, &grammar, seed, 60))
        .collect();
    let alone: Vec<String> = params.iter().map(|p| client.ask(&[5, 6], p).text).collect();
    let asked: Vec<u64> = params.iter().map(|p| client.submit(&[5, 6], p)).collect();
    let together: Vec<String> = asked.into_iter().map(|id| client.wait(id).text).collect();
    assert_eq!(together, alone);
}

#[test]
fn bias_and_penalties_choose_within_the_grammar() {
    let mut client = load(&tiny(), |_| {});
    let grammar = Grammar::Choice(vec!["a".to_owned(), "b".to_owned()]);
    let token = |text| client.engine.encode_text(text, false, false, None).unwrap();
    let (b, z) = (token("b"), token("z"));
    assert_eq!((b.len(), z.len()), (1, 1));
    let mut params = under(&client, &grammar, 1, 10);
    params.logit_bias = vec![(b[0], 100.0), (z[0], 100.0)];
    assert_eq!(client.ask(&[5], &params).text, "b");
}

#[test]
fn what_cannot_be_compiled_is_refused_with_its_reason() {
    let client = load(&tiny(), |_| {});
    let refused = |grammar: Grammar| match client.engine.compile(&grammar) {
        Err(EngineError::InvalidField { field, reason }) => {
            assert_eq!(field, "grammar");
            assert!(
                !reason.is_empty() && !reason.contains("<state>"),
                "{reason}"
            );
            reason
        }
        other => panic!("{grammar:?}: {other:?}"),
    };
    let schema = |schema: Value| Grammar::JsonSchema(schema.to_string());
    refused(Grammar::JsonSchema("{".to_owned()));
    refused(Grammar::JsonSchema("3".to_owned()));
    refused(schema(json!(false)));
    refused(schema(json!({"type": "nothing"})));
    refused(schema(json!({"$ref": "https://schemas.example/one"})));
    refused(schema(json!({"allOf": [{"const": 1}, {"const": 2}]})));
    refused(Grammar::Regex("(".to_owned()));
    refused(Grammar::Regex("(".repeat(200)));
    refused(Grammar::Regex("a".repeat(300_000)));
    refused(Grammar::Choice(Vec::new()));
    refused(Grammar::Choice(vec![String::new()]));
    refused(Grammar::Lark("start: missing".to_owned()));
    refused(Grammar::Lark("nothing".to_owned()));
}

#[test]
fn an_exploding_grammar_is_refused_in_bounded_time_and_the_engine_goes_on() {
    let mut client = load(&tiny(), |_| {});
    let begin = std::time::Instant::now();
    let many: Vec<Value> = (0..12)
        .map(|n| json!({"anyOf": (0..12).map(|m| json!({"properties": {format!("k{n}"): {"const": m}}})).collect::<Vec<_>>()}))
        .collect();
    let explosive = [
        Grammar::Regex("((a{1,1000}){1,1000}b){1,1000}".to_owned()),
        Grammar::Regex("(.*a.{200}){50}|(.*b.{300}){50}".to_owned()),
        Grammar::JsonSchema(json!({"allOf": many}).to_string()),
        Grammar::JsonSchema(json!({"type": "string", "pattern": "^(x+x+)+y{1,5000}$"}).to_string()),
    ];
    let mut outcomes = Vec::new();
    for grammar in &explosive {
        match client.engine.compile(grammar) {
            Ok(compiled) => {
                let params = SamplingParams {
                    grammar: Some(compiled),
                    ..SamplingParams::greedy(20)
                };
                let ending = client.ask(&[5], &params).ending.unwrap();
                outcomes.push(format!("{:?}", ending.reason));
            }
            Err(error) => outcomes.push(error.to_string()),
        }
    }
    assert!(begin.elapsed().as_secs() < 60, "{outcomes:?}");
    let after = client.ask(&[5], &SamplingParams::greedy(3));
    assert_eq!(after.tokens, 3, "{outcomes:?}");
}
