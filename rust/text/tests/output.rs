//! Thoughts, text and calls of each format, and what is none of them.
#![allow(clippy::unwrap_used)]

mod outputs;

use cortex_text::{OutputFormat, OutputParser, Piece, Seed, TextEnd, Tools};
use outputs::{call, format, golden, parse, parse_with, text, thought, tools};

#[test]
fn every_format_gives_its_calls() {
    for (marks, answer, calls) in golden() {
        let expected = calls.iter().enumerate();
        let expected = expected.flat_map(|(index, (name, arguments))| call(index, name, arguments));
        assert_eq!(
            parse(&marks, &answer),
            expected.collect::<Vec<_>>(),
            "{answer}"
        );
    }
}

#[test]
fn text_before_and_after_calls_is_text_without_the_space_between() {
    let answer = "I look.\n\n<tool_call>{\"name\": \"now\"}</tool_call>\n\nThen <b> more.\n";
    let expected = [
        vec![text("I look.")],
        call(0, "now", "{}"),
        vec![text("Then <b> more.")],
    ];
    assert_eq!(parse("<tool_call>", answer), expected.concat());
}

#[test]
fn arguments_take_the_kinds_of_the_schema() {
    let argument = |name: &str, value: &str| format!("<parameter={name}>\n{value}\n</parameter>\n");
    let cases = [
        ("text", "3", r#""3""#),
        ("text", "a\n\"b\"\\", r#""a\n\"b\"\\""#),
        ("text", "\n", r#""\n""#),
        ("flag", "True", "true"),
        ("flag", "null", "null"),
        ("flag", "maybe", r#""maybe""#),
        ("size", "2.5", "2.5"),
        ("size", "big", r#""big""#),
        ("size", "true", r#""true""#),
        ("kind", "a", r#""a""#),
        ("kind", "3", "3"),
        (
            "list",
            "['x', (1,), {'k': None}]",
            r#"["x", [1], {"k": null}]"#,
        ),
        ("more", r#"{"a": [1.0, 1e-05]}"#, r#"{"a": [1.0, 1e-05]}"#),
        ("other", "7", "7"),
        ("other", "seven", r#""seven""#),
    ];
    for (name, value, json) in cases {
        let answer = format!(
            "<tool_call><function=put>\n{}</function></tool_call>",
            argument(name, value)
        );
        let expected = call(0, "put", &format!("{{\"{name}\": {json}}}"));
        assert_eq!(parse("<tool_call>", &answer), expected, "{name}={value}");
    }
}

#[test]
fn literals_of_python_become_json() {
    let answer = r#"[put(text='it\'s "a"\n\x41\u00e9\q', flag=False, size=-.5, list=[1_000, +2, 'x', ("y",)], more={'k': {"n": None}},)]"#;
    let json = r#"{"text": "it's \"a\"\nAé\\q", "flag": false, "size": -0.5, "list": [1000, 2, "x", ["y"]], "more": {"k": {"n": null}}}"#;
    assert_eq!(parse("<|python_start|>", answer), call(0, "put", json));
}

#[test]
fn what_is_no_call_is_text() {
    let same = [
        ("<tool_call>", "Use the <tool_call> tag."),
        ("<tool_call>", "<tool_call>{\"name\": 3}</tool_call>"),
        (
            "<tool_call>",
            "<tool_call>{\"name\": \"get\", \"arguments\": {\"city\": }}</tool_call>",
        ),
        (
            "<tool_call>",
            "<tool_call>{\"name\": \"get\", \"arguments\": [1]}</tool_call>",
        ),
        ("<tool_call>", "<tool_call>{\"arguments\": {}}</tool_call>"),
        (
            "<tool_call>",
            "<tool_call>{\"name\": \"get\", \"arguments\": {\"city\": \"Zü",
        ),
        (
            "<tool_call>",
            "<tool_call><function=get><parameter=city>Zürich",
        ),
        ("<tool_call>", "<tool_call>get now<arg_key>"),
        (
            "<|python_tag|>",
            "{\"name\": \"unknown\", \"parameters\": {}}",
        ),
        ("<|python_tag|>", "{\"answer\": 42}"),
        (
            "<|python_tag|>",
            "It is {\"name\": \"get\", \"parameters\": {}}",
        ),
        ("<|python_start|>", "[1, 2]"),
        ("<|python_start|>", "[unknown(a=1)]"),
        ("[TOOL_CALLS]", "[TOOL_CALLS]get it"),
        ("<|tool_call>call:", "<|tool_call>call:get{city:}"),
        ("<minimax:tool_call>", "<minimax:tool_call>nothing"),
        ("<｜tool▁calls▁begin｜>", "<｜tool▁calls▁begin｜>nothing"),
        ("no marks", "<tool_call>{\"name\": \"now\"}</tool_call>"),
        ("<tool_call>", "<tool_cal"),
        ("<tool_call>", "  a \n"),
    ];
    for (marks, answer) in same {
        assert_eq!(parse(marks, answer), [text(answer)], "{marks}");
    }
}

#[test]
fn a_call_after_one_that_was_none_is_found() {
    let answer = "<tool_call>oops <tool_call>{\"name\": \"now\"}</tool_call>";
    let expected = [vec![text("<tool_call>oops")], call(0, "now", "{}")];
    assert_eq!(parse("<tool_call>", answer), expected.concat());
}

#[test]
fn without_tools_calls_are_text() {
    let answer = "<tool_call>{\"name\": \"now\"}</tool_call>";
    let format = format("<tool_call> <think>");
    let pieces = parse_with(
        format,
        Tools::default(),
        Seed::Free,
        &[answer],
        TextEnd::Whole,
    );
    assert_eq!(pieces, [text(answer)]);
}

#[test]
fn a_limit_leaves_a_call_unfinished_but_named() {
    let answer = "<tool_call>{\"name\": \"get\", \"arguments\": {\"city\": \"Zü";
    let pieces = parse_with(
        format("<tool_call>"),
        tools(),
        Seed::Free,
        &[answer],
        TextEnd::Cut,
    );
    assert_eq!(pieces, call(0, "get", "{\"city\": \"Zü"));
}

#[test]
fn long_arguments_come_before_their_end() {
    let mut parser = OutputParser::new(format("<tool_call>"), tools(), Seed::Free);
    let long = "x".repeat(300);
    let begin = format!("<tool_call>{{\"name\": \"put\", \"arguments\": {{\"text\": \"{long}");
    let arguments = format!("{{\"text\": \"{long}");
    assert_eq!(parser.push(&begin), call(0, "put", &arguments));
    assert_eq!(
        parser.push("y"),
        [Piece::Arguments {
            index: 0,
            text: "y".to_owned()
        }]
    );
    assert_eq!(parser.calls(), 0);
    // It cannot become text any more: it stays unfinished, and the rest is text.
    assert_eq!(
        parser.push("\" !"),
        [
            Piece::Arguments {
                index: 0,
                text: "\"".to_owned()
            },
            Piece::Arguments {
                index: 0,
                text: " ".to_owned()
            },
            text("!"),
        ]
        .into_iter()
        .fold(Vec::new(), |mut all: Vec<Piece>, piece| {
            if let (Some(Piece::Arguments { text: one, .. }), Piece::Arguments { text, .. }) =
                (all.last_mut(), &piece)
            {
                one.push_str(text);
            } else {
                all.push(piece);
            }
            all
        })
    );
    assert_eq!(parser.calls(), 0);
}

#[test]
fn only_one_call_is_taken_where_only_one_is_wanted() {
    let only = Tools {
        single: true,
        ..tools()
    };
    for (marks, answer, calls) in golden() {
        let mut parser = OutputParser::new(format(&marks), only.clone(), Seed::Free);
        let mut pieces = parser.push(&answer);
        let over = parser.is_over();
        pieces.extend(parser.finish(TextEnd::Whole));
        assert_eq!(pieces, call(0, &calls[0].0, &calls[0].1), "{answer}");
        assert!(over, "{answer}");
        assert_eq!(parser.calls(), 1);
    }
}

#[test]
fn a_forced_call_is_a_bare_object_in_every_format() {
    let forced = Tools {
        forced: true,
        ..tools()
    };
    let answer = "{\"name\": \"get\", \"arguments\": {\"city\": \"Zürich\"}}";
    let think = format("<tool_call><think>");
    let pieces = parse_with(think, forced, Seed::Thinking, &[answer], TextEnd::Whole);
    assert_eq!(pieces, call(0, "get", r#"{"city": "Zürich"}"#));
}

#[test]
fn thoughts_are_told_from_the_answer() {
    let kinds = [
        ("<think>", "<think>\nso\n\nit is\n</think>\n\nYes."),
        ("[THINK]", "[THINK]so\n\nit is[/THINK]Yes."),
        ("<thought>", "<thought>so\n\nit is</thought>\nYes."),
        ("<reasoning>", "\n<reasoning>so\n\nit is</reasoning> Yes."),
        ("<seed:think>", "<seed:think>so\n\nit is</seed:think>Yes."),
        (
            "<|START_THINKING|>",
            "<|START_THINKING|>so\n\nit is<|END_THINKING|>Yes.",
        ),
        (
            "<|channel>thought",
            "<|channel>thought\nso\n\nit is\n<channel|>Yes.",
        ),
        (
            "<|channel|>analysis<|message|>functions.",
            "<|channel|>analysis<|message|>so\n\nit is<|end|><|start|>assistant<|channel|>final<|message|>Yes.<|return|>",
        ),
    ];
    for (marks, answer) in kinds {
        assert_eq!(
            parse(marks, answer),
            [thought("so\n\nit is"), text("Yes.")],
            "{marks}"
        );
    }
}

#[test]
fn the_prompt_seeds_the_state() {
    let format = format("<think>");
    assert_eq!(
        Seed::of_prompt("<|im_start|>assistant\n<think>\n", &format),
        Seed::Thinking
    );
    assert_eq!(
        Seed::of_prompt("assistant\n<think>\n\n</think>\n\n", &format),
        Seed::Thought
    );
    assert_eq!(Seed::of_prompt("assistant\n", &format), Seed::Free);
    let run = |seed, answer, end| parse_with(format, tools(), seed, &[answer], end);
    assert_eq!(
        run(Seed::Thinking, "so\n</think>\n\nYes.", TextEnd::Whole),
        [thought("so"), text("Yes.")]
    );
    // A limit that cuts a thought leaves it one.
    assert_eq!(
        run(Seed::Thinking, "so it", TextEnd::Cut),
        [thought("so it")]
    );
    assert_eq!(
        run(Seed::Free, "<think>so it </thi", TextEnd::Cut),
        [thought("so it </thi")]
    );
    // Where the thought is over its marks are spoken of.
    assert_eq!(
        run(Seed::Thought, "a </think> b", TextEnd::Whole),
        [text("a </think> b")]
    );
    // An end without a beginning is dropped.
    assert_eq!(
        run(Seed::Free, "so</think>Yes.", TextEnd::Whole),
        [text("soYes.")]
    );
    assert_eq!(
        run(Seed::Free, "Write <think> here.", TextEnd::Whole),
        [text("Write <think> here.")]
    );
}

#[test]
fn thoughts_and_calls_may_take_turns() {
    let answer =
        "<think>one</think><tool_call>{\"name\": \"now\"}</tool_call>\n<think>two</think>\nDone.";
    let expected = [
        vec![thought("one")],
        call(0, "now", "{}"),
        vec![thought("two"), text("Done.")],
    ];
    assert_eq!(parse("<think><tool_call>", answer), expected.concat());
}

#[test]
fn the_parser_sees_the_tokens_of_its_format() {
    let qwen = format("<think> <tool_call>");
    assert!(qwen.holds("<tool_call>") && qwen.holds("</tool_call>") && qwen.holds("</think>"));
    assert!(!qwen.holds("<|im_end|>"));
    let glm = format("<tool_call> <arg_key>");
    assert!(glm.holds("<arg_key>") && glm.holds("</arg_value>"));
    let gemma = format("<|tool_call>call: <|channel>thought");
    assert!(gemma.holds("<|\"|>") && gemma.holds("<|channel>") && gemma.holds("<tool_call|>"));
    let harmony = format("<|channel|>analysis<|message|>functions.");
    assert!(harmony.holds("<|constrain|>") && !harmony.holds("<|endoftext|>"));
}

#[test]
fn vocabulary_tells_what_the_template_does_not() {
    let has = |token: &str| ["<think>", "</think>"].contains(&token);
    assert_eq!(
        OutputFormat::detect("", has).reasoning,
        format("<think>").reasoning
    );
    assert_eq!(OutputFormat::detect("", |_| false).reasoning, None);
}
