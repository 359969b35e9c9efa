//! Texts made to exhaust the reader, and honest large ones (IN-1, IN-2).

use std::fmt::Write;
use std::time::Duration;

use insta::assert_snapshot;

use super::{parse, refused};
use crate::load::MAX_BYTES;

/// Nine lists of nine, each of the one before.
fn laugh() -> String {
    let mut text = "a: &a [lol, lol, lol, lol, lol, lol, lol, lol, lol]\n".to_owned();
    for (inner, outer) in ('a'..='h').zip('b'..='i') {
        let list = vec![format!("*{inner}"); 9].join(", ");
        writeln!(text, "{outer}: &{outer} [{list}]").unwrap();
    }
    text
}

#[test]
fn in_1_an_alias_bomb_is_refused_at_its_place() {
    // Of 9^9 values not more than 100,000 come into being, or this would not end.
    assert_snapshot!(refused(&laugh()), @"
    holdpoint.yaml:6:8: aliases expand to more than this file has room for
    6 | f: &f [*e, *e, *e, *e, *e, *e, *e, *e, *e]
      |        ^^
    ");
}

#[test]
fn in_1_a_bomb_of_merge_keys_is_refused() {
    let mut text = "a: &a { k: v }\n".to_owned();
    for (inner, outer) in ('a'..='h').zip('b'..='i') {
        let list = vec![format!("*{inner}"); 9].join(", ");
        writeln!(text, "{outer}: &{outer} {{ <<: [{list}], {outer}1: {{ <<: [{list}] }} }}")
            .unwrap();
    }
    assert_snapshot!(refused(&text), @"
    holdpoint.yaml:5:22: aliases expand to more than this file has room for
    5 | e: &e { <<: [*d, *d, *d, *d, *d, *d, *d, *d, *d], e1: { <<: [*d, *d, *d, *d, *d, *d, *d, *d, *d] } }
      |                      ^^
    ");
}

#[test]
fn in_1_anchors_in_anchors_are_refused() {
    // Each anchor records all that is inside: a dozen copies of what stands innermost.
    let anchors: String = (0..12).map(|depth| format!("&a{depth} [")).collect();
    assert_snapshot!(refused(&(anchors + &"x,".repeat(100_000))), @"
    holdpoint.yaml:1:150091: aliases expand to more than this file has room for
    1 | …,x,x,x,x,x,x,x,x,x,x,x,x,x,x,x,x,x,x,x,x,x,x,x,x,x,x,x,x,x,x,x,x,x,x,x,x,x,x,x,x,x,x,x,x,x,x,x,x,x,x…
      |                                   ^
    ");
}

#[test]
fn in_2_nesting_is_refused_at_depth_16() {
    let nested = |depth: usize| {
        let (open, close) = ("[".repeat(depth), "]".repeat(depth));
        format!("tasks: {{ a: {{ run: echo, desc: {open}x{close} }} }}")
    };
    // Three mappings stand around the lists. What is within the depth fails for what it is.
    assert!(refused(&nested(13)).contains("`desc` takes a text"));
    assert_snapshot!(refused(&nested(14)), @"
    holdpoint.yaml:1:45: lists and mappings are nested more than 16 deep
    1 | tasks: { a: { run: echo, desc: [[[[[[[[[[[[[[x]]]]]]]]]]]]]] } }
      |                                             ^
    ");
}

#[test]
fn in_2_no_nesting_overflows_the_stack() {
    // Half of what a thread usually has: a stack overflow would end the process.
    let small = std::thread::Builder::new().stack_size(1024 * 1024);
    let check = || {
        let block: String = (0..5_000).map(|level| format!("{}a:\n", " ".repeat(level))).collect();
        for text in [
            "[".repeat(100_000),
            "{a: ".repeat(100_000),
            "- ".repeat(100_000),
            "- ".repeat(50_000),
            "? ".repeat(100_000),
            "a: ".repeat(100_000),
            "&a ".repeat(100_000),
            "!!seq ".repeat(100_000),
            "- &a\n".repeat(100_000),
            "[*a, ".repeat(100_000),
            "[{a: ".repeat(8) + &"}]".repeat(8),
            "? - ".repeat(8),
            block,
        ] {
            assert!(parse(&text).unwrap_err().first().location.line >= 1);
        }
    };
    small.spawn(check).unwrap().join().unwrap();
}

#[test]
fn in_1_common_settings_may_be_merged_into_many_tasks() {
    let mut text =
        "tasks:\n  t0: &all { run: echo, timeout: 5s, tags: [x], env: { A: 1 } }\n".to_owned();
    for task in 1..2_000 {
        writeln!(text, "  t{task}: {{ <<: *all }}").unwrap();
    }
    let manifest = parse(&text).unwrap();
    assert_eq!(manifest.tasks().len(), 2_000);
    assert_eq!(manifest.task("t1999").unwrap().timeout, Some(Duration::from_secs(5)));
}

#[test]
fn man_009_a_hundred_thousand_tasks_load() {
    let mut text = "tasks:\n  t0: echo\n".to_owned();
    for task in 1..100_000 {
        writeln!(text, "  t{task}: {{ run: echo, needs: [t{}] }}", task - 1).unwrap();
    }
    let manifest = parse(&text).unwrap();
    assert_eq!(manifest.tasks().len(), 100_000);
    assert_eq!(manifest.position("t99999"), Some(99_999));
}

#[test]
fn in_4_a_text_over_the_cap_is_refused() {
    let text = format!("tasks: {{ a: echo }}\n#{}", "x".repeat(MAX_BYTES));
    assert_snapshot!(refused(&text), @"
    holdpoint.yaml:1:1: a manifest has at most 16777216 bytes
    1 | tasks: { a: echo }
      | ^
    ");
}

#[test]
fn man_012_a_question_over_the_cap_is_refused() {
    let asks = |bytes: usize| {
        parse(&format!("tasks: {{ a: {{ approval:\n \"{}\" }} }}", "x".repeat(bytes)))
    };
    let manifest = asks(65_536).unwrap();
    assert_eq!(manifest.tasks()[0].approval.as_ref().unwrap().prompt.len(), 65_536);
    let faults = asks(65_537).unwrap_err().to_string();
    let head = "holdpoint.yaml:2:2: `approval` has 65537 bytes, and at most 65536\n";
    assert!(faults.starts_with(head), "{faults}");
}
