//! Stop strings are found however the text is cut.
#![allow(clippy::unwrap_used)]

use cortex_text::StopMatcher;
use proptest::prelude::*;

/// All that comes out, and the stop string that ended it.
fn run(stops: &[&str], pieces: &[String]) -> (String, Option<String>) {
    let mut matcher = StopMatcher::new(stops.iter().map(|&stop| stop.to_owned()).collect());
    let mut text = String::new();
    for piece in pieces {
        let step = matcher.push(piece);
        text.push_str(&step.emit);
        if step.matched.is_some() {
            return (text, step.matched);
        }
    }
    text.push_str(&matcher.finish());
    (text, None)
}

fn whole(stops: &[&str], text: &str) -> (String, Option<String>) {
    run(stops, &[text.to_owned()])
}

#[test]
fn text_before_the_first_match_comes_out() {
    assert_eq!(whole(&["b"], "abc"), ("a".to_owned(), Some("b".to_owned())));
    assert_eq!(
        whole(&["bcd", "c"], "abcd"),
        ("ab".to_owned(), Some("c".to_owned()))
    );
    assert_eq!(
        whole(&["c", "bc"], "abcd"),
        ("a".to_owned(), Some("bc".to_owned()))
    );
    assert_eq!(
        whole(&["a", "éaé"], "éa"),
        ("é".to_owned(), Some("a".to_owned()))
    );
    assert_eq!(
        whole(&["bcd", "c"], "abcx"),
        ("ab".to_owned(), Some("c".to_owned()))
    );
    assert_eq!(
        whole(&["ab", "a"], "xab"),
        ("x".to_owned(), Some("a".to_owned()))
    );
    assert_eq!(whole(&[""], "abc"), ("abc".to_owned(), None));
    assert_eq!(
        whole(&["\n\n"], "one\ntwo\n"),
        ("one\ntwo\n".to_owned(), None)
    );
}

#[test]
fn only_a_possible_beginning_is_held_back() {
    let mut matcher = StopMatcher::new(vec!["STOP".to_owned()]);
    assert_eq!(matcher.push("goST").emit, "go");
    assert_eq!(matcher.push("ART").emit, "START");
    assert_eq!(matcher.push("STO").emit, "");
    assert_eq!(matcher.finish(), "STO");
}

proptest! {
    #[test]
    fn cuts_do_not_matter(text in "[abé]{0,30}", stops in prop::collection::vec("[abé]{1,4}", 1..4), cuts in prop::collection::vec(any::<bool>(), 30)) {
        let stops: Vec<&str> = stops.iter().map(String::as_str).collect();
        let mut pieces = vec![String::new()];
        for (char, cut) in text.chars().zip(cuts) {
            pieces.last_mut().unwrap().push(char);
            if cut {
                pieces.push(String::new());
            }
        }
        let (got, stop) = run(&stops, &pieces);
        prop_assert_eq!((&got, &stop), (&whole(&stops, &text).0, &whole(&stops, &text).1));
        if let Some(stop) = stop {
            let ended = got + &stop;
            prop_assert!(text.starts_with(&ended));
        } else {
            prop_assert!(stops.iter().all(|stop| !text.contains(stop)));
            prop_assert_eq!(got, text);
        }
    }
}
