//! Jinja and Python as chat templates use them: small templates of our own, each with what transformers renders
//! (`data/render_jinja.py`).
//!
//! Known to differ, and so not among them: the HTML filters `urlize`, `xmlattr` and `striptags`, `wordwrap`, `pprint`,
//! `filesizeformat`, `random` and the test `callable` are refused; views of dictionaries, ranges and namespaces print as
//! what they hold; a macro's default cannot name another of its parameters; `~`, `join` and `format` write floats from
//! 1e16 on or below 1e-4 in full; a loop over none does nothing; text joined to what is `safe` is not escaped.
#![allow(clippy::unwrap_used)]

use std::path::Path;

use cortex_text::{ChatTemplate, RenderInput};
use proptest::prelude::*;
use serde_json::{Map, Value};

/// `2024-07-26T13:14:15`.
const NOW: i64 = 1_721_999_655;

fn render(source: &str, context: &Map<String, Value>) -> Result<String, String> {
    let template = ChatTemplate::new(source, "", "").map_err(|error| error.to_string())?;
    let input = RenderInput {
        messages: &Value::Array(Vec::new()),
        tools: None,
        add_generation_prompt: false,
        kwargs: Some(context),
        now: NOW,
    };
    template.render(&input).map_err(|error| error.to_string())
}

#[test]
fn templates_mean_what_they_mean_in_python() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/jinja.json");
    let data: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let context = data["context"].as_object().unwrap();
    let mut faults = Vec::new();
    for case in data["cases"].as_array().unwrap() {
        let source = case["source"].as_str().unwrap();
        let got = render(source, context);
        let fault = match (&got, case["expected"].as_str()) {
            (Ok(got), Some(expected)) if got == expected => continue,
            (Err(_), None) => continue,
            (Ok(got), Some(expected)) => format!("{got:?}\n  not {expected:?}"),
            (Ok(got), None) => format!("{got:?}\n  not an error ({})", case["error"]),
            (Err(error), Some(expected)) => format!("{error}\n  not {expected:?}"),
        };
        faults.push(format!("{source}\n  {fault}"));
    }
    assert!(
        faults.is_empty(),
        "{} differ:\n{}",
        faults.len(),
        faults.join("\n")
    );
}

/// Words of templates, in any order.
fn soup() -> impl Strategy<Value = String> {
    let words = "{% %} {{ }} {%- -%} {# #} for x in l endfor if elif else endif set macro m( endmacro call endcall raw endraw \
        generation endgeneration break not and is loop.index varargs kwargs caller() namespace( dict( joiner( range(3) \
        |tojson |title |truncate( |batch( |sort |join |map( .split( .format( .center(9) [::-1] % ** // ~ == <= ' \" ( ) [ ] \
        { } , . | = + - * / 0 1 9999999999999999999999 1e308 '%s' '%(a)s' é \\ s u n f d people";
    let words: Vec<&'static str> = words.split_whitespace().collect();
    proptest::collection::vec(proptest::sample::select(words), 0..40)
        .prop_map(|words| words.join(" "))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn any_words_are_rendered_or_refused(source in soup(), inside in soup()) {
        let context = serde_json::json!({"s": "a b", "l": [1, 2.5, null], "d": {"a": 1}, "n": 7, "f": 1e-7, "u": "é"});
        for source in [&source, &format!("{{{{ {inside} }}}}"), &format!("{{% set x = {inside} %}}{{{{ x }}}}")] {
            let _ = render(source, context.as_object().unwrap());
        }
    }
}
