//! Every real template renders what Hugging Face transformers renders, byte for byte.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::{Path, PathBuf};

use cortex_text::{ChatTemplate, RenderInput};
use serde_json::{Map, Value};

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/fixtures/chat_templates")
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// Seconds since 1970 of `2024-07-26T13:14:15`.
fn seconds(time: &str) -> i64 {
    let number = |range: std::ops::Range<usize>| time[range].parse::<i64>().unwrap();
    let (year, month) = (number(0..4), number(5..7));
    let (shifted, year) = ((month + 9) % 12, year - i64::from(month < 3));
    let days =
        365 * year + year / 4 - year / 100 + year / 400 + (shifted * 306 + 5) / 10 + number(8..10)
            - 1
            - 719_468;
    days * 86_400 + number(11..13) * 3600 + number(14..16) * 60 + number(17..19)
}

fn render(
    template: &ChatTemplate,
    conversation: &Value,
    variables: &Value,
    now: i64,
) -> Result<String, String> {
    let mut kwargs: Map<String, Value> = variables.as_object().cloned().unwrap_or_default();
    kwargs.extend(
        conversation["kwargs"]
            .as_object()
            .cloned()
            .unwrap_or_default(),
    );
    let input = RenderInput {
        messages: &conversation["messages"],
        tools: conversation.get("tools").filter(|tools| !tools.is_null()),
        add_generation_prompt: conversation["add_generation_prompt"].as_bool().unwrap(),
        kwargs: Some(&kwargs),
        now,
    };
    template.render(&input).map_err(|error| error.to_string())
}

/// Whether we deliberately render what Python fails on, or differ.
fn is_accepted(template: &str, got: &Result<String, String>, expected: &Value) -> bool {
    let python = expected["error"].as_str().unwrap_or_default();
    // A loop over a missing list does nothing: null tools or content mean none.
    let lenient = python.contains("'NoneType' object is not iterable")
        // A filter's result is a list to `tojson`, lazy or not.
        || python.contains("Object of type generator");
    // Its use of `safe` has the descriptions of tools HTML-escaped, which no model should have to read.
    let escaped = template == "functionary-medium-v3.1"
        && expected.as_str().is_some_and(|text| text.contains("&#34;"));
    got.is_ok() && (lenient || escaped)
}

/// What is wrong with an answer, if anything is.
fn fault(got: &Result<String, String>, expected: &Value) -> Option<String> {
    match (got, expected.as_str()) {
        (Ok(got), Some(expected)) if got == expected => None,
        (Ok(got), Some(expected)) => {
            let same = got
                .bytes()
                .zip(expected.bytes())
                .take_while(|(one, other)| one == other)
                .count();
            let from = (0..=same.saturating_sub(30))
                .rev()
                .find(|&at| got.is_char_boundary(at) && expected.is_char_boundary(at))
                .unwrap();
            let part = |text: &str| text[from..].chars().take(90).collect::<String>();
            Some(format!(
                "\n  got      {:?}\n  expected {:?}",
                part(got),
                part(expected)
            ))
        }
        (Err(error), Some(_)) => Some(format!("failed: {error}")),
        (Ok(_), None) => Some(format!("rendered, expected {expected}")),
        (Err(error), None) if expected["kind"] == "raise_exception" => {
            let own = expected["error"].as_str().unwrap();
            (!error.contains(own)).then(|| format!("{error:?} instead of {own:?}"))
        }
        (Err(_), None) => None,
    }
}

#[test]
fn templates_render_what_transformers_renders() {
    let root = fixtures();
    if !root.is_dir() {
        eprintln!(
            "skipped: the fixtures of chat templates are not here ({})",
            root.display()
        );
        return;
    }
    let conversations = json(&root.join("conversations.json"));
    let now = seconds(conversations["frozen_time"].as_str().unwrap());
    let (mut faults, mut checked) = (Vec::new(), 0);
    for entry in json(&root.join("templates.json"))["templates"]
        .as_array()
        .unwrap()
    {
        let name = entry["name"].as_str().unwrap();
        let source = std::fs::read_to_string(root.join(entry["file"].as_str().unwrap())).unwrap();
        let token = |key: &str| entry[key].as_str().unwrap_or_default();
        let template = ChatTemplate::new(&source, token("bos_token"), token("eos_token"));
        let template = match template {
            Ok(template) => template,
            Err(error) => {
                faults.push(format!("{name}: {error}"));
                continue;
            }
        };
        let expected = json(&root.join(format!("expected/{name}.json")));
        for conversation in conversations["conversations"].as_array().unwrap() {
            let case = conversation["name"].as_str().unwrap();
            let Some(expected) = expected["expected"].get(case) else {
                continue;
            };
            checked += 1;
            let got = render(&template, conversation, &entry["variables"], now);
            if is_accepted(name, &got, expected) {
                continue;
            }
            if let Some(fault) = fault(&got, expected) {
                faults.push(format!("{name} / {case}: {fault}"));
            }
        }
    }
    assert!(checked > 0);
    assert!(
        faults.is_empty(),
        "{} of {checked} differ:\n{}",
        faults.len(),
        faults.join("\n")
    );
}
