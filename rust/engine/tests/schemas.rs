//! Whatever the schema and the draw: an answer that ends by itself is valid, and one that is cut was on its way.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::float_cmp)]

mod common;

use common::client::{Client, load};
use common::own_model;
use cortex_engine::{FinishReason, Grammar, SamplingParams};
use serde_json::{Value, json};

/// Random schemas; the same for the same seed.
struct Draw(u64);

impl Draw {
    /// A number below `end` (splitmix64).
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end
    }

    fn text(&mut self, alphabet: &[char], longest: u64) -> String {
        let length = self.below(longest + 1);
        let letters = (0..length).map(|_| alphabet[self.below(alphabet.len() as u64) as usize]);
        letters.collect()
    }

    /// Scalars, with the keywords that narrow them.
    fn scalar(&mut self) -> Value {
        let (least, more) = (self.below(4), self.below(6));
        match self.below(10) {
            0 => json!({"type": "null"}),
            1 => json!({"type": "boolean"}),
            2 => json!({"type": "integer", "minimum": -(least as i64), "maximum": more * 20}),
            3 => json!({"type": "integer"}),
            4 => json!({"type": "string", "minLength": least, "maxLength": least + more}),
            5 => {
                let letters = self.text(&['a', 'b', 'c'], 3);
                json!({"type": "string", "pattern": format!("^{letters}[0-9]{{1,3}}$")})
            }
            6 => {
                let texts = (0..=least).map(|_| self.text(&['a', 'é', '"', '\\', ' '], 4));
                json!({"enum": texts.collect::<Vec<_>>()})
            }
            7 => json!({"const": self.below(70_000)}),
            8 => json!({"type": "string", "format": "date"}),
            _ => json!({"type": "number", "minimum": 0, "exclusiveMaximum": 10}),
        }
    }

    fn schema(&mut self, depth: u64) -> Value {
        if depth == 0 {
            return self.scalar();
        }
        match self.below(4) {
            0 => self.scalar(),
            1 => {
                let count = self.below(4);
                let properties = (0..count).map(|_| {
                    let name = format!("k{}", self.text(&['a', 'b'], 2));
                    (name, self.schema(depth - 1), self.below(2) == 0)
                });
                let properties: Vec<_> = properties.collect();
                object(&properties, self.below(5) == 0)
            }
            2 => {
                let (least, more) = (self.below(3), self.below(3));
                let items = self.schema(depth - 1);
                json!({"type": "array", "items": items, "minItems": least, "maxItems": least + more})
            }
            _ => {
                let count = 1 + self.below(3);
                let all = (0..count).map(|_| self.schema(depth - 1));
                json!({"anyOf": all.collect::<Vec<_>>()})
            }
        }
    }

    /// A schema; every other one stands behind references, some of them to themselves.
    fn whole_schema(&mut self) -> Value {
        let depth = self.below(4);
        let schema = self.schema(depth);
        if self.below(2) == 0 {
            return schema;
        }
        let list = json!({"type": "array", "items": {"$ref": "#/$defs/any"}, "maxItems": 2});
        let any = json!({"anyOf": [{"$ref": "#/$defs/own"}, list]});
        json!({"$ref": "#/$defs/any", "$defs": {"any": any, "own": schema}})
    }
}

fn object(properties: &[(String, Value, bool)], open: bool) -> Value {
    let required: Vec<&String> = properties
        .iter()
        .filter_map(|(name, _, needed)| needed.then_some(name))
        .collect();
    let mut schema = json!({"type": "object", "required": required});
    if !open {
        schema["additionalProperties"] = json!(false);
    }
    schema["properties"] = properties
        .iter()
        .map(|(name, value, _)| (name.clone(), value.clone()))
        .collect();
    schema
}

/// Whether a value is valid, for the keywords that `Draw` uses; `root` has the definitions.
fn is_valid(value: &Value, schema: &Value, root: &Value) -> bool {
    let keyword = |name: &str| schema.get(name);
    let list = |name: &str| keyword(name).and_then(Value::as_array);
    let of_type = match keyword("type").and_then(Value::as_str) {
        Some("null") => value.is_null(),
        Some("boolean") => value.is_boolean(),
        Some("integer") => value.as_f64().is_some_and(|number| number.fract() == 0.0),
        Some("number") => value.is_number(),
        Some("string") => value.is_string(),
        Some("array") => value.is_array(),
        Some("object") => value.is_object(),
        Some(other) => panic!("the test knows no type {other}"),
        None => true,
    };
    let referred = keyword("$ref").is_none_or(|place| {
        let name = place.as_str().unwrap().strip_prefix("#/$defs/").unwrap();
        is_valid(value, &root["$defs"][name], root)
    });
    of_type
        && referred
        && keyword("const").is_none_or(|only| only == value)
        && list("enum").is_none_or(|all| all.contains(value))
        && list("anyOf").is_none_or(|all| all.iter().any(|one| is_valid(value, one, root)))
        && number_is_valid(value, schema)
        && text_is_valid(value, schema)
        && parts_are_valid(value, schema, root)
}

fn number_is_valid(value: &Value, schema: &Value) -> bool {
    let bound = |name: &str| schema.get(name).and_then(Value::as_f64);
    value.as_f64().is_none_or(|number| {
        bound("minimum").is_none_or(|least| number >= least)
            && bound("maximum").is_none_or(|most| number <= most)
            && bound("exclusiveMaximum").is_none_or(|end| number < end)
    })
}

fn text_is_valid(value: &Value, schema: &Value) -> bool {
    let Some(text) = value.as_str() else {
        return true;
    };
    let bound = |name: &str| schema.get(name).and_then(Value::as_u64);
    let length = text.chars().count() as u64;
    let fits = |pattern: &Value| {
        // The patterns of `Draw`: these letters, then one to three digits.
        let letters = pattern.as_str().unwrap().strip_prefix('^').unwrap();
        let digits = text.strip_prefix(letters.split_once('[').unwrap().0);
        digits.is_some_and(|digits| {
            (1..=3).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit())
        })
    };
    bound("minLength").is_none_or(|least| length >= least)
        && bound("maxLength").is_none_or(|most| length <= most)
        && schema.get("pattern").is_none_or(fits)
        && (schema.get("format").is_none() || is_date(text))
}

fn is_date(text: &str) -> bool {
    let parts: Vec<Option<u32>> = text.split('-').map(|part| part.parse().ok()).collect();
    let [Some(_), Some(month), Some(day)] = parts[..] else {
        return false;
    };
    text.len() == 10 && (1..=12).contains(&month) && (1..=31).contains(&day)
}

fn parts_are_valid(value: &Value, schema: &Value, root: &Value) -> bool {
    if let Some(items) = value.as_array() {
        let bound = |name: &str| schema.get(name).and_then(Value::as_u64);
        let count = items.len() as u64;
        return bound("minItems").is_none_or(|least| count >= least)
            && bound("maxItems").is_none_or(|most| count <= most)
            && schema
                .get("items")
                .is_none_or(|own| items.iter().all(|item| is_valid(item, own, root)));
    }
    let Some(object) = value.as_object() else {
        return true;
    };
    let required = schema.get("required").and_then(Value::as_array);
    let closed = schema.get("additionalProperties") == Some(&json!(false));
    required.is_none_or(|names| {
        names
            .iter()
            .all(|name| object.contains_key(name.as_str().unwrap()))
    }) && object
        .iter()
        .all(|(name, part)| match schema["properties"].get(name) {
            Some(own) => is_valid(part, own, root),
            None => !closed,
        })
}

#[test]
fn the_tests_own_validator_tells_right_from_wrong() {
    let schema = json!({"type": "object", "required": ["a"], "additionalProperties": false, "properties": {
        "a": {"type": "integer", "maximum": 5}, "b": {"type": "string", "pattern": "^ab[0-9]{1,3}$"}}});
    let valid = |text: &str| is_valid(&serde_json::from_str(text).unwrap(), &schema, &schema);
    assert!(valid(r#"{"a": 5, "b": "ab12"}"#));
    for wrong in [
        r#"{"a": 6}"#,
        r#"{"b": "ab1"}"#,
        r#"{"a": 1.5}"#,
        r#"{"a": 1, "b": "ab"}"#,
        r#"{"a": 1, "c": 1}"#,
    ] {
        assert!(!valid(wrong), "{wrong}");
    }
    assert!(is_date("2024-02-30") && !is_date("2024-13-01") && !is_date("24-1-1"));
}

#[test]
fn every_whole_answer_is_valid_under_its_schema() {
    let mut client = load(&own_model().join("model-q4_1.gguf"), |_| {});
    let (mut whole, mut cut) = (0, 0);
    for seed in 0..400 {
        let schema = Draw(seed).whole_schema();
        let temperature = [1.0, 0.0, 20.0][seed as usize % 3];
        let (text, complete) = answer(&mut client, &schema, seed, temperature);
        if !complete {
            cut += 1;
            continue;
        }
        let value = match serde_json::from_str::<Value>(&text) {
            // Grammatical, and more than a double holds: the schema sets no bound.
            Err(error) if error.to_string().starts_with("number out of range") => continue,
            other => other.unwrap_or_else(|error| panic!("{schema}: {text:?}: {error}")),
        };
        whole += 1;
        assert!(is_valid(&value, &schema, &schema), "{schema}: {text}");
    }
    assert!(whole > 250, "{whole} whole, {cut} cut");
}

/// The answer and whether it ended by itself.
fn answer(client: &mut Client, schema: &Value, seed: u64, temperature: f32) -> (String, bool) {
    let grammar = client
        .engine
        .compile(&Grammar::JsonSchema(schema.to_string()));
    let params = SamplingParams {
        max_tokens: 300,
        temperature,
        seed: Some(seed),
        grammar: Some(grammar.unwrap_or_else(|error| panic!("{schema}: {error}"))),
        ..SamplingParams::default()
    };
    let answer = client.ask(&[5, 6, 7], &params);
    match answer.ending.unwrap().reason {
        FinishReason::Stop => (answer.text, true),
        FinishReason::Length => (answer.text, false),
        other => panic!("{schema}: {other:?}"),
    }
}
